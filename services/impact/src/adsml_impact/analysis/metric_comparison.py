"""One metric of one change: by controls where enough of them will do, else by the entity's own past, or why not."""

from dataclasses import dataclass, replace

import numpy as np
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC

from adsml_impact.analysis.controls import ENOUGH_CONTROLS, large_enough
from adsml_impact.analysis.plan import LABELS, columns_of, events_of
from adsml_impact.analysis.prepare import AnalysisContext
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.encoding import fill, fill_effect, or_none
from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.effect import Effect, daily_values, measure, window_value
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.own_past import MOST_REGRESSORS, compare_with_own_past

_SECONDARY_PLACEBOS = 300


@dataclass(slots=True)
class MetricResult:
    """What a change did to one metric."""

    metric: Metric
    message: pb.MetricEffect
    effect: Effect | None = None  # behind the message; None where it is missing
    # by Holm over the metrics that are not primary; the primary one's is its own; NaN where there is none
    p_value: float = np.nan
    verdict: Verdict | None = Verdict.INCONCLUSIVE  # None for a metric that is neither good nor bad by itself


def measure_metric(context: AnalysisContext, metric: Metric) -> MetricResult:
    """What happened to one metric, not yet judged."""
    design, options = context.design, context.query.options
    A, B, scale = context.subject.parts(metric)
    numerator, denominator = A[0], None if B is None else B[0]
    window = design.before_window
    before = window_value(numerator, denominator, scale=scale, days=window)
    after = window_value(numerator, denominator, scale=scale, days=design.after)
    daily = daily_values(numerator, denominator, scale=scale)
    naive = naive_comparison(daily[window], daily[design.after], before_total=before, after_total=after)
    comparison, reason = compare_metric(context, metric)
    message = pb.MetricEffect(
        metric=METRIC.to_wire(metric),  # type: ignore[arg-type]  # an enum's number
        scope=context.plan.scope,
        before=or_none(before),
        after=or_none(after),
        naive=fill(pb.NaiveComparison(), naive),
        missing_reason=reason,
    )
    if comparison is None:
        return MetricResult(metric, message)
    effect = measure(
        numerator,
        denominator,
        scale=scale,
        design=design,
        comparison=comparison,
        with_series=options.with_series,
    )
    first = context.series.day(design.change - comparison.baseline)
    fill_effect(message, effect, first=first, level=1.0 - options.alpha)
    return MetricResult(metric, message, effect)


def compare_metric(context: AnalysisContext, metric: Metric) -> tuple[Comparison | None, str]:
    """The comparison of one metric, or None and why there is none."""
    design, estimator = context.design, context.query.options.estimator
    primary = metric is context.plan.primary
    if not primary:
        design = replace(design, most_placebos=min(design.most_placebos, _SECONDARY_PLACEBOS))
    A, B, _ = context.subject.parts(metric)
    parts = [A] if B is None else [A, B]
    reason = _missing(context, metric, [part[0] for part in parts])
    if reason:
        return None, reason
    # The treated's reach may not be known further back: its days begin where it is.
    unknown = np.flatnonzero(~np.isfinite([part[0, : design.end] for part in parts]).all(axis=0))
    first = int(unknown[-1]) + 1 if unknown.size else 0
    had, needed = design.change - first, min(design.baseline, design.change) + design.washout + design.horizon
    if first and had < needed:
        if primary:
            what = f"{LABELS[metric]} of {context.whose} before the change"
            raise InsufficientHistory(what, had=had, needed=needed)
        return None, f"{LABELS[metric]} is known on {had} days before the change only"
    design = replace(design, change=had)
    usable = usable_units(context, metric)
    for part in parts:
        usable &= np.isfinite(part[:, first : first + design.end]).all(axis=1)
    A, B = A[usable, first:], None if B is None else B[usable, first:]
    changed, controls = context.changed[usable, first:], int(usable.sum()) - 1
    explicit = estimator is not None and estimator is not Estimator.STRUCTURAL
    if explicit and controls == 0 and not context.plan.account:
        return None, (
            "the estimator asked for needs controls and there are none that will do; leave the estimator open"
        )
    # By controls where there are enough, else by the treated's own past.
    comparison = None
    if controls >= (1 if explicit else ENOUGH_CONTROLS):
        comparison = compare(A, B, design, changed=changed)
    if comparison is None or not (explicit or comparison.controls >= ENOUGH_CONTROLS):
        few = 1 + min(controls, MOST_REGRESSORS) if controls < ENOUGH_CONTROLS else 1
        comparison = compare_with_own_past(
            A[:few], None if B is None else B[:few], design, changed=changed[:few]
        )
    if comparison is None:
        return None, f"{LABELS[metric]} does not vary over the baseline: nothing tells what chance would do"
    omega = np.zeros(usable.size - 1)
    if comparison.omega.size == controls:
        omega[usable[1:]] = comparison.omega
    return replace(comparison, omega=omega), ""


def usable_units(context: AnalysisContext, metric: Metric) -> BoolArray:
    """Which units bring enough of what a metric rests on; the treated are what they are."""
    usable = np.ones(len(context.subject.names), dtype=np.bool_)
    for part in events_of(metric):
        usable &= large_enough(context.subject.values[part], context.design)
    usable[0] = True
    return usable


def _missing(context: AnalysisContext, metric: Metric, parts: list[FloatArray]) -> str:
    """Why a metric of the treated, made of `parts` (T,) each, can't be compared; empty where it can."""
    design, label, base = context.design, LABELS[metric], context.design.base
    windows = [(base, "before the change")]
    if design.observed:
        windows.append((design.after, "after the change"))
    for days, when in windows:
        for values, name in zip(parts, columns_of(metric), strict=True):
            if not np.isfinite(values[days]).all():
                return f"{name} is not known on every day {when}, so that {label} can't be compared"
            if values[days].sum() <= 0 and (len(parts) > 1 or days is base):
                return (
                    f"there are no {name} in the {values[days].size} days {when}, so that {label} is missing"
                )
    return ""
