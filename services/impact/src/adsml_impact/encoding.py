"""From reports to the impact contract's responses."""

import math
from collections.abc import Sequence
from datetime import date

from adsml.common.v1 import answer_pb2, change_pb2, metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    METRIC,
    EnumCodec,
    day_message,
    entity_ref_message,
)

from adsml_impact.analysis.plan import Scope
from adsml_impact.analysis.report import (
    Caution,
    DetectableReport,
    ImpactReport,
    MetricReport,
    WarningType,
    WeeklyGain,
    Windows,
)
from adsml_impact.analysis.summary import ChangesSummary, to_relative
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.decoding import PanelEntities
from adsml_impact.models.effect import Effect, Interval
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.naive import NaiveComparison
from adsml_impact.models.power import Detectable

SCOPE: EnumCodec[Scope] = EnumCodec(Scope, pb.EffectScope, "EFFECT_SCOPE_")
WARNING: EnumCodec[WarningType] = EnumCodec(WarningType, warning_pb2.WarningType, "WARNING_TYPE_")
VERDICT: EnumCodec[Verdict] = EnumCodec(Verdict, change_pb2.Verdict, "VERDICT_")
_MOST_EXCLUDED = 100


def report_message(
    report: ImpactReport, entities: PanelEntities, change: change_pb2.ChangeEvent
) -> pb.ImpactReport:
    """The contract's report."""
    out = pb.ImpactReport(
        treated=[entities.ref(name) for name in entities.treated],
        change=change,
        windows=_windows(report.windows),
        verdict=VERDICT.to_wire(report.verdict),  # type: ignore[arg-type]  # an enum's number
        recommendation=report.recommendation,
        primary_metric=METRIC.to_wire(report.primary_metric),  # type: ignore[arg-type]
        effects=[_effect(one, report) for one in report.metrics],
        controls=[
            pb.Control(entity=entities.ref(one.entity_id), weight=one.weight) for one in report.controls
        ],
        false_positive_rate=pb.FalsePositiveRate(
            nominal=report.false_positive_rate.nominal, analyses=report.false_positive_rate.analyses
        ),
        detectable_effect=_detectable(
            report.detectable,
            METRIC.to_wire(report.primary_metric),
            SCOPE.to_wire(report.primary.scope),
        ),
        warnings=_warnings(report.cautions),
        answered_by=_answered(report.estimator, report.estimator_reason),
    )
    fit = out.fit
    fit.rmse, fit.days, fit.effective_controls = (
        report.fit.rmse,
        report.fit.days,
        report.fit.effective_controls,
    )
    _set(fit, "relative_rmse", report.fit.relative_rmse)
    _set(fit, "r_squared", report.fit.r_squared)
    rate = report.false_positive_rate
    if rate.rate is not None and rate.interval is not None:
        out.false_positive_rate.rate = rate.rate
        out.false_positive_rate.interval.CopyFrom(_interval(rate.interval))
    if (check := report.manipulation_check) is not None:
        out.manipulation_check.CopyFrom(
            pb.ManipulationCheck(
                metric=metrics_pb2.METRIC_SPEND,
                before=check.before,
                after=check.after,
                passed=check.passed,
                message=check.message,
            )
        )
    level = 1.0 - report.query.options.alpha
    _set(out, "probability_helped", report.probability_helped)
    if report.weekly_gain is not None:
        out.weekly_gain.CopyFrom(_gain(report.weekly_gain, level))
    effect = report.primary.effect
    if effect is not None and effect.leave_one_out is not None:
        lowest, highest = effect.leave_one_out
        out.sensitivity.CopyFrom(
            pb.Sensitivity(
                lowest_relative=lowest,
                highest_relative=highest,
                heaviest_weight=max((one.weight for one in report.controls), default=0.0),
            )
        )
    for day in report.outliers:
        name = day.entity_id if day.entity_id is not None else report.query.treated[0]
        out.outlier_days.add(
            entity=entities.ref(name),
            date=day_message(day.day),
            metric=METRIC.to_wire(day.metric),
        )
    for name, reason in report.excluded[:_MOST_EXCLUDED]:
        out.excluded_controls.add(entity=entities.ref(name), reason=reason)
    fresh, out_fresh = report.freshness, out.freshness
    out_fresh.account_last_date.CopyFrom(day_message(fresh.account_last_date))
    out_fresh.last_row_date.CopyFrom(day_message(fresh.last_row_date))
    out_fresh.days_without_delivery = fresh.days_without_delivery
    out_fresh.stopped = fresh.days_without_delivery > 1
    if fresh.last_delivery_date is not None:
        out_fresh.last_delivery_date.CopyFrom(day_message(fresh.last_delivery_date))
    for shift in report.budget_shifts:
        message = out.budget_shifts.add(
            entity=entities.ref(shift.entity_id),
            spend_per_day=shift.spend_per_day,
            share=shift.share,
        )
        _set(message, "cpl_after", shift.cpl_after)
    return out


def detectable_message(report: DetectableReport) -> pb.EstimateDetectableEffectResponse:
    """The contract's answer to what a window could show."""
    return pb.EstimateDetectableEffectResponse(
        effects=[
            _detectable(could, METRIC.to_wire(metric), SCOPE.to_wire(scope))
            for metric, scope, could in report.effects
        ],
        placebos=report.placebos,
        warnings=_warnings(report.cautions),
        answered_by=_answered(report.estimator, report.estimator_reason),
    )


def _set(message: object, field: str, value: float | None) -> None:
    """Set an optional field where there is a value; NaN is none."""
    if value is not None and not math.isnan(value):
        setattr(message, field, value)


def _interval(value: Interval) -> metrics_pb2.Interval:
    return metrics_pb2.Interval(lower=value.lower, upper=value.upper, level=value.level)


def _windows(value: Windows) -> pb.Windows:
    return pb.Windows(
        baseline_first_date=day_message(value.baseline_first),
        before_first_date=day_message(value.before_first),
        before_last_date=day_message(value.before_last),
        after_first_date=day_message(value.after_first),
        after_last_date=day_message(value.after_last),
    )


def _effect(report: MetricReport, whole: ImpactReport) -> pb.MetricEffect:
    out = pb.MetricEffect(
        metric=METRIC.to_wire(report.metric),  # type: ignore[arg-type]
        scope=SCOPE.to_wire(report.scope),  # type: ignore[arg-type]
        verdict=None if report.verdict is None else VERDICT.to_wire(report.verdict),  # type: ignore[arg-type]
        naive=_naive(report.naive),
        missing_reason=report.missing_reason,
    )
    _set(out, "before", report.before)
    _set(out, "after", report.after)
    effect = report.effect
    if effect is None:
        return out
    for name in ("counterfactual", "absolute", "relative", "p_value", "effect_size"):
        _set(out, name, getattr(effect, name))
    _set(out, "adjusted_p_value", report.adjusted_p_value)
    out.absolute_interval.CopyFrom(_interval(effect.absolute_interval))
    if not math.isnan(effect.relative):
        out.relative_interval.CopyFrom(_interval(effect.relative_interval))
    placebos = effect.placebos
    out.placebos.CopyFrom(
        pb.PlaceboSummary(
            dates=placebos.dates,
            entities=placebos.controls,
            smallest_p_value=placebos.smallest_p_value,
            mean=placebos.mean,
            standard_deviation=placebos.standard_deviation,
            quantiles=placebos.quantiles,
        )
    )
    _series(out, effect, whole)
    return out


def _series(out: pb.MetricEffect, effect: Effect, whole: ImpactReport) -> None:
    if not effect.series:
        return
    first = whole.windows.before_last.toordinal() + 1 - effect.comparison.baseline
    level = 1.0 - whole.query.options.alpha
    for one in effect.series:
        message = out.series.add(date=day_message(date.fromordinal(first + one.day)))
        _set(message, "actual", one.actual)
        _set(message, "counterfactual", one.counterfactual)
        if not math.isnan(one.counterfactual):
            message.interval.CopyFrom(_interval(Interval(one.lower, one.upper, level)))
        _set(message, "cumulative_effect", one.cumulative)


def _naive(value: NaiveComparison) -> pb.NaiveComparison:
    out = pb.NaiveComparison()
    for name in ("relative_change", "t_statistic", "p_value", "cohens_d"):
        _set(out, name, getattr(value, name))
    return out


def _detectable(could: Detectable, metric: int, scope: int) -> pb.DetectableEffect:
    out = pb.DetectableEffect(
        metric=metric,  # type: ignore[arg-type]
        scope=scope,  # type: ignore[arg-type]
        power=could.power,
        alpha=could.alpha,
        after_days=could.after_days,
        power_curve=[
            pb.PowerPoint(after_days=one.after_days, relative=one.relative, power=one.power)
            for one in could.curve
        ],
    )
    _set(out, "relative_up", could.up)
    _set(out, "relative_down", could.down)
    if could.days_needed is not None:
        out.days_needed = could.days_needed
    if could.target is not None:
        out.target_relative = could.target
    return out


def _gain(gain: WeeklyGain, level: float) -> pb.WeeklyGain:
    out = pb.WeeklyGain(leads=gain.leads, leads_interval=_interval(Interval(gain.lower, gain.upper, level)))
    _set(out, "money", gain.money)
    return out


def summary_message(summary: ChangesSummary) -> pb.SummarizeChangesResponse:
    """The contract's answer to what changes of one kind do."""
    metric = summary.metric
    out = pb.SummarizeChangesResponse(
        primary_metric=METRIC.to_wire(metric),  # type: ignore[arg-type]
        verdict=VERDICT.to_wire(summary.verdict),  # type: ignore[arg-type]
        recommendation=summary.recommendation,
        warnings=_warnings(summary.cautions),
        answered_by=answer_pb2.AnsweredBy(
            source=answer_pb2.ANSWER_SOURCE_METHOD, method="random_effects_meta_analysis"
        ),
    )
    level = 1.0 - summary.alpha
    if (pooled := summary.pooled) is not None:
        out.pooled.CopyFrom(
            pb.PooledEffect(
                relative=to_relative(pooled.mean, metric),
                interval=_relative_interval(pooled.lower, pooled.upper, level, summary),
                p_value=pooled.p_value,
                heterogeneity=pooled.tau,
                i_squared=pooled.i_squared,
                probability_helps=summary.probability_helps,
                prediction_interval=_relative_interval(
                    pooled.predicted_lower, pooled.predicted_upper, level, summary
                ),
                changes=len(summary.changes),
            )
        )
    for one in summary.changes:
        effect = one.effect
        out.changes.add(
            entity=entity_ref_message(one.event.entity),
            change=change_message(one.event),
            relative=effect.relative,
            interval=_interval(effect.relative_interval),
            p_value=effect.p_value,
            shrunk_relative=to_relative(one.shrunk, metric),
            probability_improved=one.probability_improved,
            verdict=VERDICT.to_wire(one.verdict),
        )
    for event, reason in summary.skipped:
        out.skipped.add(entity=entity_ref_message(event.entity), change=change_message(event), reason=reason)
    return out


def change_message(event: ChangeEvent) -> change_pb2.ChangeEvent:
    """The contract's change of a recorded one."""
    out = change_pb2.ChangeEvent(
        date=day_message(event.date),
        change_type=CHANGE_TYPE.to_wire(event.change_type),  # type: ignore[arg-type]
    )
    for name, key in (("value_before", "budget_before"), ("value_after", "budget_after")):
        amount = event.detail.get(key)
        if isinstance(amount, int | float):
            setattr(out, name, float(amount))
    return out


def _relative_interval(
    low: float, high: float, level: float, summary: ChangesSummary
) -> metrics_pb2.Interval:
    return _interval(Interval(to_relative(low, summary.metric), to_relative(high, summary.metric), level))


def _warnings(cautions: Sequence[Caution]) -> list[warning_pb2.Warning]:
    return [
        warning_pb2.Warning(type=WARNING.to_wire(one.type), message=one.message)  # type: ignore[arg-type]
        for one in cautions
    ]


def _answered(estimator: Estimator, reason: str) -> answer_pb2.AnsweredBy:
    source = answer_pb2.ANSWER_SOURCE_FALLBACK if reason else answer_pb2.ANSWER_SOURCE_METHOD
    return answer_pb2.AnsweredBy(source=source, method=estimator.value, reason=reason)
