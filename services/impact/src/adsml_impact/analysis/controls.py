"""Who may stand in for the treated: same level, other budget, unchanged, delivering, large enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.analysis.series import Series
from adsml_impact.analysis.tree import Tree
from adsml_impact.models.design import Design

MOST_CONTROLS: Final = 40
"""The largest spenders; more add noise, not information, and time."""
ENOUGH_CONTROLS: Final = 3
"""With fewer there is no placebo test over entities: the treated's own past is used, they as regressors."""
FEWEST_EVENTS: Final = 10.0
"""A control's leads (clicks, impressions) over the baseline, where a metric rests on them."""
FEWEST_EVENTS_AFTER: Final = 2.0
"""And what it brings in as many days as are compared."""
_DELIVERED_SHARE: Final = 0.7
_IDLE: Final = 0.2
"""Below this share of its mean spend an entity counts as not delivering that day."""
_RECENT_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Choice:
    """Controls (positions in the series), and why others are not among them."""

    rows: tuple[int, ...] = ()  # positions in the series
    # entities that are not compared with: (id, reason), the largest spenders first
    excluded: tuple[tuple[str, str], ...] = ()
    given: bool = False
    reasons: Mapping[str, int] = field(default_factory=dict)


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
    out: list[tuple[int, str]] = []
    for i in sorted(candidates, key=lambda i: (-spend[i], series.names[i])):
        name = series.names[i]
        if name in query.treated:
            continue
        reason = (
            "excluded by the caller"
            if name in query.excluded_controls
            else _delivery_fault(series, i, design) or tree.taint((level, name), pools, first, window_end)
        )
        if reason is None and len(rows) == MOST_CONTROLS:
            reason = f"spends less than the {MOST_CONTROLS} that are compared with"
        if reason is None:
            rows.append(i)
        else:
            out.append((i, reason))
    reasons: dict[str, int] = {}
    for _, reason in out:
        kind = reason.split(" on ")[0].split(" of ")[0]
        reasons[kind] = reasons.get(kind, 0) + 1
    return Choice(
        rows=tuple(sorted(rows)),
        excluded=tuple((series.names[i], reason) for i, reason in out),
        given=bool(given),
        reasons=reasons,
    )


def _delivery_fault(series: Series, i: int, design: Design) -> str | None:
    """What is wrong with an entity's delivery around a change; None where nothing is."""
    base = design.base
    amount = series.values["spend"][i]
    if amount[base].sum() <= 0:
        amount = series.values["impressions"][i]
    level = float(amount[base].mean())
    active = amount > _IDLE * level if level > 0 else np.zeros(amount.size, dtype=np.bool_)
    shown = amount[base] > 0
    if shown.mean() < _DELIVERED_SHARE:
        return f"delivered on {int(shown.sum())} of {shown.size} days before"
    if not active[base][-7:].any():
        return "had stopped before the change"
    if design.observed:
        # From the change on, washout included: what stopped there is no longer what it was.
        length, start = _longest_idle(active[design.change : design.after.stop])
        usual, _ = _longest_idle(active[base])
        if length >= 2 and length > usual:
            return f"stopped delivering on {series.day(design.change + start)}"
    return None


def _longest_idle(active: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Length and start of the longest stretch of days without delivery."""
    longest = start = run = 0
    for d, on in enumerate(active):
        run = 0 if on else run + 1
        if run > longest:
            longest, start = run, d - run + 1
    return longest, start


def large_enough(events: npt.NDArray[np.float64], design: Design) -> npt.NDArray[np.bool_]:
    """Which units bring enough events (N, T) for a metric that rests on them to mean something."""
    base = events[:, design.base]
    total = base.sum(axis=1)
    per_window = base.mean(axis=1) * design.horizon
    return np.asarray((total >= FEWEST_EVENTS) & (per_window >= FEWEST_EVENTS_AFTER))
