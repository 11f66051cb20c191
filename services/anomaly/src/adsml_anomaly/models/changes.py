"""Recorded changes: which may explain a day, and which would."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric

RELATED_DAYS: Final = 3
"""A change is related to its own day and so many days after it."""

_MONEY: Final = frozenset(
    {Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.LEADS, Metric.CPM, Metric.CPL, Metric.FREQUENCY}
)
_EXPLAINS: Final[dict[ChangeType, frozenset[Metric]]] = {
    ChangeType.BUDGET_CHANGE: _MONEY,
    ChangeType.CREATIVE_CHANGE: frozenset(Metric) - {Metric.SPEND},
    ChangeType.AUDIENCE_CHANGE: frozenset(Metric) - {Metric.SPEND},
    ChangeType.PAUSE: frozenset(Metric),
    ChangeType.REACTIVATE: frozenset(Metric),
}


def related(day: date, events: Sequence[ChangeEvent]) -> tuple[ChangeEvent, ...]:
    """Changes that came into force on the day or up to 3 days before."""
    return tuple(event for event in events if 0 <= (day - event.date).days <= RELATED_DAYS)


def explains(event: ChangeEvent, metric: Metric | None, z: float) -> bool:
    """Whether a change accounts for a metric's jump to this side.

    A budget that was raised does not explain spend that fell.
    """
    if metric is not None and metric not in _EXPLAINS[event.change_type]:
        return False
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    volume = metric in (Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.LEADS)
    if volume and isinstance(before, float | int) and isinstance(after, float | int):
        return (after - before) * z > 0
    return True


def in_words(event: ChangeEvent) -> str:
    """E.g. ``budget raised from 100.00 to 160.00 on 2025-05-02``."""
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    if isinstance(before, float | int) and isinstance(after, float | int):
        how = "raised" if after > before else "lowered"
        return f"budget {how} from {before:,.2f} to {after:,.2f} on {event.date}"
    words = {
        ChangeType.BUDGET_CHANGE: "budget changed",
        ChangeType.CREATIVE_CHANGE: "creative changed",
        ChangeType.AUDIENCE_CHANGE: "audience changed",
        ChangeType.PAUSE: "paused",
        ChangeType.REACTIVATE: "switched on again",
    }
    return f"{words[event.change_type]} on {event.date}"
