"""From days to incidents of one series: what is one incident, how it stands, and what it costs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models import results
from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.channels import CHANNELS, CPL, NUMERATOR, SPEND

QUIET_DAYS: Final = 2
"""Ordinary days after which the same fault is another incident."""
STAKE_DAYS: Final = 7
NO_DELIVERY: Final = frozenset({results.Kind.ABSENT_DATA, results.Kind.NO_DELIVERY})
_DOWN: Final = frozenset({*NO_DELIVERY, results.Kind.DELIVERY_DROP})
_RULE_KINDS: Final = {
    results.Rule.ABSENT_DATA: results.Kind.ABSENT_DATA,
    results.Rule.ZERO_SPEND: results.Kind.NO_DELIVERY,
    results.Rule.DELIVERY_COLLAPSE: results.Kind.DELIVERY_DROP,
    results.Rule.SPEND_SPIKE: results.Kind.DELIVERY_SURGE,
    results.Rule.CPL_SPIKE: results.Kind.LEADS_LOST,
    results.Rule.LEADS_STOPPED: results.Kind.LEADS_LOST,
    results.Rule.CTR_DROP: results.Kind.ENGAGEMENT_DROP,
}
_METRIC_KINDS: Final[dict[Metric, tuple[results.Kind, results.Kind]]] = {
    Metric.SPEND: (results.Kind.DELIVERY_DROP, results.Kind.DELIVERY_SURGE),
    Metric.IMPRESSIONS: (results.Kind.DELIVERY_DROP, results.Kind.DELIVERY_SURGE),
    Metric.CLICKS: (results.Kind.ENGAGEMENT_DROP, results.Kind.ENGAGEMENT_RISE),
    Metric.CTR: (results.Kind.ENGAGEMENT_DROP, results.Kind.ENGAGEMENT_RISE),
    Metric.LEADS: (results.Kind.LEADS_LOST, results.Kind.LEADS_SURGE),
    Metric.CONVERSION_RATE: (results.Kind.LEADS_LOST, results.Kind.LEADS_SURGE),
    Metric.CPL: (results.Kind.LEADS_SURGE, results.Kind.LEADS_LOST),
    Metric.CPC: (results.Kind.COST_FALL, results.Kind.COST_RISE),
    Metric.CPM: (results.Kind.COST_FALL, results.Kind.COST_RISE),
}
"""What a metric below and above its expectation is a sign of."""


def kind_of(main: results.MetricAssessment, alarms: Sequence[results.RuleAlarm]) -> results.Kind:
    """What a day is an incident of: by its worst rule, else by its main metric."""
    if alarms:
        return _RULE_KINDS[alarms[0].rule]
    if main.metric not in _METRIC_KINDS or main.robust_z is None:
        return results.Kind.OTHER
    below, above = _METRIC_KINDS[main.metric]
    return above if main.robust_z > 0 else below


def family(kind: results.Kind) -> results.Kind:
    """One kind for all that may be one fault with it."""
    return results.Kind.NO_DELIVERY if kind in _DOWN else kind


def grouped(days: Mapping[int, results.DayAssessment]) -> list[list[int]]:
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
            if (gap == 0 and not begins) or (gap <= QUIET_DAYS and family(before) is family(day.kind)):
                out[-1].append(t)
                continue
        began, earlier = _began(day), [t]
        while began is not None and out and days[out[-1][0]].date >= began:
            earlier = [*out.pop(), *earlier]
        out.append(earlier)
    return out


def _began(day: results.DayAssessment) -> date | None:
    """The first day of what its rules say; None where they say it of one day."""
    return min((one.since for one in day.rule_alarms if one.since is not None), default=None)


def incident_id(entity: str, first: object) -> str:
    """A short id, the same for the same entity and first day."""
    return "an-" + blake2b(f"{entity}|{first}".encode(), digest_size=8).hexdigest()


def incident_of(
    days: Sequence[results.DayAssessment], *, state: results.IncidentState, note: str = ""
) -> results.Incident:
    """One incident of its anomalous days, in order, with what is to be added to its summary."""
    worst = max(days, key=lambda day: (day.severity, -(day.p_value if day.p_value is not None else 0.0)))
    first, last = days[0].date, days[-1].date
    timed = isinstance(first, datetime)
    # What was worst last is what a reader finds today.
    shown = max(days, key=lambda day: (day.severity, day.kind is worst.kind, date.min if timed else day.date))
    sides = {day.direction for day in days}
    rule = next((one.rule for one in worst.rule_alarms if one.metric is worst.main_metric), None)
    if not timed:
        first = min([first, *(began for day in days if (began := _began(day)) is not None)])
    late = days[-STAKE_DAYS:]
    return results.Incident(
        incident_id=days[0].incident_id,
        first=first,
        last=last,
        state=state,
        kind=worst.kind,
        severity=worst.severity,
        direction=sides.pop() if len(sides) == 1 else results.Direction.MIXED,
        main_metric=worst.main_metric,
        rule=results.Rule.LEVEL_SHIFT if rule is None and state is results.IncidentState.NEW_NORMAL else rule,
        summary=f"{span_in_words(first, last, state)}: {shown.summary.replace(f' since {first}', '', 1)}"
        + (f"; {note}" if note else ""),
        stake_per_day=sum(day.stake for day in late) / len(late),
    )


def span_in_words(first: date | datetime, last: date | datetime, state: results.IncidentState) -> str:
    """E.g. ``Open since 2026-04-12`` or ``2026-04-12 to 2026-04-14``."""
    form = "%Y-%m-%d %H:%M" if isinstance(first, datetime) else "%Y-%m-%d"
    if state is results.IncidentState.OPEN:
        return f"New on {first:{form}}" if first == last else f"Open since {first:{form}}"
    return f"{first:{form}}" if first == last else f"{first:{form}} to {last:{form}}"


def stake_of(
    kind: results.Kind, main: Metric | None, rows: FloatArray, expected: FloatArray, unit_price: float
) -> float:
    """Money at stake on a day, in the account's currency: what an incident costs while it lasts.

    Spend that does not happen, or happens beyond the plan, is at stake as such; of lost leads and of a ratio that is
    off, that part of the day's spend which buys nothing or too little. Good news put nothing at stake.

    `rows`, shape (t + 1, 5), end with the day; `expected`, shape (channels,), are its expected counts, NaN where
    unknown; `unit_price` is the spend in one unit of the spend channel.
    """
    spend = float(rows[-1, 0])
    if kind in NO_DELIVERY:
        before = rows[:-1, 0]
        before = before[before > 0][-STAKE_DAYS:]
        return float(np.median(before)) if before.size else 0.0
    if kind in (results.Kind.DELIVERY_DROP, results.Kind.DELIVERY_SURGE):
        usual = float(expected[SPEND]) * unit_price
        off = usual - spend if kind is results.Kind.DELIVERY_DROP else spend - usual
        return max(off, 0.0) if np.isfinite(usual) else 0.0
    if kind in (results.Kind.LEADS_SURGE, results.Kind.ENGAGEMENT_RISE, results.Kind.COST_FALL):
        return 0.0
    c = CPL if kind is results.Kind.LEADS_LOST else CHANNELS.index(main)
    due, seen = float(expected[c]), float(rows[-1, NUMERATOR[c]])
    if not np.isfinite(due) or due <= 0:
        return 0.0
    short = 1.0 - (seen / unit_price if c == SPEND else seen) / due
    return spend * min(max(short, 0.0) if kind is results.Kind.LEADS_LOST else abs(short), 1.0)
