"""Recorded changes: which may explain a day, and which would."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric

RELATED_DAYS: Final = 3
"""A change is related to its own day and so many days after it."""
_VOLUME: Final = frozenset({Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.LEADS})
_EXPLAINS: Final[dict[ChangeType, frozenset[Metric]]] = {
    ChangeType.BUDGET_CHANGE: _VOLUME | {Metric.CPM, Metric.CPL, Metric.FREQUENCY},
    ChangeType.CREATIVE_CHANGE: frozenset(Metric) - {Metric.SPEND},
    ChangeType.AUDIENCE_CHANGE: frozenset(Metric) - {Metric.SPEND},
    ChangeType.PAUSE: frozenset(Metric),
    ChangeType.REACTIVATE: frozenset(Metric),
}
_WORDS: Final = {
    ChangeType.BUDGET_CHANGE: "budget changed",
    ChangeType.CREATIVE_CHANGE: "creative changed",
    ChangeType.AUDIENCE_CHANGE: "audience changed",
    ChangeType.PAUSE: "paused",
    ChangeType.REACTIVATE: "switched on again",
}


def related(day: date, events: Sequence[ChangeEvent]) -> tuple[ChangeEvent, ...]:
    """Changes that came into force on the day or up to 3 days before."""
    return tuple(event for event in events if 0 <= (day - event.date).days <= RELATED_DAYS)


def budgets(event: ChangeEvent) -> tuple[float, float] | None:
    """Before and after; None where either is not on record."""
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    if isinstance(before, float | int) and isinstance(after, float | int):
        return before, after
    return None


def explains(event: ChangeEvent, metric: Metric | None, z: float) -> bool:
    """Whether a change accounts for a metric's jump to this side: a raised budget does not explain a fall of spend."""
    if metric is not None and metric not in _EXPLAINS[event.change_type]:
        return False
    if metric in _VOLUME and (change := budgets(event)) is not None:
        return (change[1] - change[0]) * z > 0
    return True


def in_words(event: ChangeEvent) -> str:
    """E.g. ``budget raised from 100.00 to 160.00 on 2025-05-02``."""
    if (change := budgets(event)) is not None:
        before, after = change
        return f"budget {'raised' if after > before else 'lowered'} from {before:,.2f} to {after:,.2f} on {event.date}"
    return f"{_WORDS[event.change_type]} on {event.date}"
