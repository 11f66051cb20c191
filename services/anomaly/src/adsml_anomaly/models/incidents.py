"""From days to incidents of one series: what is one incident, and how it stands."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Final

from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.results import (
    DayAssessment,
    Direction,
    Incident,
    IncidentState,
    Kind,
    MetricAssessment,
    Rule,
    RuleAlarm,
)

QUIET_DAYS: Final = 2
"""Ordinary days after which the same fault is another incident."""
STAKE_DAYS: Final = 7
NO_DELIVERY: Final = frozenset({Kind.ABSENT_DATA, Kind.NO_DELIVERY})
_DOWN: Final = frozenset({*NO_DELIVERY, Kind.DELIVERY_DROP})
_RULE_KINDS: Final = {
    Rule.ABSENT_DATA: Kind.ABSENT_DATA,
    Rule.ZERO_SPEND: Kind.NO_DELIVERY,
    Rule.DELIVERY_COLLAPSE: Kind.DELIVERY_DROP,
    Rule.SPEND_SPIKE: Kind.DELIVERY_SURGE,
    Rule.CPL_SPIKE: Kind.LEADS_LOST,
    Rule.LEADS_STOPPED: Kind.LEADS_LOST,
    Rule.CTR_DROP: Kind.ENGAGEMENT_DROP,
}
_METRIC_KINDS: Final[dict[Metric, tuple[Kind, Kind]]] = {
    Metric.SPEND: (Kind.DELIVERY_DROP, Kind.DELIVERY_SURGE),
    Metric.IMPRESSIONS: (Kind.DELIVERY_DROP, Kind.DELIVERY_SURGE),
    Metric.CLICKS: (Kind.ENGAGEMENT_DROP, Kind.ENGAGEMENT_RISE),
    Metric.CTR: (Kind.ENGAGEMENT_DROP, Kind.ENGAGEMENT_RISE),
    Metric.LEADS: (Kind.LEADS_LOST, Kind.LEADS_SURGE),
    Metric.CONVERSION_RATE: (Kind.LEADS_LOST, Kind.LEADS_SURGE),
    Metric.CPL: (Kind.LEADS_SURGE, Kind.LEADS_LOST),
    Metric.CPC: (Kind.COST_FALL, Kind.COST_RISE),
    Metric.CPM: (Kind.COST_FALL, Kind.COST_RISE),
}
"""What a metric below and above its expectation is a sign of."""


def kind_of(main: MetricAssessment | None, alarms: Sequence[RuleAlarm]) -> Kind:
    """What a day is an incident of: by its worst rule, else by its main metric."""
    if alarms:
        return _RULE_KINDS[alarms[0].rule]
    if main is None or main.metric is None or main.robust_z is None:
        return Kind.OTHER
    below, above = _METRIC_KINDS.get(main.metric, (Kind.OTHER, Kind.OTHER))
    return above if main.robust_z > 0 else below


def kin(a: Kind | None, b: Kind | None) -> bool:
    """Whether two kinds may be one fault at different days or levels."""
    return a is not None and b is not None and family(a) is family(b)


def family(kind: Kind) -> Kind:
    """One kind for all that may be one fault with it."""
    return Kind.NO_DELIVERY if kind in _DOWN else kind


def grouped(days: Mapping[int, DayAssessment]) -> list[list[int]]:
    """Rows of the anomalous days of each incident, of days by row, in order.

    Days on end are one incident, except that no delivery at all begins one of its own; the same fault with at most
    `QUIET_DAYS` ordinary days between goes on. What happens while a fault of several days lasts belongs to that.
    """
    out: list[list[int]] = []
    for t, day in days.items():
        if not day.anomalous:
            continue
        if out:
            last = out[-1][-1]
            before, gap = days[last].kind, t - last - 1
            begins = day.kind in NO_DELIVERY and before not in _DOWN
            if (gap == 0 and not begins) or (gap <= QUIET_DAYS and kin(before, day.kind)):
                out[-1].append(t)
                continue
        began, earlier = _began(day), [t]
        while began is not None and out and (days[out[-1][0]].date or began) >= began:
            earlier = [*out.pop(), *earlier]
        out.append(earlier)
    return out


def _began(day: DayAssessment) -> date | None:
    """The first day of what its rules say; None where they say it of one day."""
    return min((one.since for one in day.rule_alarms if one.since is not None), default=None)


def incident_id(entity: str, first: object) -> str:
    """A short id, the same for the same entity and first day."""
    return "an-" + blake2b(f"{entity}|{first}".encode(), digest_size=8).hexdigest()


def incident_of(days: Sequence[DayAssessment], *, state: IncidentState, note: str = "") -> Incident:
    """One incident of its anomalous days, in order, with what is to be added to its summary."""
    worst = max(days, key=lambda day: (day.severity, -(day.p_value if day.p_value is not None else 0.0)))
    # What was worst last is what a reader finds today.
    shown = max(days, key=lambda day: (day.severity, day.kind is worst.kind, day.date or date.min))
    sides = {day.direction for day in days}
    rule = next((one.rule for one in worst.rule_alarms if one.metric is worst.main_metric), None)
    first, last = days[0].date or days[0].time, days[-1].date or days[-1].time
    assert first is not None  # noqa: S101  # days are dated, points are timed
    assert last is not None  # noqa: S101
    if not isinstance(first, datetime):
        first = min(first, *(began for day in days if (began := _began(day)) is not None), first)
    late = days[-STAKE_DAYS:]
    return Incident(
        incident_id=days[0].incident_id,
        first=first,
        last=last,
        state=state,
        kind=worst.kind or Kind.OTHER,
        severity=worst.severity,
        direction=sides.pop() if len(sides) == 1 else Direction.MIXED,
        main_metric=worst.main_metric,
        rule=Rule.LEVEL_SHIFT if rule is None and state is IncidentState.NEW_NORMAL else rule,
        summary=f"{span_in_words(first, last, state)}: {shown.summary.replace(f' since {first}', '', 1)}"
        + (f"; {note}" if note else ""),
        stake_per_day=sum(day.stake for day in late) / len(late),
    )


def span_in_words(first: date | datetime, last: date | datetime, state: IncidentState) -> str:
    """E.g. ``Open since 2026-04-12`` or ``2026-04-12 to 2026-04-14``."""
    form = "%Y-%m-%d %H:%M" if isinstance(first, datetime) else "%Y-%m-%d"
    if state is IncidentState.OPEN:
        return f"New on {first:{form}}" if first == last else f"Open since {first:{form}}"
    return f"{first:{form}}" if first == last else f"{first:{form}} to {last:{form}}"
