"""The analysis of one change: query and data in, the contract's report out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from adsml.common.v1 import answer_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC, day_message, degradation_message

from adsml_impact.analysis import checks
from adsml_impact.analysis.budget import budget_shifts, manipulation_check
from adsml_impact.analysis.controls import ENOUGH_CONTROLS
from adsml_impact.analysis.gain import probability_helped, weekly_gain
from adsml_impact.analysis.metric_comparison import (
    MetricResult,
    compare_metric,
    measure_metric,
    usable_units,
)
from adsml_impact.analysis.plan import COUNTS, events_of
from adsml_impact.analysis.prepare import AnalysisContext, prepare
from adsml_impact.analysis.query import AccountData, ImpactQuery
from adsml_impact.analysis.recommendation import recommend
from adsml_impact.analysis.verdict import VERDICT, Verdict, holm, judge, judge_account
from adsml_impact.encoding import fill, or_none
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.effect import Effect
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.power import detectable

_MOST_EXCLUDED = 100


@dataclass(frozen=True, slots=True)
class Analysis:
    """The report on one change, and the effect on its primary metric behind it."""

    report: pb.ImpactReport
    label: str  # whose change it was
    metric: Metric  # the primary one
    effect: Effect


def _nothing() -> None:
    return None


def analyse(query: ImpactQuery, data: AccountData, *, checkpoint: Callable[[], None] = _nothing) -> Analysis:
    """Measure one change.

    `checkpoint` is called between metrics and may raise to stop the work.

    Raises
    ------
    InvalidInput
        The query can't be answered with any data; all violations at once.
    FailedPrecondition, InsufficientHistory
        The data do not allow it; says what there is.
    """
    context = prepare(query, data, planned=False)
    vanished = _vanished(context)
    if vanished is not None:
        metrics = tuple(dict.fromkeys((vanished, *context.plan.metrics)))
        context = replace(context, plan=replace(context.plan, primary=vanished, metrics=metrics))
    options, plan, design = query.options, context.plan, context.design
    margin, alpha = options.equivalence_margin, options.alpha
    results = []
    for metric in plan.metrics:
        checkpoint()
        results.append(measure_metric(context, metric))
    primary, by_metric = results[0], {one.metric: one for one in results}
    effect = primary.effect
    if effect is None:
        raise FailedPrecondition(
            f"{context.whose}: {primary.message.missing_reason}", metadata={"metric": plan.primary.value}
        )
    _judge_metrics(results, alpha=alpha, margin=margin)
    verdict = _verdict(context, primary, by_metric)
    # Days are asked for an effect of the size seen, or of the margin where less was seen.
    seen = effect.relative if np.isfinite(effect.relative) else -margin
    could = detectable(
        effect.comparison,
        horizon=design.horizon,
        ratio=plan.primary.is_ratio,
        alpha=alpha,
        target=seen if abs(seen) > margin else float(np.copysign(margin, seen)),
    )
    rate = checks.measured_rate(effect.comparison, alpha)
    spend = context.series.values["spend"][context.treated].sum(axis=0)
    manipulated = manipulation_check(spend, design, query)
    controls = _weights(context, effect.comparison)
    used = {None, *(name for name, weight in controls if weight > 0)}
    outliers = [one for one in context.outlier_days(plan.primary) if one[0] in used]
    warnings = (
        *checks.of_comparison(context, effect.comparison),
        *checks.of_days(context, effect.comparison.baseline),
        *checks.of_baseline(context, effect),
        *checks.of_account(context),
        *checks.of_result(context, vanished, outliers, rate, manipulated),
    )
    recommendation = recommend(
        query.change_type,
        verdict,
        primary,
        effect,
        beside=by_metric.get(Metric.LEADS) if plan.primary is not Metric.LEADS else None,
        detectable=could,
        margin=margin,
        alpha=alpha,
        overlapping=context.data.tree.describe(context.overlapping),
    )
    sensitivity = None
    if effect.leave_one_out is not None:
        lowest, highest = effect.leave_one_out
        heaviest = max((weight for _, weight in controls), default=0.0)
        sensitivity = pb.Sensitivity(
            lowest_relative=lowest, highest_relative=highest, heaviest_weight=heaviest
        )
    number = METRIC.to_wire(plan.primary)
    report = pb.ImpactReport(
        treated=map(query.ref, query.treated),
        change=query.change,
        windows=context.windows(),
        verdict=VERDICT.to_wire(verdict),  # type: ignore[arg-type]  # an enum's number
        recommendation=recommendation,
        primary_metric=number,  # type: ignore[arg-type]  # an enum's number
        effects=[one.message for one in results],
        controls=[pb.Control(entity=query.ref(name), weight=weight) for name, weight in controls],
        fit=fill(pb.PrePeriodFit(), effect.fit),
        false_positive_rate=rate,
        detectable_effect=fill(pb.DetectableEffect(metric=number, scope=plan.scope), could),  # type: ignore[arg-type]
        manipulation_check=manipulated,
        budget_shifts=budget_shifts(context) if plan.account else (),
        warnings=warnings,
        answered_by=_answered_by(context, effect.comparison),
        degradations=map(degradation_message, data.degradations),
        probability_helped=or_none(probability_helped(plan.primary, effect)),
        weekly_gain=weekly_gain(by_metric),
        sensitivity=sensitivity,
        outlier_days=[
            pb.OutlierDay(
                entity=query.ref(name or query.treated[0]),
                date=day_message(day),
                metric=METRIC.to_wire(metric),  # type: ignore[arg-type]  # an enum's number
            )
            for name, day, metric in outliers
        ],
        excluded_controls=[
            pb.ExcludedControl(entity=query.ref(one.name), reason=one.reason)
            for one in context.choice.excluded[:_MOST_EXCLUDED]
        ],
        freshness=context.freshness(),
        currency_code=data.currency_code,
    )
    return Analysis(report, ", ".join(map(context.label, query.treated)), plan.primary, effect)


def _vanished(context: AnalysisContext) -> Metric | None:
    """The count that the primary ratio rests on, where it came before the change and none of it after."""
    count = COUNTS.get(context.plan.primary)
    if count is None:
        return None
    days, spend = context.subject.values[count.value][0], context.subject.values["spend"][0]
    design = context.design
    gone = days[design.after].sum() == 0 and days[design.base].sum() > 0
    return count if gone and spend[design.after].sum() > 0 else None


def _judge_metrics(results: list[MetricResult], *, alpha: float, margin: float) -> None:
    """Set each metric's verdict by its p-value; those of all but the first are adjusted by Holm's method."""
    p_values = [one.effect.p_value if one.effect else np.nan for one in results]
    for one, p in zip(results, [p_values[0], *holm(p_values[1:])], strict=True):
        if one.effect is not None:
            one.message.adjusted_p_value = one.p_value = p
            one.verdict = judge(one.metric, one.effect, p_value=p, alpha=alpha, margin=margin)
        if one.verdict is not None:
            one.message.verdict = VERDICT.to_wire(one.verdict)  # type: ignore[assignment]  # an enum's number


def _verdict(
    context: AnalysisContext, primary: MetricResult, by_metric: dict[Metric, MetricResult]
) -> Verdict:
    options, plan = context.query.options, context.plan
    if plan.account and plan.primary is Metric.CPL:
        spend = by_metric[Metric.SPEND]
        return judge_account(
            primary.verdict,
            by_metric[Metric.LEADS].verdict,
            spend=spend.effect,
            spend_moved=spend.p_value < options.alpha,
            margin=options.equivalence_margin,
        )
    if primary.verdict is None:
        # Neither good nor bad by itself: that it moved is all there is to say.
        return Verdict.NEUTRAL if primary.p_value < options.alpha else Verdict.INCONCLUSIVE
    return primary.verdict


def estimate_detectable(
    query: ImpactQuery,
    data: AccountData,
    *,
    power: float = 0.8,
    target: float | None = None,
    checkpoint: Callable[[], None] = _nothing,
) -> pb.EstimateDetectableEffectResponse:
    """What this window could show, before or after the change is made; nothing after the change is looked at.

    `power` is the chance to find the effect, `target` an effect (as a share of the level) to find the days for.
    Raises as `analyse` does.
    """
    context = prepare(query, data, planned=True)
    out = pb.EstimateDetectableEffectResponse(degradations=map(degradation_message, data.degradations))
    for metric in context.plan.metrics:
        checkpoint()
        comparison, reason = compare_metric(context, metric)
        if comparison is None:
            if not out.effects:
                raise FailedPrecondition(f"{context.whose}: {reason}", metadata={"metric": metric.value})
            continue
        if not out.effects:
            out.placebos = comparison.studentised.size
            out.answered_by.CopyFrom(_answered_by(context, comparison))
            out.warnings.extend(checks.of_comparison(context, comparison))
            out.warnings.extend(checks.of_days(context, comparison.baseline))
            out.warnings.extend(checks.of_account(context))
        could = detectable(
            comparison,
            horizon=context.design.horizon,
            ratio=metric.is_ratio,
            power=power,
            alpha=query.options.alpha,
            target=target,
        )
        fill(out.effects.add(metric=METRIC.to_wire(metric), scope=context.plan.scope), could)
    return out


def _weights(context: AnalysisContext, comparison: Comparison) -> list[tuple[str, float]]:
    """Ids of the controls with their weights, the heaviest first."""
    order = np.argsort(-comparison.omega, kind="stable")
    return [(context.subject.names[1 + i], float(comparison.omega[i])) for i in order]


def _answered_by(context: AnalysisContext, comparison: Comparison) -> answer_pb2.AnsweredBy:
    """The estimator, and why it is the fall-back where it is."""
    estimator, reason = comparison.estimator, ""
    if estimator is Estimator.STRUCTURAL and context.query.options.estimator is not Estimator.STRUCTURAL:
        if context.plan.account:
            reason = (
                "a pause or reactivation is judged by the whole account, to which no entity is comparable"
            )
        else:
            events = " and ".join(events_of(context.plan.primary)) or "spend"
            number = int(usable_units(context, context.plan.primary).sum()) - 1
            needed = f"a comparison over entities needs {ENOUGH_CONTROLS}"
            reason = f"{number} usable controls with enough {events}; {needed}"
    source = answer_pb2.ANSWER_SOURCE_FALLBACK if reason else answer_pb2.ANSWER_SOURCE_METHOD
    return answer_pb2.AnsweredBy(source=source, method=estimator.value, reason=reason)
