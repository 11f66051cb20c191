"""Placebo study: how often each method finds an effect where there is none, and where there is one.

On units and dates where nothing was changed, every method is asked for its verdict at alpha: the share of
"significant" is its false-positive rate. Then one standard deviation of the unit's own daily values is added
to every day of its window, and the share is its power.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.comparison import compare
from adsml_impact.models.design import Design
from adsml_impact.models.difference_in_differences import difference_in_differences
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.panel import Estimate, Panel
from adsml_impact.models.placebo_variance import placebo_test
from adsml_impact.models.synthetic_control import synthetic_control
from adsml_impact.models.synthetic_did import synthetic_did

OURS: Final = "adsml"
NAIVE: Final = "naive_t_test"
METHODS: Final[dict[str, Callable[[Panel], Estimate]]] = {
    "did": difference_in_differences,
    "synthetic_control": partial(synthetic_control, demeaned=True),
    "sdid": synthetic_did,
}
"""The published estimators with the placebo variance of Arkhangelsky et al. (2021)."""
DID_SHORT: Final = "did_7_7"
"""Difference in differences of the window before, as short as the one after."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One unit at one date of one panel."""

    panel: int
    unit: int
    date: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """P-values that one method gave one cell: with nothing added, and with one standard deviation added."""

    null: float
    shifted: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of cells that came out significant, without and with one standard deviation added."""

    false_positive_rate: float
    power_1sd: float
    analyses: int


def cells_of(
    panels: Sequence[FloatArray], *, horizon: int, baseline: int, stride: int, most: int, seed: int
) -> list[Cell]:
    """Units and dates to ask about: dates a stride apart with a full baseline before, or as much as there is.

    Units without any value before a date are left out.
    """
    out = []
    for p, Y in enumerate(panels):
        last = Y.shape[1] - horizon
        first = min(baseline, last)
        for day in range(last, first - 1, -stride):
            out += [
                Cell(p, unit, day)
                for unit in range(Y.shape[0])
                if Y[unit, max(0, day - baseline) : day].sum() > 0
            ]
    if len(out) > most:
        chosen = np.random.default_rng(seed).choice(len(out), most, replace=False)
        out = [out[k] for k in np.sort(chosen)]
    return out


def worst_week_cells(
    panels: Sequence[FloatArray], *, horizon: int, baseline: int, before: int = 7
) -> list[Cell]:
    """For every unit the date after its worst window: when people change things."""
    out = []
    for p, Y in enumerate(panels):
        days = range(min(baseline, Y.shape[1] - horizon), Y.shape[1] - horizon + 1)
        for unit in range(Y.shape[0]):
            recent = np.array([Y[unit, day - before : day].mean() for day in days])
            usual = np.array([Y[unit, max(0, day - baseline) : day].mean() for day in days])
            if not (usual > 0).all():
                continue
            out.append(Cell(p, unit, days[int(np.argmin(recent / usual))]))
    return out


def ask(
    Y: FloatArray,
    cell: Cell,
    *,
    horizon: int,
    baseline: int,
    alpha: float,
    methods: Sequence[str],
    weekly: bool = True,
) -> dict[str, Outcome]:
    """What methods (`OURS`, `NAIVE`, `DID_SHORT`, names of `METHODS`) say of one cell of a panel (N, T).

    Only days up to the end of its window are seen.
    """
    order = [cell.unit, *(i for i in range(Y.shape[0]) if i != cell.unit)]
    seen = Y[order, : cell.date + horizon]
    history = seen[0, max(0, cell.date - baseline) : cell.date]
    shift = float(history.std(ddof=1))
    out: dict[str, Outcome] = {}
    for name in methods:
        if name == OURS:
            change = cell.date
            design = Design(
                change=change,
                horizon=horizon,
                before=min(horizon, change),
                baseline=min(baseline, change),
                alpha=alpha,
                weekly=weekly,
            )
            out[name] = _ours(seen, design, shift)
        elif name == NAIVE:
            before, after = seen[0, cell.date - min(horizon, cell.date) : cell.date], seen[0, cell.date :]
            out[name] = Outcome(_naive(before, after), _naive(before, after + shift))
        else:
            length = horizon if name == DID_SHORT else baseline
            start = max(0, cell.date - length)
            usable = seen[1:, start : cell.date].sum(axis=1) != 0
            rows = np.concatenate([seen[:1, start:], seen[1:, start:][usable]])
            panel = Panel(Y=rows, N_tr=1, T_pre=cell.date - start)
            out[name] = _published(panel, METHODS["did" if name == DID_SHORT else name], shift)
    return out


def _ours(seen: FloatArray, design: Design, shift: float) -> Outcome:
    out = compare(seen, None, design)
    if out is None:
        return Outcome(np.nan, np.nan)
    by = shift / float(seen[0, design.change - out.baseline : design.change].mean())
    # Nothing but tau depends on the treated's days after the change, so that nothing else moves with them.
    return Outcome(out.p_value, out.reference.p_value((out.tau + by) / out.size))


def _naive(before: FloatArray, after: FloatArray) -> float:
    out = naive_comparison(
        before, after, before_total=float(before.mean()), after_total=float(after.mean())
    ).p_value
    return 1.0 if out is None else out


def _published(panel: Panel, estimate: Callable[[Panel], Estimate], shift: float) -> Outcome:
    test = placebo_test(panel, estimate)
    tau = (test.lower + test.upper) / 2
    return Outcome(test.p_value, test.p_of(tau + shift))


def rates(outcomes: Sequence[Outcome], *, alpha: float) -> Rates:
    """Shares below alpha; cells without an answer are left out."""
    null = np.array([outcome.null for outcome in outcomes])
    shifted = np.array([outcome.shifted for outcome in outcomes])
    known = np.isfinite(null)
    if not known.any():
        return Rates(np.nan, np.nan, 0)
    return Rates(
        float((null[known] < alpha).mean()), float((shifted[known] < alpha).mean()), int(known.sum())
    )


def run_study(
    panels: Sequence[FloatArray],
    cells: Sequence[Cell],
    *,
    horizon: int,
    baseline: int = 56,
    alpha: float = 0.05,
    methods: Sequence[str] = (OURS, "did", DID_SHORT, "synthetic_control", "sdid", NAIVE),
    weekly: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Rates]:
    """Ask all methods about all cells; `progress` is called with (done, all)."""
    answers: dict[str, list[Outcome]] = {name: [] for name in methods}
    for done, cell in enumerate(cells):
        Y = panels[cell.panel]
        for name, outcome in ask(
            Y, cell, horizon=horizon, baseline=baseline, alpha=alpha, methods=methods, weekly=weekly
        ).items():
            answers[name].append(outcome)
        if progress is not None:
            progress(done + 1, len(cells))
    return {name: rates(outcomes, alpha=alpha) for name, outcomes in answers.items()}
