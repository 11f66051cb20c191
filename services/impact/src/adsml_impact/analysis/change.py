"""The analysis of one change: query and data in, report out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis import checks
from adsml_impact.analysis.budget import budget_shifts, manipulation_check
from adsml_impact.analysis.controls import ENOUGH_CONTROLS
from adsml_impact.analysis.gain import probability_helped, weekly_gain
from adsml_impact.analysis.metric_comparison import compare_metric, usable_units
from adsml_impact.analysis.plan import Plan, Scope, events_of, vanished_metric
from adsml_impact.analysis.prepare import AnalysisContext, prepare, whose, windows
from adsml_impact.analysis.query import USUAL_DAYS, AccountData, ImpactQuery
from adsml_impact.analysis.recommendation import recommend
from adsml_impact.analysis.report import (
    Caution,
    Control,
    DetectableReport,
    ImpactReport,
    MetricReport,
)
from adsml_impact.analysis.verdict import Verdict, judge, judge_account
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.effect import daily_values, measure, window_value
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.holm import holm
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.power import Detectable, detectable

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def _nothing() -> None:
    return None


def analyse(
    query: ImpactQuery, data: AccountData, *, checkpoint: Callable[[], None] = _nothing
) -> ImpactReport:
    """Measure one change.

    Parameters
    ----------
    query
        What is asked.
    data
        What is known.
    checkpoint
        Called between metrics; may raise to stop the work (the caller has gone, the deadline has passed).

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
        context = replace(context, plan=_resting_on(context.plan, vanished))
    options, plan, design = query.options, context.plan, context.design
    margin, alpha = options.equivalence_margin, options.alpha
    reports, comparisons = _all_metrics(context, checkpoint)
    primary = reports[0]
    if primary.effect is None:
        raise FailedPrecondition(
            f"{whose(context)}: {primary.missing_reason}",
            metadata={"metric": plan.primary.value},
        )
    comparison = comparisons[plan.primary]
    adjusted = [
        primary.effect.p_value,
        *holm([r.effect.p_value if r.effect else np.nan for r in reports[1:]]),
    ]
    reports_with_verdicts = [
        _with_verdict(report, p, alpha=alpha, margin=margin)
        for report, p in zip(reports, adjusted, strict=True)
    ]
    by_metric = {report.metric: report for report in reports_with_verdicts}
    verdict = _verdict(context, reports_with_verdicts[0], by_metric)
    # Days are asked for an effect of the size seen, or of the margin where less was seen.
    seen = primary.effect.relative if np.isfinite(primary.effect.relative) else -margin
    could = detectable(
        comparison,
        horizon=design.horizon,
        ratio=plan.primary.is_ratio,
        alpha=alpha,
        target=seen if abs(seen) > margin else float(np.copysign(margin, seen)),
        with_curve=True,
    )
    rate = checks.measured_rate(comparison, alpha)
    spend_row, _, _ = context.treated.parts(Metric.SPEND)
    manipulated = manipulation_check(
        spend_row[0],
        design,
        query.change_type,
        value_before=query.value_before,
        value_after=query.value_after,
    )
    shifts = (
        budget_shifts(context.series, design, context.treated_rows) if plan.scope is Scope.ACCOUNT else ()
    )
    controls = _weights(context, comparison)
    used = {one.entity_id for one in controls if one.weight > 0}
    outliers = tuple(
        one for one in context.outlier_days(plan.primary) if one.entity_id is None or one.entity_id in used
    )
    cautions = _cautions(context, data, comparison, primary)
    cautions += [
        caution
        for caution in (
            checks.no_events(vanished, query, design.horizon),
            checks.outliers(outliers),
            checks.false_positive_rate(rate),
            checks.manipulation(manipulated),
        )
        if caution is not None
    ]
    return ImpactReport(
        query=query,
        windows=windows(context),
        verdict=verdict,
        recommendation=recommend(
            query.change_type,
            verdict,
            reports_with_verdicts[0],
            beside=by_metric.get(Metric.LEADS) if plan.primary is not Metric.LEADS else None,
            detectable=could,
            margin=margin,
            alpha=alpha,
            overlapping=context.overlapping,
        ),
        primary_metric=plan.primary,
        metrics=tuple(reports_with_verdicts),
        controls=controls,
        fit=primary.effect.fit,
        false_positive_rate=rate,
        detectable=could,
        manipulation_check=manipulated,
        budget_shifts=shifts,
        cautions=tuple(cautions),
        estimator=comparison.estimator,
        estimator_reason=_estimator_reason(context, comparison),
        excluded=context.choice.excluded,
        outliers=outliers,
        probability_helped=probability_helped(plan.primary, primary.effect),
        weekly_gain=weekly_gain(by_metric),
        freshness=context.freshness,
        comparison=comparison,
    )


def _vanished(context: AnalysisContext) -> Metric | None:
    """The count that the primary ratio rests on, where it came before the change and none of it after."""
    count = vanished_metric(context.plan.primary)
    if count is None:
        return None
    days, spend = context.subject.values[count.value][0], context.subject.values["spend"][0]
    design = context.design
    before = days[max(0, design.change - design.baseline) : design.change].sum()
    gone = days[design.after].sum() == 0 and before > 0
    return count if gone and spend[design.after].sum() > 0 else None


def _resting_on(plan: Plan, metric: Metric) -> Plan:
    return replace(plan, primary=metric, metrics=tuple(dict.fromkeys((metric, *plan.metrics))))


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
    """What this window could show, before or after the change is made.

    Nothing after the change is looked at, whether it is there or not.

    Parameters
    ----------
    query
        The change made or planned.
    data
        What is known.
    power
        Chance to find the effect.
    target
        An effect to find the days for, as a share of the level.
    checkpoint
        As for `analyse`.

    Raises
    ------
    InvalidInput, FailedPrecondition, InsufficientHistory
        As for `analyse`.
    """
    context = prepare(query, data, planned=True)
    plan, design = context.plan, context.design
    effects: list[tuple[Metric, Scope, Detectable]] = []
    first: Comparison | None = None
    for k, metric in enumerate(plan.metrics):
        checkpoint()
        comparison, reason = compare_metric(context, metric, primary=k == 0)
        if comparison is None:
            if k == 0:
                raise FailedPrecondition(f"{whose(context)}: {reason}", metadata={"metric": metric.value})
            continue
        first = first or comparison
        could = detectable(
            comparison,
            horizon=design.horizon,
            ratio=metric.is_ratio,
            power=power,
            alpha=query.options.alpha,
            target=target,
            with_curve=True,
        )
        effects.append((metric, plan.scope, could))
    assert first is not None  # noqa: S101 - the primary metric was compared, or refused above
    return DetectableReport(
        windows=windows(context),
        effects=tuple(effects),
        placebos=int(first.studentised.size),
        cautions=tuple(_cautions(context, data, first, None)),
        estimator=first.estimator,
        estimator_reason=_estimator_reason(context, first),
    )


def _with_verdict(report: MetricReport, p_value: float, *, alpha: float, margin: float) -> MetricReport:
    if report.effect is None:
        return report
    verdict = judge(report.metric, report.effect, p_value=p_value, alpha=alpha, margin=margin)
    return replace(report, adjusted_p_value=p_value, verdict=verdict)


def _all_metrics(
    context: AnalysisContext, checkpoint: Callable[[], None]
) -> tuple[list[MetricReport], dict[Metric, Comparison]]:
    design, options = context.design, context.query.options
    reports: list[MetricReport] = []
    comparisons: dict[Metric, Comparison] = {}
    for k, metric in enumerate(context.plan.metrics):
        checkpoint()
        A, B, scale = context.subject.parts(metric)
        numerator, denominator = A[0], None if B is None else B[0]
        window = slice(max(0, design.change - design.before), design.change)
        before = window_value(numerator, denominator, scale=scale, days=window)
        after = window_value(numerator, denominator, scale=scale, days=design.after)
        daily = daily_values(numerator, denominator, scale=scale)
        comparison, reason = compare_metric(context, metric, primary=k == 0)
        effect = None
        if comparison is not None:
            comparisons[metric] = comparison
            effect = measure(
                numerator,
                denominator,
                scale=scale,
                design=design,
                comparison=comparison,
                with_series=options.with_series,
            )
        reports.append(
            MetricReport(
                metric=metric,
                scope=context.plan.scope,
                effect=effect,
                adjusted_p_value=np.nan,
                verdict=Verdict.INCONCLUSIVE,
                naive=naive_comparison(
                    daily[window], daily[design.after], before_total=before, after_total=after
                ),
                before=before,
                after=after,
                missing_reason=reason,
            )
        )
    return reports, comparisons


def _weights(context: AnalysisContext, comparison: Comparison) -> tuple[Control, ...]:
    names = context.subject.names[1:]
    order = np.argsort(-comparison.omega, kind="stable")
    return tuple(Control(names[i], float(comparison.omega[i])) for i in order)


def _estimator_reason(context: AnalysisContext, comparison: Comparison) -> str:
    if comparison.estimator is not Estimator.STRUCTURAL:
        return ""
    if context.query.options.estimator is Estimator.STRUCTURAL:
        return ""
    if context.plan.scope is Scope.ACCOUNT:
        return "a pause or reactivation is reports_with_verdicts by the whole account, to which no entity is comparable"
    events = " and ".join(events_of(context.plan.primary)) or "spend"
    number = int(usable_units(context, context.plan.primary).sum()) - 1
    return (
        f"{number} usable controls with enough {events}; a comparison over entities needs {ENOUGH_CONTROLS}"
    )


def _cautions(
    context: AnalysisContext, data: AccountData, comparison: Comparison, primary: MetricReport | None
) -> list[Caution]:
    query, design, series = context.query, context.design, context.series
    options = query.options
    account = context.plan.scope is Scope.ACCOUNT
    A, B, _ = context.subject.parts(context.plan.primary)
    base = slice(max(0, design.change - design.baseline), design.change)
    cautions: list[Caution | None] = [
        None if account else checks.few_controls(comparison, context.choice),
        checks.excluded_controls(context.choice),
        checks.few_placebos(comparison, options.alpha),
        checks.short_window(
            design,
            before_wanted=options.before_days or USUAL_DAYS,
            after_wanted=options.after_days or USUAL_DAYS,
            baseline_wanted=context.baseline_wanted,
            baseline=comparison.baseline,
        ),
        checks.gaps(context.subject.present[0, base], "the account" if account else "the entity"),
        checks.other_changes(context.overlapping),
        None if options.as_of else checks.stale(context.freshness.account_last_date, data.today),
    ]
    if primary is not None and primary.effect is not None:
        cautions += [
            checks.poor_fit(comparison, primary.effect.fit),
            checks.regression_to_the_mean(A[0], None if B is None else B[0], design, context.plan.primary),
            checks.incomplete_days(
                after_last=series.day(design.after.stop - 1),
                last_day=context.freshness.account_last_date,
                dropped=options.attribution_lag_days,
                completion=data.completion,
            ),
        ]
    if account:
        cautions.append(checks.no_controls(context.plan))
        cautions.append(checks.account_unknown(known=data.account_known))
    return [caution for caution in cautions if caution is not None]
