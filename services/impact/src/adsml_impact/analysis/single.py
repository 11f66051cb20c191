"""The analysis of one change: query and data in, report out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import FailedPrecondition, Violations
from adsml_common.domain.metrics import RATIOS, Metric

from adsml_impact.analysis import checks
from adsml_impact.analysis.budget import budget_shifts, manipulation_check
from adsml_impact.analysis.controls import ENOUGH_CONTROLS
from adsml_impact.analysis.plan import Scope
from adsml_impact.analysis.prepare import USUAL_DAYS, AnalysisContext, prepare, whose, windows
from adsml_impact.analysis.query import AccountData, ImpactQuery
from adsml_impact.analysis.recommendation import LABELS, recommend
from adsml_impact.analysis.report import (
    Caution,
    Control,
    DetectableReport,
    ImpactReport,
    MetricReport,
)
from adsml_impact.analysis.verdict import Verdict, judge, judge_account
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.effect import daily_values, measure, window_value
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.holm import holm
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.own_past import MOST_REGRESSORS, compare_with_own_past
from adsml_impact.models.power import Detectable, detectable

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SECONDARY_PLACEBOS = 300


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
    options, plan, design = query.options, context.plan, context.design
    margin, alpha = options.equivalence_margin_percent, options.alpha
    reports, comparisons = _all_metrics(context, checkpoint)
    primary = reports[0]
    if primary.effect is None:
        raise FailedPrecondition(
            f"{whose(context)}: {primary.missing_reason}",
            metadata={"metric": plan.primary.value},
        )
    comparison = comparisons[plan.primary]
    adjusted = holm([r.effect.p_value if r.effect else np.nan for r in reports[1:]])
    judged = [_judged(primary, primary.effect.p_value, alpha=alpha, margin=margin)] + [
        _judged(report, p, alpha=alpha, margin=margin)
        for report, p in zip(reports[1:], adjusted, strict=True)
    ]
    verdict = judged[0].verdict
    by_metric = {report.metric: report for report in judged}
    if plan.scope is Scope.ACCOUNT and plan.primary is Metric.CPL:
        spend = by_metric[Metric.SPEND]
        verdict = judge_account(
            {metric: report.verdict for metric, report in by_metric.items()},
            spend=spend.effect,
            margin=margin,
        )
    # Days are asked for an effect of the size seen, or of the margin where less was seen.
    target = max(abs(comparison.tau), margin / 100.0)
    could = detectable(comparison, horizon=design.horizon, alpha=alpha, target=target)
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
    beside = by_metric.get(Metric.LEADS) if plan.primary is not Metric.LEADS else None
    cautions = _cautions(context, data, comparison, primary)
    cautions += [
        caution
        for caution in (checks.false_positive_rate(rate), checks.manipulation(manipulated))
        if caution is not None
    ]
    return ImpactReport(
        query=query,
        windows=windows(context),
        verdict=verdict,
        recommendation=recommend(
            query.change_type,
            verdict,
            judged[0],
            beside=beside,
            detectable=could,
            margin=margin,
            alpha=alpha,
        ),
        primary_metric=plan.primary,
        metrics=tuple(judged),
        controls=_weights(context, comparison),
        fit=primary.effect.fit,
        false_positive_rate=rate,
        detectable=could,
        detectable_level=primary.effect.level,
        manipulation_check=manipulated,
        budget_shifts=shifts,
        cautions=tuple(cautions),
        estimator=comparison.estimator,
        estimator_reason=_estimator_reason(context, comparison),
    )


def estimate_detectable(
    query: ImpactQuery,
    data: AccountData,
    *,
    power: float = 0.8,
    target_percent: float | None = None,
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
        Chance to find the effect, 0.5 to 0.99.
    target_percent
        An effect to find the days for, above 0 to 500.
    checkpoint
        As for `analyse`.

    Raises
    ------
    InvalidInput, FailedPrecondition, InsufficientHistory
        As for `analyse`.
    """
    found = Violations()
    if not 0.5 <= power <= 0.99:
        found.add("power", f"is {power:g}; expected 0.5 to 0.99")
    if target_percent is not None and not 0 < target_percent <= 500:
        found.add("target_percent", f"is {target_percent:g}; expected above 0, at most 500")
    found.raise_if_any()
    context = prepare(query, data, planned=True)
    plan, design = context.plan, context.design
    effects: list[tuple[Metric, Scope, Detectable, float]] = []
    first: Comparison | None = None
    target = None if target_percent is None else target_percent / 100.0
    for k, metric in enumerate(plan.metrics):
        checkpoint()
        comparison, reason = _compare(context, metric, primary=k == 0)
        if comparison is None:
            if k == 0:
                raise FailedPrecondition(f"{whose(context)}: {reason}", metadata={"metric": metric.value})
            continue
        first = first or comparison
        numerator, denominator, scale = context.subject.parts(metric)
        base = slice(design.change - comparison.baseline, design.change)
        effects.append(
            (
                metric,
                plan.scope,
                detectable(
                    comparison,
                    horizon=design.horizon,
                    power=power,
                    alpha=query.options.alpha,
                    target=target,
                ),
                window_value(
                    numerator[0], None if denominator is None else denominator[0], scale=scale, days=base
                ),
            )
        )
    assert first is not None  # noqa: S101 - the primary metric was compared, or refused above
    return DetectableReport(
        windows=windows(context),
        effects=tuple(effects),
        placebos=int(first.studentised.size),
        cautions=tuple(_cautions(context, data, first, None)),
        estimator=first.estimator,
        estimator_reason=_estimator_reason(context, first),
    )


def _judged(report: MetricReport, p_value: float, *, alpha: float, margin: float) -> MetricReport:
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
        comparison, reason = _compare(context, metric, primary=k == 0)
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


def _compare(context: AnalysisContext, metric: Metric, *, primary: bool) -> tuple[Comparison | None, str]:
    """The comparison of one metric, or None and why there is none."""
    design, estimator = context.design, context.query.options.estimator
    if not primary:
        design = replace(design, most_placebos=min(design.most_placebos, _SECONDARY_PLACEBOS))
    A, B, _ = context.subject.parts(metric)
    reason = _missing(context, metric, A[0], None if B is None else B[0])
    if reason:
        return None, reason
    known: BoolArray = np.asarray(np.isfinite(A).all(axis=1))
    if B is not None:
        known = known & np.isfinite(B).all(axis=1)
    A, B = A[known], None if B is None else B[known]
    controls = A.shape[0] - 1
    comparison: Comparison | None = None
    explicit = estimator is not None and estimator is not Estimator.STRUCTURAL
    if explicit and controls == 0 and context.plan.scope is Scope.TREATED:
        return None, f"{estimator} needs controls and there are none; leave the estimator open"
    if controls >= (1 if explicit else ENOUGH_CONTROLS):
        comparison = compare(A, B, design)
        if comparison is not None:
            comparison = _with_all_weights(comparison, known)
        if comparison is not None and not explicit and comparison.controls < ENOUGH_CONTROLS:
            comparison = None
    if comparison is None:
        few = 1 + min(controls, MOST_REGRESSORS) if controls < ENOUGH_CONTROLS else 1
        comparison = compare_with_own_past(A[:few], None if B is None else B[:few], design)
        if comparison is not None:
            comparison = replace(comparison, omega=np.zeros(known.size - 1))
    if comparison is None:
        return None, f"{LABELS[metric]} does not vary over the baseline"
    return comparison, ""


def _with_all_weights(comparison: Comparison, known: BoolArray) -> Comparison:
    omega = np.zeros(known.size - 1)
    omega[known[1:]] = comparison.omega
    return replace(comparison, omega=omega)


def _missing(context: AnalysisContext, metric: Metric, top: FloatArray, bottom: FloatArray | None) -> str:
    """Why a metric of the treated can't be compared; empty where it can."""
    design = context.design
    base = slice(max(0, design.change - design.baseline), design.change)
    label = LABELS[metric]
    ratio = RATIOS.get(metric)
    windows = [(base, "before the change")]
    if design.observed:
        windows.append((design.after, "after the change"))
    for days, when in windows:
        parts = [(top, metric.value if ratio is None else ratio.numerator)]
        if bottom is not None and ratio is not None:
            parts.append((bottom, ratio.denominator))
        for values, name in parts:
            if not np.isfinite(values[days]).all():
                return f"{name} is not known on every day {when}, so that {label} can't be compared"
            if values[days].sum() <= 0 and (ratio is not None or days is base):
                return (
                    f"there are no {name} in the {values[days].size} days {when}, so that {label} is missing"
                )
    if ratio is None and float(np.ptp(top[base])) == 0.0:
        flat, number = float(top[base][0]), top[base].size
        return f"{label} is {flat:g} on each of the {number} days before the change: it does not vary"
    return ""


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
        return "a pause or reactivation is judged by the whole account, which has nobody to be compared with"
    number = len(context.choice.rows)
    return f"{number} usable controls; a comparison over entities needs {ENOUGH_CONTROLS}"


def _cautions(
    context: AnalysisContext, data: AccountData, comparison: Comparison, primary: MetricReport | None
) -> list[Caution]:
    query, design, series = context.query, context.design, context.series
    options = query.options
    account = context.plan.scope is Scope.ACCOUNT
    A, B, _ = context.subject.parts(context.plan.primary)
    day = series.day(design.change)
    last = series.day(design.after.stop - 1)
    base = slice(max(0, design.change - design.baseline), design.change)
    found: list[Caution | None] = [
        checks.few_controls(comparison, context.choice),
        checks.contaminated_controls(context.choice),
        checks.few_placebos(comparison, options.alpha),
        checks.short_window(
            design,
            before_wanted=options.before_days or USUAL_DAYS,
            after_wanted=options.after_days or USUAL_DAYS,
            baseline_wanted=context.baseline_wanted,
            baseline=comparison.baseline,
        ),
        checks.gaps(context.subject.present[0, base], "the account" if account else "the entity"),
    ]
    if primary is not None and primary.effect is not None:
        fit = primary.effect.fit
        found += [
            checks.poor_fit(comparison, fit.r_squared, fit.rmse_percent),
            checks.regression_to_the_mean(A[0], None if B is None else B[0], design, context.plan.primary),
            checks.incomplete_days(after_last=last, today=data.today, dropped=options.drop_last_days),
            checks.other_changes(
                data.events,
                tree=data.tree,
                entity_type=query.entity_type,
                treated=query.treated,
                change_type=query.change_type,
                day=day,
                first=series.day(design.change - design.before),
                last=last,
            ),
        ]
    if account:
        found.append(checks.account_unknown(known=data.account_known))
    return [caution for caution in found if caution is not None]
