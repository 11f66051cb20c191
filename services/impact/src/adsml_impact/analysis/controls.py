"""Who may stand in for the treated: same level, other budget, unchanged, delivering, large enough."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np

from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.analysis.series import Series
from adsml_impact.analysis.tree import Tree
from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.design import Design

MOST_CONTROLS: Final = 40
"""The largest spenders; more add noise, not information, and time."""
ENOUGH_CONTROLS: Final = 3
"""With fewer there is no placebo test over entities: the treated's own past is used, they as regressors."""
FEWEST_EVENTS: Final = 10.0
"""A control's leads (clicks, impressions) over the baseline, where a metric rests on them."""
FEWEST_EVENTS_AFTER: Final = 2.0
"""And what it brings in as many days as are compared."""
STOPPED: Final = "stopped delivering"
_DELIVERED_SHARE: Final = 0.7
_IDLE: Final = 0.2
"""Below this share of its mean spend an entity counts as not delivering that day."""
_RECENT_DAYS: Final = 14


class Exclusion(NamedTuple):
    """An entity that is not compared with, a word for the kind of reason, and the reason in full."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Controls, and why others are not among them."""

    rows: tuple[int, ...] = ()  # positions in the series
    excluded: tuple[Exclusion, ...] = ()  # the largest spenders first
    given: bool = False


def choose_controls(series: Series, design: Design, query: ImpactQuery, tree: Tree) -> Choice:
    """Controls for a change: the given ones or, where none are given, all others; those that won't do are left out.

    A control delivered on 70% of the baseline's days and in the week before, did not stop in the window after, does not
    share the treated's budget, and was not changed (nor an ancestor, nor a fifth of its descendants) from two
    weeks before the change to the window's end. The largest spenders are taken.
    """
    level, given = query.entity_type, query.controls
    pools = {tree.budget_pool((level, name)) for name in query.treated}
    window_end = series.day(design.after.stop - 1)
    first = series.day(design.change) - timedelta(days=_RECENT_DAYS)
    spend = series.values["spend"][:, : design.change].sum(axis=1)
    candidates = series.rows(given) if given else range(len(series.names))
    rows: list[int] = []
    excluded: list[Exclusion] = []
    for i in sorted(candidates, key=lambda i: (-spend[i], series.names[i])):
        name = series.names[i]
        if name in query.treated:
            continue
        fault = _delivery_fault(series, i, design) or tree.fault((level, name), pools, first, window_end)
        if name in query.excluded_controls:
            fault = ("excluded by the caller", "excluded by the caller")
        if fault is None and len(rows) == MOST_CONTROLS:
            fault = ("spending less", f"spends less than the {MOST_CONTROLS} that are compared with")
        if fault is None:
            rows.append(i)
        else:
            excluded.append(Exclusion(name, *fault))
    return Choice(rows=tuple(sorted(rows)), excluded=tuple(excluded), given=bool(given))


def _delivery_fault(series: Series, i: int, design: Design) -> tuple[str, str] | None:
    """What is wrong with an entity's delivery around a change, as of `Tree.fault`; None where nothing is."""
    base = design.base
    amount = series.values["spend"][i]
    if amount[base].sum() <= 0:
        amount = series.values["impressions"][i]
    level = float(amount[base].mean())
    active = amount > _IDLE * level if level > 0 else np.zeros(amount.size, dtype=np.bool_)
    shown = amount[base] > 0
    if shown.mean() < _DELIVERED_SHARE:
        return "rarely delivering", f"delivered on {int(shown.sum())} of {shown.size} days before"
    if not active[base][-7:].any():
        return "stopped before the change", "had stopped before the change"
    if design.observed:
        # From the change on, washout included: what stopped there is no longer what it was.
        length, start = _longest_idle(active[design.change : design.after.stop])
        usual, _ = _longest_idle(active[base])
        if length >= 2 and length > usual:
            return STOPPED, f"{STOPPED} on {series.day(design.change + start)}"
    return None


def _longest_idle(active: BoolArray) -> tuple[int, int]:
    """Length and start of the longest stretch of days without delivery."""
    longest = start = run = 0
    for d, on in enumerate(active):
        run = 0 if on else run + 1
        if run > longest:
            longest, start = run, d - run + 1
    return longest, start


def large_enough(events: FloatArray, design: Design) -> BoolArray:
    """Which units bring enough events (N, T) for a metric that rests on them to mean something."""
    base = events[:, design.base]
    per_window = base.mean(axis=1) * design.horizon
    return np.asarray((base.sum(axis=1) >= FEWEST_EVENTS) & (per_window >= FEWEST_EVENTS_AFTER))
