"""Between the anomaly contract and its domain."""

from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    ENTITY_TYPE,
    METRIC,
    EnumCodec,
    day,
    day_message,
    degradation_message,
    instant_message,
    model_ref_message,
    optional_day,
)

from adsml_anomaly.answering import By
from adsml_anomaly.detect import Options
from adsml_anomaly.report import (
    DayAssessment,
    Direction,
    Incident,
    MetricAssessment,
    Report,
    Rule,
    RuleAlarm,
    Severity,
    Threshold,
)
from adsml_anomaly.thresholds import Judgement, of_contamination

FloatArray = npt.NDArray[np.float64]

RULE: EnumCodec[Rule] = EnumCodec(Rule, pb.AlarmRule, "ALARM_RULE_")
JUDGEMENT: EnumCodec[Judgement] = EnumCodec(Judgement, pb.AlarmJudgement, "ALARM_JUDGEMENT_")
_DIRECTION: Final = {
    Direction.NONE: pb.DIRECTION_UNSPECIFIED,
    Direction.UP: pb.DIRECTION_UP,
    Direction.DOWN: pb.DIRECTION_DOWN,
    Direction.RELATION: pb.DIRECTION_RELATION,
}
_SEVERITY: Final = {
    Severity.NONE: pb.SEVERITY_UNSPECIFIED,
    Severity.LOW: pb.SEVERITY_LOW,
    Severity.MEDIUM: pb.SEVERITY_MEDIUM,
    Severity.HIGH: pb.SEVERITY_HIGH,
    Severity.CRITICAL: pb.SEVERITY_CRITICAL,
}


def options(message: pb.DetectionOptions, ref: EntityRef | None = None) -> Options:
    """The options of a request that was validated; unset ones at their defaults.

    Parameters
    ----------
    message
        As sent.
    ref
        What a single series is called, which is what its changes are of.
    """
    of = ref or EntityRef(1, EntityType.CAMPAIGN, "")
    return Options(
        first_date=optional_day(message, "first_date", "options.first_date"),
        last_date=optional_day(message, "last_date", "options.last_date"),
        false_alarms_per_month=sensitivity(message),
        metrics=tuple(METRIC.from_wire(m, f"options.metrics[{i}]") for i, m in enumerate(message.metrics)),
        excluded_dates=frozenset(
            day(one, f"options.excluded_dates[{i}]") for i, one in enumerate(message.excluded_dates)
        ),
        changes=tuple(_change(one, of, f"options.changes[{i}]") for i, one in enumerate(message.changes)),
        exclude_explained_by_change=message.exclude_explained_by_change,
        anomalous_only=message.anomalous_only,
    )


def sensitivity(message: pb.DetectionOptions) -> float | None:
    """False alarms per month as asked for, in either of the two ways; None where not."""
    match message.WhichOneof("sensitivity"):
        case "false_alarms_per_month":
            return message.false_alarms_per_month
        case "contamination":
            return of_contamination(message.contamination)
        case _:
            return None


def _change(message: change_pb2.ChangeEvent, ref: EntityRef, path: str) -> ChangeEvent:
    detail: dict[str, float | str] = {}
    if message.HasField("value_before"):
        detail["budget_before"] = message.value_before
    if message.HasField("value_after"):
        detail["budget_after"] = message.value_after
    if message.description:
        detail["description"] = message.description
    kind = CHANGE_TYPE.from_wire(message.change_type, f"{path}.change_type")
    return ChangeEvent(ref, kind, day(message.date, f"{path}.date"), detail)


def inline_ref(series: entity_pb2.InlineSeries) -> EntityRef:
    """Level and name of a series sent along; account 0 where none was named."""
    kind = ENTITY_TYPE.find(series.entity_type) or EntityType.CAMPAIGN
    return EntityRef(series.config_id, kind, series.entity_id)


def points(message: pb.PointSeries, path: str) -> tuple[FloatArray, FloatArray]:
    """Times (seconds since 1970) and values of a series of points, in order of time.

    Raises
    ------
    InvalidInput
        Every point without a time or with a value that is not finite, two at one time, out of order.
    """
    found = Violations()
    n = len(message.points)
    seconds, values = np.empty(n), np.full(n, np.nan)
    for i, one in enumerate(message.points):
        if not one.HasField("time"):
            found.add(f"{path}.points[{i}].time", "is not set")
            continue
        seconds[i] = one.time.seconds + one.time.nanos / 1e9
        if not 0 <= one.time.seconds < 4_102_444_800:
            found.add(f"{path}.points[{i}].time", "is not between the years 1970 and 2100")
        if one.HasField("value"):
            values[i] = one.value
            if not np.isfinite(one.value):
                found.add(f"{path}.points[{i}].value", f"is {one.value}; expected a finite number")
    found.raise_if_any()
    for i in np.flatnonzero(np.diff(seconds) <= 0)[:50]:
        what = (
            "is the time of the point before it"
            if seconds[i + 1] == seconds[i]
            else "is before the last one's"
        )
        found.add(f"{path}.points[{i + 1}].time", f"{what}; expected rising times")
    found.raise_if_any()
    if not np.isfinite(values).any():
        raise InvalidInput.at(f"{path}.points", "holds no value")
    return seconds, values


def echo(source: pb.SeriesSource) -> entity_pb2.EntityRef:
    """The series as the answer names it: as the caller wrote it, right or wrong."""
    match source.WhichOneof("source"):
        case "entity":
            return source.entity
        case "inline":
            return entity_pb2.EntityRef(
                config_id=source.inline.config_id,
                entity_type=source.inline.entity_type,
                entity_id=source.inline.entity_id,
            )
        case _:
            return entity_pb2.EntityRef(entity_id=source.points.name)


def report(found: Report, by: By, entity: entity_pb2.EntityRef) -> pb.AnomalyReport:
    """A report in the contract's words."""
    return pb.AnomalyReport(
        entity=entity,
        days=[_day(one) for one in found.days],
        incidents=[_incident(one) for one in found.incidents],
        threshold=threshold(found.threshold),
        answered_by=_by(by),
        degradations=[degradation_message(one) for one in by.degradations],
        warnings=found.warnings,
    )


def threshold(one: Threshold) -> pb.AppliedThreshold:
    """A threshold in the contract's words."""
    return pb.AppliedThreshold(
        p_value=one.p_value,
        false_alarms_per_month=one.false_alarms_per_month,
        feedback_count=one.feedback_count,
    )


def _by(by: By) -> answer_pb2.AnsweredBy:
    source = answer_pb2.ANSWER_SOURCE_METHOD
    if by.pooled:
        source = answer_pb2.ANSWER_SOURCE_POOLED
    elif by.version is not None:
        source = answer_pb2.ANSWER_SOURCE_MODEL
    out = answer_pb2.AnsweredBy(source=source, method=by.method, reason=by.reason)
    if by.version is not None:
        out.model.CopyFrom(_model(by.version))
    return out


def _model(version: ModelVersion) -> answer_pb2.ModelRef:
    return model_ref_message(version.name, version=version.version, trained=version.created_at)


def _day(one: DayAssessment) -> pb.DayAssessment:
    out = pb.DayAssessment(
        anomalous=one.anomalous,
        severity=_SEVERITY[one.severity],
        direction=_DIRECTION[one.direction],
        metrics=[_metric(metric) for metric in one.metrics],
        rule_alarms=[_rule(alarm) for alarm in one.rule_alarms],
        related_changes=[change(event) for event in one.related_changes],
        excluded=one.excluded,
        exclusion_reason=one.exclusion_reason,
        incident_id=one.incident_id,
        summary=one.summary,
        scores=pb.AnomalyScores(
            isolation_forest=one.isolation_forest, max_robust_z=one.max_robust_z, mahalanobis=one.mahalanobis
        ),
    )
    if one.date is not None:
        out.date.CopyFrom(day_message(one.date))
    if one.time is not None:
        out.time.CopyFrom(instant_message(one.time))
    if one.p_value is not None:
        out.p_value = one.p_value
    return out


def _metric(one: MetricAssessment) -> pb.MetricAssessment:
    out = pb.MetricAssessment(
        observed=one.observed,
        expected=one.expected,
        robust_z=one.robust_z,
        direction=_DIRECTION[one.direction],
        attribution=one.attribution,
        gate=one.gate,
    )
    if one.metric is not None:
        out.metric = METRIC.to_wire(one.metric)  # type: ignore[assignment]  # an enum's number
    if one.lower is not None and one.upper is not None:
        out.expected_range.CopyFrom(metrics_pb2.Interval(lower=one.lower, upper=one.upper, level=one.level))
    return out


def _rule(one: RuleAlarm) -> pb.RuleAlarm:
    return pb.RuleAlarm(
        rule=RULE.to_wire(one.rule),  # type: ignore[arg-type]  # an enum's number
        metric=METRIC.to_wire(one.metric),  # type: ignore[arg-type]
        severity=_SEVERITY[one.severity],
        message=one.message,
    )


def change(event: ChangeEvent) -> change_pb2.ChangeEvent:
    """A change in the contract's words."""
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    text = event.detail.get("description", "")
    return change_pb2.ChangeEvent(
        date=day_message(event.date),
        change_type=CHANGE_TYPE.to_wire(event.change_type),  # type: ignore[arg-type]  # an enum's number
        value_before=before if isinstance(before, float | int) else None,
        value_after=after if isinstance(after, float | int) else None,
        description=text if isinstance(text, str) else "",
    )


def _incident(one: Incident) -> pb.Incident:
    out = pb.Incident(
        incident_id=one.incident_id,
        severity=_SEVERITY[one.severity],
        direction=_DIRECTION[one.direction],
        ongoing=one.ongoing,
        summary=one.summary,
    )
    if one.main_metric is not None:
        out.main_metric = METRIC.to_wire(one.main_metric)  # type: ignore[assignment]  # an enum's number
    if isinstance(one.first, datetime) and isinstance(one.last, datetime):
        out.first_time.CopyFrom(instant_message(one.first))
        out.last_time.CopyFrom(instant_message(one.last))
    else:
        out.first_date.CopyFrom(day_message(one.first))
        out.last_date.CopyFrom(day_message(one.last))
    return out
