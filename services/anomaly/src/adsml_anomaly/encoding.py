"""Reports and incidents as the contract's messages."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, warning_pb2
from adsml.common.v1.warning_pb2 import Warning  # noqa: A004  # the contract's word
from adsml_common.domain.changes import ChangeEvent
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    METRIC,
    EnumCodec,
    day_message,
    degradation_message,
    entity_ref_message,
    instant_message,
    model_ref_message,
)

from adsml_anomaly.models.results import (
    DayAssessment,
    Delivery,
    Direction,
    Gate,
    Incident,
    IncidentState,
    Kind,
    MetricAssessment,
    Report,
    Rule,
    RuleAlarm,
    Scope,
    Severity,
    Threshold,
)
from adsml_anomaly.resolver import Provenance

RULE: EnumCodec[Rule] = EnumCodec(Rule, pb.AlarmRule, "ALARM_RULE_")
DIRECTION: EnumCodec[Direction] = EnumCodec(Direction, pb.Direction, "DIRECTION_")
GATE: EnumCodec[Gate] = EnumCodec(Gate, pb.AlarmGate, "ALARM_GATE_")
STATE: EnumCodec[IncidentState] = EnumCodec(IncidentState, pb.IncidentState, "INCIDENT_STATE_")
SCOPE: EnumCodec[Scope] = EnumCodec(Scope, pb.IncidentScope, "INCIDENT_SCOPE_")
KIND: EnumCodec[Kind] = EnumCodec(Kind, pb.IncidentKind, "INCIDENT_KIND_")
SEVERITY: Final = {one: pb.Severity.Value(f"SEVERITY_{one.name}") for one in Severity}


def report(
    one: Report,
    by: Provenance,
    entity: entity_pb2.EntityRef,
    *,
    account_last: date | None = None,
    currency: str = "",
) -> pb.AnomalyReport:
    """A report in the contract's words."""
    out = pb.AnomalyReport(
        entity=entity,
        days=[_day(day) for day in one.days],
        incidents=[incident(each) for each in one.incidents],
        threshold=threshold(one.threshold),
        answered_by=_answered_by(by),
        degradations=[degradation_message(each) for each in by.degradations],
        warnings=_warnings(one),
        currency_code=currency,
    )
    if one.delivery is not None:
        out.freshness.CopyFrom(_freshness(one.delivery, account_last))
    return out


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


def _warnings(one: Report) -> Iterator[Warning]:
    if one.without_reach:
        text = "reach is missing: frequency was not looked at"
        yield Warning(type=warning_pb2.WARNING_TYPE_MISSING_FIGURE, message=text)
    if one.learning_points:
        text = f"the first {one.learning_points} points are for learning and have no p-value"
        yield Warning(type=warning_pb2.WARNING_TYPE_SHORT_HISTORY, message=text)
    if one.incomplete_since is not None:
        text = (
            f"days from {one.incomplete_since} on are still filling up: they are judged by what is usually in at "
            "their age, or, where that is not known, for what is too much already"
        )
        yield Warning(type=warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS, message=text)
    delivery = one.delivery
    if delivery is not None and delivery.stopped:
        text = f"stopped {delivery.idle_days} days ago: it delivered last on {delivery.last_delivery}"
        text = text if delivery.last_delivery is not None else "never delivered"
        yield Warning(type=warning_pb2.WARNING_TYPE_STOPPED, message=text)


def _freshness(one: Delivery, account_last: date | None) -> answer_pb2.DataFreshness:
    return answer_pb2.DataFreshness(
        account_last_date=day_message(account_last) if account_last is not None else None,
        last_row_date=day_message(one.last_row) if one.last_row is not None else None,
        last_delivery_date=day_message(one.last_delivery) if one.last_delivery is not None else None,
        days_without_delivery=one.idle_days,
        stopped=one.stopped,
    )


def threshold(one: Threshold) -> pb.AppliedThreshold:
    """A threshold in the contract's words."""
    return pb.AppliedThreshold(
        p_value=one.p_value,
        false_alarms_per_month=one.false_alarms_per_month,
        feedback_count=one.feedback_count,
    )


def _answered_by(by: Provenance) -> answer_pb2.AnsweredBy:
    source = answer_pb2.ANSWER_SOURCE_METHOD
    if by.pooled:
        source = answer_pb2.ANSWER_SOURCE_POOLED
    elif by.version is not None:
        source = answer_pb2.ANSWER_SOURCE_MODEL
    out = answer_pb2.AnsweredBy(source=source, method=by.method, reason=by.reason)
    if by.version is not None:
        out.model.CopyFrom(
            model_ref_message(by.version.name, version=by.version.version, trained=by.version.created_at)
        )
    return out


def _day(one: DayAssessment) -> pb.DayAssessment:
    out = pb.DayAssessment(
        anomalous=one.anomalous,
        severity=SEVERITY[one.severity],
        direction=DIRECTION.to_wire(one.direction),  # type: ignore[arg-type]
        metrics=[_metric(metric) for metric in one.metrics],
        rule_alarms=[_rule(alarm) for alarm in one.rule_alarms],
        related_changes=[_change(event) for event in one.related_changes],
        excluded=one.excluded,
        exclusion_reason=one.exclusion_reason,
        incident_id=one.incident_id,
        summary=one.summary,
        scores=pb.AnomalyScores(
            isolation_forest=one.isolation_forest, max_robust_z=one.max_robust_z, mahalanobis=one.mahalanobis
        ),
        p_value=one.p_value,
        expected_completion=one.completion,
        still_filling=one.filling,
        main_metric=METRIC.to_wire(one.main_metric) if one.main_metric is not None else None,  # type: ignore[arg-type]
    )
    if one.date is not None:
        out.date.CopyFrom(day_message(one.date))
    if one.time is not None:
        out.time.CopyFrom(instant_message(one.time))
    return out


def _metric(one: MetricAssessment) -> pb.MetricAssessment:
    out = pb.MetricAssessment(
        metric=METRIC.to_wire(one.metric) if one.metric is not None else None,  # type: ignore[arg-type]
        observed=one.observed,
        expected=one.expected,
        robust_z=one.robust_z,
        direction=DIRECTION.to_wire(one.direction),  # type: ignore[arg-type]
        attribution=one.attribution,
        gate=GATE.to_wire(one.gate),  # type: ignore[arg-type]
    )
    if one.lower is not None and one.upper is not None:
        out.expected_range.CopyFrom(metrics_pb2.Interval(lower=one.lower, upper=one.upper, level=one.level))
    return out


def _rule(one: RuleAlarm) -> pb.RuleAlarm:
    return pb.RuleAlarm(
        rule=RULE.to_wire(one.rule),  # type: ignore[arg-type]
        metric=METRIC.to_wire(one.metric),  # type: ignore[arg-type]
        severity=SEVERITY[one.severity],
        message=one.message,
    )


def _change(event: ChangeEvent) -> change_pb2.ChangeEvent:
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    text = event.detail.get("description", "")
    return change_pb2.ChangeEvent(
        date=day_message(event.date),
        change_type=CHANGE_TYPE.to_wire(event.change_type),  # type: ignore[arg-type]
        value_before=before if isinstance(before, float | int) else None,
        value_after=after if isinstance(after, float | int) else None,
        description=text if isinstance(text, str) else "",
    )


def incident(one: Incident) -> pb.Incident:
    """An incident, with those that it explains."""
    out = pb.Incident(
        incident_id=one.incident_id,
        severity=SEVERITY[one.severity],
        direction=DIRECTION.to_wire(one.direction),  # type: ignore[arg-type]
        main_metric=METRIC.to_wire(one.main_metric) if one.main_metric is not None else None,  # type: ignore[arg-type]
        state=STATE.to_wire(one.state),  # type: ignore[arg-type]
        summary=one.summary,
        scope=SCOPE.to_wire(one.scope),  # type: ignore[arg-type]
        entity=entity_ref_message(one.entity) if one.entity is not None else None,
        rule=RULE.to_wire(one.rule) if one.rule is not None else None,  # type: ignore[arg-type]
        money_at_stake_per_day=one.stake_per_day if one.stake_per_day > 0 else None,
        children=[incident(child) for child in one.children],
        kind=KIND.to_wire(one.kind),  # type: ignore[arg-type]
        title=one.title,
    )
    if isinstance(one.first, datetime) and isinstance(one.last, datetime):
        out.first_time.CopyFrom(instant_message(one.first))
        out.last_time.CopyFrom(instant_message(one.last))
    else:
        out.first_date.CopyFrom(day_message(one.first))
        out.last_date.CopyFrom(day_message(one.last))
    return out
