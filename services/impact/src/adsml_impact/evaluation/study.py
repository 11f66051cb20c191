"""Placebo study: how often each method finds an effect where there is none, and where there is one.

On units and dates where nothing was changed, every method is asked for its verdict at alpha: the share of
"significant" is its false-positive rate. Then one standard deviation of the unit's own daily values is added
to every day of its window, and the share is its power.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

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


class Cell(NamedTuple):
    """One unit at one date of one panel."""

    panel: int
    unit: int
    date: int


class Rates(NamedTuple):
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


def _p_values(
    method: str, Y: FloatArray, cell: Cell, *, horizon: int, baseline: int, alpha: float, weekly: bool
) -> tuple[float, float]:
    """Of one cell of a panel (N, T): with nothing added, and with one standard deviation of the unit's days added.

    Only days up to the end of its window are seen. NaN where a method has no answer.
    """
    order = [cell.unit, *(i for i in range(Y.shape[0]) if i != cell.unit)]
    change, seen = cell.date, Y[order, : cell.date + horizon]
    short, long = min(horizon, change), min(baseline, change)
    shift = float(seen[0, change - long : change].std(ddof=1))
    if method == OURS:
        design = Design(
            change=change, horizon=horizon, before=short, baseline=long, alpha=alpha, weekly=weekly
        )
        out = compare(seen, None, design)
        if out is None:
            return np.nan, np.nan
        by = shift / float(seen[0, change - out.baseline : change].mean())
        # Nothing but tau depends on the treated's days after the change, so that nothing else moves with them.
        return out.p_value, out.reference.p_value((out.tau + by) / out.size)
    if method == NAIVE:
        before, after = seen[0, change - short : change], seen[0, change:]
        return _naive(before, after), _naive(before, after + shift)
    start = change - (short if method == DID_SHORT else long)
    usable = seen[1:, start:change].sum(axis=1) != 0
    rows = np.concatenate([seen[:1, start:], seen[1:, start:][usable]])
    panel = Panel(Y=rows, N_tr=1, T_pre=change - start)
    test = placebo_test(panel, METHODS["did" if method == DID_SHORT else method])
    return test.p_value, test.p_of((test.lower + test.upper) / 2 + shift)


def _naive(before: FloatArray, after: FloatArray) -> float:
    totals = float(before.mean()), float(after.mean())
    p = naive_comparison(before, after, before_total=totals[0], after_total=totals[1]).p_value
    return 1.0 if p is None else p


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
    """Ask all methods (`OURS`, `NAIVE`, `DID_SHORT`, names of `METHODS`) about all cells.

    `progress` is called with (done, all).
    """
    p = np.full((len(methods), len(cells), 2), np.nan)
    for k, cell in enumerate(cells):
        for m, method in enumerate(methods):
            p[m, k] = _p_values(
                method,
                panels[cell.panel],
                cell,
                horizon=horizon,
                baseline=baseline,
                alpha=alpha,
                weekly=weekly,
            )
        if progress is not None:
            progress(k + 1, len(cells))
    out = {}
    for method, values in zip(methods, p, strict=True):
        known = values[np.isfinite(values[:, 0])]  # cells without an answer are left out
        shares = (known < alpha).mean(axis=0) if known.size else np.full(2, np.nan)
        out[method] = Rates(float(shares[0]), float(shares[1]), len(known))
    return out
