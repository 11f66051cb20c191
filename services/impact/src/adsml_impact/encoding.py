"""From reports to the impact contract's responses."""

import math
from dataclasses import is_dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from adsml.common.v1 import answer_pb2, change_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    METRIC,
    EnumCodec,
    day_message,
    entity_ref_message,
)
from google.protobuf.message import Message

from adsml_impact.analysis.plan import Scope
from adsml_impact.analysis.report import DetectableReport, ImpactReport, MetricReport
from adsml_impact.analysis.summary import ChangesSummary, to_relative
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.decoding import AMOUNTS, PanelEntities, amounts
from adsml_impact.models.effect import Effect
from adsml_impact.models.estimators import Estimator

_CODECS: Final[dict[type[StrEnum], EnumCodec[Any]]] = {
    ChangeType: CHANGE_TYPE,
    Metric: METRIC,
    Scope: EnumCodec(Scope, pb.EffectScope, "EFFECT_SCOPE_"),
    Verdict: EnumCodec(Verdict, change_pb2.Verdict, "VERDICT_"),
}
_MOST_EXCLUDED: Final = 100


def _fill(message: Message, values: object, **more: object) -> None:
    """Set a message's fields from an object's attributes of the same names; None and NaN leave them unset."""
    for name in message.DESCRIPTOR.fields_by_name:
        value = more.get(name, getattr(values, name, None))
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if isinstance(value, date):
            getattr(message, name).CopyFrom(day_message(value))
        elif isinstance(value, StrEnum):
            setattr(message, name, _CODECS[type(value)].to_wire(value))
        elif isinstance(value, Message):
            getattr(message, name).CopyFrom(value)
        elif is_dataclass(value):
            part = getattr(message, name)
            part.SetInParent()  # there, even if nothing in it is known
            _fill(part, value)
        elif isinstance(value, tuple):
            field = getattr(message, name)
            for one in value:
                if is_dataclass(one):
                    _fill(field.add(), one)
                else:
                    field.append(one)
        else:
            setattr(message, name, value)


def report_message(
    report: ImpactReport, entities: PanelEntities, change: change_pb2.ChangeEvent
) -> pb.ImpactReport:
    """The contract's report."""
    out = pb.ImpactReport(
        treated=[entities.ref(name) for name in entities.treated],
        change=change,
        effects=[_effect(one, report) for one in report.metrics],
        answered_by=_answered(report.estimator, report.estimator_reason),
    )
    _fill(out, report, controls=None, budget_shifts=None)
    _fill(out.detectable_effect, report.detectable, metric=report.primary_metric, scope=report.primary.scope)
    if report.manipulation_check is not None:
        out.manipulation_check.metric = metrics_pb2.METRIC_SPEND
    for control in report.controls:
        out.controls.add(entity=entities.ref(control.entity_id), weight=control.weight)
    effect = report.primary.effect
    if effect is not None and effect.leave_one_out is not None:
        out.sensitivity.lowest_relative, out.sensitivity.highest_relative = effect.leave_one_out
        out.sensitivity.heaviest_weight = max((one.weight for one in report.controls), default=0.0)
    for day in report.outliers:
        name = day.entity_id if day.entity_id is not None else report.query.treated[0]
        _fill(out.outlier_days.add(), day, entity=entities.ref(name))
    for name, reason in report.excluded[:_MOST_EXCLUDED]:
        out.excluded_controls.add(entity=entities.ref(name), reason=reason)
    for shift in report.budget_shifts:
        _fill(out.budget_shifts.add(), shift, entity=entities.ref(shift.entity_id))
    return out


def detectable_message(report: DetectableReport) -> pb.EstimateDetectableEffectResponse:
    """The contract's answer to what a window could show."""
    out = pb.EstimateDetectableEffectResponse(
        placebos=report.placebos,
        warnings=report.warnings,
        answered_by=_answered(report.estimator, report.estimator_reason),
    )
    for metric, scope, could in report.effects:
        _fill(out.effects.add(), could, metric=metric, scope=scope)
    return out


def _effect(report: MetricReport, whole: ImpactReport) -> pb.MetricEffect:
    out = pb.MetricEffect()
    _fill(out, report)
    if report.effect is None:
        return out
    _fill(out, report.effect, series=None)
    if math.isnan(report.effect.relative):
        out.ClearField("relative_interval")
    _series(out, report.effect, whole)
    return out


def _series(out: pb.MetricEffect, effect: Effect, whole: ImpactReport) -> None:
    first = whole.windows.before_last_date.toordinal() + 1 - effect.comparison.baseline
    level = 1.0 - whole.query.options.alpha
    for one in effect.series:
        message = out.series.add(date=day_message(date.fromordinal(first + one.day)))
        if not math.isnan(one.actual):
            message.actual = one.actual
        if not math.isnan(one.counterfactual):
            message.counterfactual = one.counterfactual
            message.interval.lower, message.interval.upper = one.lower, one.upper
            message.interval.level = level
        if not math.isnan(one.cumulative):
            message.cumulative_effect = one.cumulative


def summary_message(summary: ChangesSummary) -> pb.SummarizeChangesResponse:
    """The contract's answer to what changes of one kind do."""
    metric, level = summary.primary_metric, 1.0 - summary.alpha
    out = pb.SummarizeChangesResponse(
        answered_by=answer_pb2.AnsweredBy(
            source=answer_pb2.ANSWER_SOURCE_METHOD, method="random_effects_meta_analysis"
        ),
    )
    _fill(out, summary, pooled=None, changes=None, skipped=None)

    def interval(low: float, high: float) -> metrics_pb2.Interval:
        return metrics_pb2.Interval(
            lower=to_relative(low, metric), upper=to_relative(high, metric), level=level
        )

    if (pooled := summary.pooled) is not None:
        out.pooled.CopyFrom(
            pb.PooledEffect(
                relative=to_relative(pooled.mean, metric),
                interval=interval(pooled.lower, pooled.upper),
                p_value=pooled.p_value,
                heterogeneity=pooled.tau,
                i_squared=pooled.i_squared,
                probability_helps=summary.probability_helps,
                prediction_interval=interval(pooled.predicted_lower, pooled.predicted_upper),
                changes=len(summary.changes),
            )
        )
    for one in summary.changes:
        message = out.changes.add(
            entity=entity_ref_message(one.event.entity),
            change=change_message(one.event),
            relative=one.effect.relative,
            p_value=one.effect.p_value,
            shrunk_relative=to_relative(one.shrunk, metric),
        )
        _fill(message, one, interval=one.effect.relative_interval)
    for event, reason in summary.skipped:
        out.skipped.add(entity=entity_ref_message(event.entity), change=change_message(event), reason=reason)
    return out


def change_message(event: ChangeEvent) -> change_pb2.ChangeEvent:
    """The contract's change of a recorded one."""
    out = change_pb2.ChangeEvent()
    _fill(out, event)
    for name, amount in zip(AMOUNTS, amounts(event), strict=True):
        if amount is not None:
            setattr(out, name, amount)
    return out


def _answered(estimator: Estimator, reason: str) -> answer_pb2.AnsweredBy:
    source = answer_pb2.ANSWER_SOURCE_FALLBACK if reason else answer_pb2.ANSWER_SOURCE_METHOD
    return answer_pb2.AnsweredBy(source=source, method=estimator.value, reason=reason)
