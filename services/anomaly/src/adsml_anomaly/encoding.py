"""Reports and incidents as the contract's messages: what a record and its message both have, by name."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final, TypeVar

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, warning_pb2
from adsml.common.v1.warning_pb2 import Warning  # noqa: A004  # the contract's word
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.metrics import Metric
from adsml_common.serving import messages

from adsml_anomaly.account import AccountContext
from adsml_anomaly.models import results
from adsml_anomaly.resolver import Provenance

RULE = messages.EnumCodec(results.Rule, pb.AlarmRule, "ALARM_RULE_")
DIRECTION = messages.EnumCodec(results.Direction, pb.Direction, "DIRECTION_")
STATE = messages.EnumCodec(results.IncidentState, pb.IncidentState, "INCIDENT_STATE_")
SCOPE = messages.EnumCodec(results.Scope, pb.IncidentScope, "INCIDENT_SCOPE_")
KIND = messages.EnumCodec(results.Kind, pb.IncidentKind, "INCIDENT_KIND_")
_SEVERITY: Final = {one: pb.Severity.Value(f"SEVERITY_{one.name}") for one in results.Severity}
_GATES: Final[dict[Metric | None, Any]] = {
    Metric.CPL: pb.ALARM_GATE_FEW_LEADS,
    Metric.CTR: pb.ALARM_GATE_FEW_IMPRESSIONS,
    Metric.CPM: pb.ALARM_GATE_FEW_IMPRESSIONS,
}
"""What a gated metric has too little of; others of clicks."""
MessageT = TypeVar("MessageT")
_SHARED: Final[dict[Any, tuple[tuple[str, ...], Callable[[Any], Any]]]] = {}
"""Names of the fields that a kind of message shares with a kind of record, and what gets their values."""


def message(kind: Callable[..., MessageT], record: Any, **beside: Any) -> MessageT:
    """A message with those of its fields that a record has, converted, and with what is given beside or instead."""
    pair: Any = (kind, type(record))
    if (shared := _SHARED.get(pair)) is None:
        names = tuple(name for name in pair[0].DESCRIPTOR.fields_by_name if hasattr(record, name))
        shared = _SHARED[pair] = names, attrgetter(*names)
    for name, one in zip(shared[0], shared[1](record), strict=True):
        if name not in beside and one is not None:
            convert = _CONVERTERS.get(type(one))
            beside[name] = one if convert is None else convert(one)
    return kind(**beside)


def value(one: Any) -> Any:
    """What a field holds, as messages have it; None stays unset."""
    convert = _CONVERTERS.get(type(one))
    return one if convert is None else convert(one)


def report(
    one: results.Report, by: Provenance, entity: entity_pb2.EntityRef, account: AccountContext | None = None
) -> pb.AnomalyReport:
    """A report, of a stored account's series with how old the account's rows are."""
    last = None if account is None else account.last_day
    fresh = one.delivery and message(answer_pb2.DataFreshness, one.delivery, account_last_date=value(last))
    return message(
        pb.AnomalyReport,
        one,
        entity=entity,
        answered_by=_answered_by(by),
        degradations=value(by.degradations),
        warnings=[*_warnings(one), *(stale(last, account.as_of) if account is not None else ())],
        freshness=fresh,
        currency_code=None if account is None else account.details.currency_code,
    )


def stale(last: date | None, as_of: date) -> list[Warning]:
    """That an account's rows end before the day that was asked about."""
    if last is None or as_of <= last:
        return []
    days = (as_of - last).days
    missing = f"{days} days up to {as_of} are" if days > 1 else f"{as_of} is"
    text = (
        f"the account has no rows since {last}: {missing} missing, so that either nothing was loaded or nothing was "
        "delivered"
    )
    return [Warning(type=warning_pb2.WARNING_TYPE_STALE_DATA, message=text)]


def _warnings(one: results.Report) -> Iterator[Warning]:
    said: dict[Any, str] = {}
    if one.without_reach:
        said[warning_pb2.WARNING_TYPE_MISSING_FIGURE] = "reach is missing: frequency was not looked at"
    if n := one.learning_points:
        text = f"the first {n} points are for learning and have no p-value"
        said[warning_pb2.WARNING_TYPE_SHORT_HISTORY] = text
    if one.incomplete_since is not None:
        said[warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS] = (
            f"days from {one.incomplete_since} on are still filling up: they are judged by what is usually in at "
            "their age, or, where that is not known, for what is too much already"
        )
    if one.delivery is not None and one.delivery.stopped:
        idle, last = one.delivery.days_without_delivery, one.delivery.last_delivery_date
        text = "never delivered" if last is None else f"stopped {idle} days ago: it delivered last on {last}"
        said[warning_pb2.WARNING_TYPE_STOPPED] = text
    return (Warning(type=kind, message=text) for kind, text in said.items())


def _answered_by(by: Provenance) -> answer_pb2.AnsweredBy:
    known, source = by.version, answer_pb2.ANSWER_SOURCE_POOLED
    model: answer_pb2.ModelRef | None = None
    if not by.pooled:
        source = answer_pb2.ANSWER_SOURCE_METHOD if known is None else answer_pb2.ANSWER_SOURCE_MODEL
    if known is not None:
        model = messages.model_ref_message(known.name, version=known.version, trained=known.created_at)
    return message(answer_pb2.AnsweredBy, by, source=source, model=model)


def _day(one: results.DayAssessment) -> pb.DayAssessment:
    point = {"date": None, "time": value(one.date)} if isinstance(one.date, datetime) else {}
    return message(pb.DayAssessment, one, scores=message(pb.AnomalyScores, one), **point)


def _metric(one: results.MetricAssessment) -> pb.MetricAssessment:
    gate = _GATES.get(one.metric, pb.ALARM_GATE_FEW_CLICKS) if one.gated else pb.ALARM_GATE_NONE
    out = message(pb.MetricAssessment, one, gate=gate)
    if one.lower is not None and one.upper is not None:
        out.expected_range.CopyFrom(metrics_pb2.Interval(lower=one.lower, upper=one.upper, level=one.level))
    return out


def _change(event: ChangeEvent) -> change_pb2.ChangeEvent:
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    text = event.detail.get("description", "")
    return message(
        change_pb2.ChangeEvent,
        event,
        value_before=before if isinstance(before, float | int) else None,
        value_after=after if isinstance(after, float | int) else None,
        description=text if isinstance(text, str) else "",
    )


def _incident(one: results.Incident) -> pb.Incident:
    unit = "time" if isinstance(one.first, datetime) else "date"
    span = {f"first_{unit}": value(one.first), f"last_{unit}": value(one.last)}
    stake = one.stake_per_day if one.stake_per_day > 0 else None
    return message(pb.Incident, one, money_at_stake_per_day=stake, **span)


_CONVERTERS: Final[dict[type, Callable[[Any], Any]]] = {
    results.Rule: RULE.to_wire,
    results.Direction: DIRECTION.to_wire,
    results.IncidentState: STATE.to_wire,
    results.Scope: SCOPE.to_wire,
    results.Kind: KIND.to_wire,
    results.Severity: _SEVERITY.__getitem__,
    Metric: messages.METRIC.to_wire,
    ChangeType: messages.CHANGE_TYPE.to_wire,
    date: messages.day_message,
    datetime: messages.instant_message,
    EntityRef: messages.entity_ref_message,
    Degradation: messages.degradation_message,
    results.DayAssessment: _day,
    results.MetricAssessment: _metric,
    results.RuleAlarm: lambda alarm: message(pb.RuleAlarm, alarm),
    ChangeEvent: _change,
    tuple: lambda several: [value(one) for one in several],
    list: lambda several: [value(one) for one in several],
    results.Incident: _incident,
    results.Threshold: lambda threshold: message(pb.AppliedThreshold, threshold),
}
