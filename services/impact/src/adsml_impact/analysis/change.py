"""The analysis of one change: query and data in, report out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from adsml.common.v1 import warning_pb2
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis import checks
from adsml_impact.analysis.budget import budget_shifts, manipulation_check
from adsml_impact.analysis.controls import ENOUGH_CONTROLS
from adsml_impact.analysis.gain import probability_helped, weekly_gain
from adsml_impact.analysis.metric_comparison import compare_metric, usable_units
from adsml_impact.analysis.plan import Scope, events_of, vanished_metric
from adsml_impact.analysis.prepare import AnalysisContext, prepare, whose, windows
from adsml_impact.analysis.query import AccountData, ImpactQuery
from adsml_impact.analysis.recommendation import recommend
from adsml_impact.analysis.report import Control, DetectableReport, ImpactReport, MetricReport
from adsml_impact.analysis.verdict import Verdict, judge, judge_account
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.effect import daily_values, measure, window_value
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.holm import holm
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.power import Detectable, detectable


def _nothing() -> None:
    return None


def analyse(
    query: ImpactQuery, data: AccountData, *, checkpoint: Callable[[], None] = _nothing
) -> ImpactReport:
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
    reports = [_metric(context, metric, checkpoint) for metric in plan.metrics]
    effect = reports[0].effect
    if effect is None:
        raise FailedPrecondition(
            f"{whose(context)}: {reports[0].missing_reason}", metadata={"metric": plan.primary.value}
        )
    comparison = effect.comparison
    adjusted = [effect.p_value, *holm([one.effect.p_value if one.effect else np.nan for one in reports[1:]])]
    reports = [
        one
        if one.effect is None
        else replace(
            one,
            adjusted_p_value=p,
            verdict=judge(one.metric, one.effect, p_value=p, alpha=alpha, margin=margin),
        )
        for one, p in zip(reports, adjusted, strict=True)
    ]
    by_metric = {report.metric: report for report in reports}
    verdict = _verdict(context, reports[0], by_metric)
    # Days are asked for an effect of the size seen, or of the margin where less was seen.
    seen = effect.relative if np.isfinite(effect.relative) else -margin
    could = detectable(
        comparison,
        horizon=design.horizon,
        ratio=plan.primary.is_ratio,
        alpha=alpha,
        target=seen if abs(seen) > margin else float(np.copysign(margin, seen)),
    )
    rate = checks.measured_rate(comparison, alpha)
    spend, _, _ = context.treated.parts(Metric.SPEND)
    manipulated = manipulation_check(spend[0], design, query)
    account = plan.scope is Scope.ACCOUNT
    controls = _weights(context, comparison)
    used = {one.entity_id for one in controls if one.weight > 0}
    outliers = tuple(
        one for one in context.outlier_days(plan.primary) if one.entity_id is None or one.entity_id in used
    )
    return ImpactReport(
        query=query,
        windows=windows(context),
        verdict=verdict,
        recommendation=recommend(
            query.change_type,
            verdict,
            reports[0],
            beside=by_metric.get(Metric.LEADS) if plan.primary is not Metric.LEADS else None,
            detectable=could,
            margin=margin,
            alpha=alpha,
            overlapping=context.overlapping,
        ),
        primary_metric=plan.primary,
        metrics=tuple(reports),
        controls=controls,
        fit=effect.fit,
        false_positive_rate=rate,
        detectable=could,
        manipulation_check=manipulated,
        budget_shifts=budget_shifts(context.series, design, context.treated_rows) if account else (),
        warnings=_warnings(
            context,
            data,
            comparison,
            checks.poor_fit(comparison, effect.fit),
            checks.regression_to_the_mean(context),
            checks.incomplete_days(context, data.completion),
            last=(
                checks.no_events(vanished, query, design.horizon),
                checks.outliers(outliers),
                checks.false_positive_rate(rate),
                checks.manipulation(manipulated),
            ),
        ),
        estimator=comparison.estimator,
        estimator_reason=_estimator_reason(context, comparison),
        excluded=context.choice.excluded,
        outliers=outliers,
        probability_helped=probability_helped(plan.primary, effect),
        weekly_gain=weekly_gain(by_metric),
        freshness=context.freshness,
    )


def _vanished(context: AnalysisContext) -> Metric | None:
    """The count that the primary ratio rests on, where it came before the change and none of it after."""
    count = vanished_metric(context.plan.primary)
    if count is None:
        return None
    days, spend = context.subject.values[count.value][0], context.subject.values["spend"][0]
    design = context.design
    gone = days[design.after].sum() == 0 and days[design.base].sum() > 0
    return count if gone and spend[design.after].sum() > 0 else None


def _verdict(
    context: AnalysisContext, primary: MetricReport, by_metric: dict[Metric, MetricReport]
) -> Verdict:
    options, plan = context.query.options, context.plan
    if plan.scope is Scope.ACCOUNT and plan.primary is Metric.CPL:
        spend = by_metric[Metric.SPEND]
        return judge_account(
            primary.verdict,
            by_metric[Metric.LEADS].verdict,
            spend=spend.effect,
            spend_moved=spend.adjusted_p_value < options.alpha,
            margin=options.equivalence_margin,
        )
    if primary.verdict is None:
        # Neither good nor bad by itself: that it moved is all there is to say.
        return Verdict.NEUTRAL if primary.adjusted_p_value < options.alpha else Verdict.INCONCLUSIVE
    return primary.verdict


def estimate_detectable(
    query: ImpactQuery,
    data: AccountData,
    *,
    power: float = 0.8,
    target: float | None = None,
    checkpoint: Callable[[], None] = _nothing,
) -> DetectableReport:
    """What this window could show, before or after the change is made; nothing after the change is looked at.

    `power` is the chance to find the effect, `target` an effect (as a share of the level) to find the days for.
    Raises as `analyse` does.
    """
    context = prepare(query, data, planned=True)
    plan = context.plan
    effects: list[tuple[Metric, Scope, Detectable]] = []
    first: Comparison | None = None
    for metric in plan.metrics:
        checkpoint()
        comparison, reason = compare_metric(context, metric)
        if comparison is None:
            if first is None:
                raise FailedPrecondition(f"{whose(context)}: {reason}", metadata={"metric": metric.value})
            continue
        first = first or comparison
        could = detectable(
            comparison,
            horizon=context.design.horizon,
            ratio=metric.is_ratio,
            power=power,
            alpha=query.options.alpha,
            target=target,
        )
        effects.append((metric, plan.scope, could))
    assert first is not None  # noqa: S101 - the primary metric was compared, or refused above
    return DetectableReport(
        effects=tuple(effects),
        placebos=int(first.studentised.size),
        warnings=_warnings(context, data, first),
        estimator=first.estimator,
        estimator_reason=_estimator_reason(context, first),
    )


def _metric(context: AnalysisContext, metric: Metric, checkpoint: Callable[[], None]) -> MetricReport:
    """What happened to one metric, not yet judged."""
    checkpoint()
    design = context.design
    A, B, scale = context.subject.parts(metric)
    numerator, denominator = A[0], None if B is None else B[0]
    window = design.before_window
    before = window_value(numerator, denominator, scale=scale, days=window)
    after = window_value(numerator, denominator, scale=scale, days=design.after)
    daily = daily_values(numerator, denominator, scale=scale)
    comparison, reason = compare_metric(context, metric)
    effect = None
    if comparison is not None:
        with_series = context.query.options.with_series
        effect = measure(
            numerator, denominator, scale=scale, design=design, comparison=comparison, with_series=with_series
        )
    return MetricReport(
        metric=metric,
        scope=context.plan.scope,
        effect=effect,
        adjusted_p_value=np.nan,
        verdict=Verdict.INCONCLUSIVE,
        naive=naive_comparison(daily[window], daily[design.after], before_total=before, after_total=after),
        before=before,
        after=after,
        missing_reason=reason,
    )


def _weights(context: AnalysisContext, comparison: Comparison) -> tuple[Control, ...]:
    names = context.subject.names[1:]
    order = np.argsort(-comparison.omega, kind="stable")
    return tuple(Control(names[i], float(comparison.omega[i])) for i in order)


def _estimator_reason(context: AnalysisContext, comparison: Comparison) -> str:
    asked_for = context.query.options.estimator
    if comparison.estimator is not Estimator.STRUCTURAL or asked_for is Estimator.STRUCTURAL:
        return ""
    if context.plan.scope is Scope.ACCOUNT:
        return "a pause or reactivation is judged by the whole account, to which no entity is comparable"
    events = " and ".join(events_of(context.plan.primary)) or "spend"
    number = int(usable_units(context, context.plan.primary).sum()) - 1
    return (
        f"{number} usable controls with enough {events}; a comparison over entities needs {ENOUGH_CONTROLS}"
    )


def _warnings(
    context: AnalysisContext,
    data: AccountData,
    comparison: Comparison,
    *own: warning_pb2.Warning | None,
    last: tuple[warning_pb2.Warning | None, ...] = (),
) -> tuple[warning_pb2.Warning, ...]:
    """What holds for both questions, what an analysis adds, and what comes last."""
    design, options = context.design, context.query.options
    account = context.plan.scope is Scope.ACCOUNT
    every = (
        None if account else checks.few_controls(comparison, context.choice),
        checks.excluded_controls(context.choice),
        checks.few_placebos(comparison, options.alpha),
        checks.short_window(design, options, comparison.baseline),
        checks.gaps(context.subject.present[0, design.base], "the account" if account else "the entity"),
        checks.other_changes(context.overlapping),
        None if options.as_of else checks.stale(context.freshness.account_last_date, data.today),
        *own,
        checks.no_controls(context.plan) if account else None,
        checks.account_unknown() if account and not data.account_known else None,
        *last,
    )
    return tuple(one for one in every if one is not None)
