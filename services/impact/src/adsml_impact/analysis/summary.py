"""What the changes of one kind did, pooled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml.common.v1 import answer_pb2, metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC, day, entity_ref_message

from adsml_impact.analysis.change import Analysis
from adsml_impact.analysis.checks import caution
from adsml_impact.analysis.gain import probability_helped, standard_error
from adsml_impact.analysis.plan import LABELS, is_neutral, lower_is_better
from adsml_impact.analysis.verdict import VERDICT, Verdict
from adsml_impact.encoding import change_message, fill, or_none
from adsml_impact.models.meta_analysis import Estimate, Pooled, pool

_FEW = 5
_ADVICE: Final = {
    Verdict.POSITIVE: "They work here: worth repeating.",
    Verdict.NEGATIVE: "They do harm here: stop, or change how they are made.",
    Verdict.NEUTRAL: "They make no difference that matters here.",
    Verdict.INCONCLUSIVE: "What they do here on average can't be told yet.",
}


@dataclass(frozen=True, slots=True)
class AnalysedChange:
    """One change and its own analysis."""

    event: ChangeEvent
    analysis: Analysis
    sign: float = 1.0  # that its effect counts with; -1 for a cut among raises


def to_relative(tau: float, metric: Metric) -> float:
    """An effect on the scale of comparisons as a share: logarithms for ratios."""
    return float(np.expm1(min(tau, 700.0))) if metric.is_ratio else tau


def summarise(
    changes: Sequence[AnalysedChange],
    skipped: Sequence[tuple[ChangeEvent, str]],
    *,
    change_type: ChangeType,
    alpha: float,
    margin: float,
) -> pb.SummarizeChangesResponse:
    """Pool what single changes did: at least one, all with the same primary metric.

    `skipped`: those that could not be analysed, and why.
    """
    ordered = sorted(changes, key=lambda one: (one.event.date, one.event.entity), reverse=True)
    first = ordered[0].analysis
    metric, pooled, message = first.metric, None, None
    if len(ordered) == 1:
        kind = change_type.replace("_", " ")
        text = f"Only one {kind} could be analysed; there is nothing to pool. {first.report.recommendation}"
        verdict = first.report.verdict
    else:
        pooled = pool([_estimate(one) for one in ordered], alpha=alpha)
        message = _pooled_message(pooled, metric, changes=len(ordered), level=1.0 - alpha)
        judged = _judge(message, metric, alpha=alpha, margin=margin)
        verdict = VERDICT.to_wire(judged)  # type: ignore[assignment]  # an enum's number
        what = f"{len(ordered)} {change_type.replace('_', ' ')}s"
        if any(one.sign < 0 for one in ordered):
            what += " (cuts turned, so that effects are those of raises)"
        text = f"Over {what}, {LABELS[metric]} {_finding(message)} {_ADVICE[judged]}"
    return pb.SummarizeChangesResponse(
        pooled=message,
        changes=[_change_message(k, one, pooled, metric) for k, one in enumerate(ordered)],
        skipped=[
            pb.SkippedChange(
                entity=entity_ref_message(event.entity), change=change_message(event), reason=reason
            )
            for event, reason in skipped
        ],
        primary_metric=METRIC.to_wire(metric),  # type: ignore[arg-type]  # an enum's number
        verdict=verdict,
        recommendation=text,
        warnings=_warnings(ordered),
        answered_by=answer_pb2.AnsweredBy(
            source=answer_pb2.ANSWER_SOURCE_METHOD, method="random_effects_meta_analysis"
        ),
    )


def _pooled_message(pooled: Pooled, metric: Metric, *, changes: int, level: float) -> pb.PooledEffect:
    def interval(low: float, high: float) -> metrics_pb2.Interval:
        return metrics_pb2.Interval(
            lower=to_relative(low, metric), upper=to_relative(high, metric), level=level
        )

    return pb.PooledEffect(
        relative=to_relative(pooled.mean, metric),
        interval=interval(pooled.lower, pooled.upper),
        p_value=pooled.p_value,
        heterogeneity=pooled.tau,
        i_squared=pooled.i_squared,
        probability_helps=_improved(pooled.probability_below, metric),
        prediction_interval=interval(pooled.predicted_lower, pooled.predicted_upper),
        changes=changes,
    )


def _judge(pooled: pb.PooledEffect, metric: Metric, *, alpha: float, margin: float) -> Verdict:
    if is_neutral(metric):
        return Verdict.NEUTRAL if pooled.p_value < alpha else Verdict.INCONCLUSIVE
    if pooled.p_value < alpha:
        return Verdict.POSITIVE if (pooled.relative < 0) == lower_is_better(metric) else Verdict.NEGATIVE
    largest = max(abs(pooled.interval.lower), abs(pooled.interval.upper))
    return Verdict.NEUTRAL if largest < margin else Verdict.INCONCLUSIVE


def _finding(pooled: pb.PooledEffect) -> str:
    mean, likely, next_one = pooled.relative, pooled.interval, pooled.prediction_interval
    p = f"p = {pooled.p_value:.3f}" if pooled.p_value >= 0.001 else "p < 0.001"
    return (
        f"moved by {100 * mean:+.0f}% on average ({100 * likely.level:.0f}% interval {100 * likely.lower:+.0f}% to "
        f"{100 * likely.upper:+.0f}%, {p}). The probability that such changes help on average is "
        f"{100 * pooled.probability_helps:.0f}%. One more should move it by {100 * next_one.lower:+.0f}% to "
        f"{100 * next_one.upper:+.0f}%."
    )


def _improved(below: float, metric: Metric) -> float:
    return below if lower_is_better(metric) else 1.0 - below


def _estimate(one: AnalysedChange) -> Estimate:
    effect, report, entity = one.analysis.effect, one.analysis.report, one.event.entity
    account = report.effects[0].scope == pb.EFFECT_SCOPE_ACCOUNT
    return Estimate(
        effect=one.sign * effect.comparison.tau,
        error=standard_error(effect),
        group=str(entity.config_id),
        unit="account" if account else str(entity),
        first=day(report.windows.after_first_date, "windows"),
        last=day(report.windows.after_last_date, "windows"),
        correlation=one.sign * effect.comparison.date_correlation,
    )


def _change_message(k: int, one: AnalysedChange, pooled: Pooled | None, metric: Metric) -> pb.ChangeEstimate:
    """The k-th change by itself, and in the light of the others."""
    effect = one.analysis.effect
    if pooled is None:
        shrunk, improved = effect.comparison.tau, probability_helped(metric, effect)
    else:
        shrunk, below = one.sign * float(pooled.shrunk[k]), float(pooled.probabilities_below[k])
        improved = _improved(below if one.sign > 0 else 1.0 - below, metric)
    return pb.ChangeEstimate(
        entity=entity_ref_message(one.event.entity),
        change=change_message(one.event),
        relative=effect.relative,
        interval=fill(metrics_pb2.Interval(), effect.relative_interval),
        p_value=effect.p_value,
        shrunk_relative=to_relative(shrunk, metric),
        probability_improved=or_none(improved),  # type: ignore[arg-type]  # None leaves it unset
        verdict=one.analysis.report.verdict,
    )


def _warnings(changes: Sequence[AnalysedChange]) -> Iterator[warning_pb2.Warning]:
    if 1 < len(changes) < _FEW:
        yield caution(
            "FEW_PLACEBOS", f"only {len(changes)} changes: how much their effects differ is hardly known"
        )
    confounded = [
        f"{one.event.entity.entity_type} {one.analysis.label} of account {one.event.entity.config_id}"
        for one in changes
        if any(
            warning.type == warning_pb2.WARNING_TYPE_OTHER_CHANGES for warning in one.analysis.report.warnings
        )
    ]
    if confounded:
        names = ", ".join(confounded[:5])
        text = f"{len(confounded)} of them overlap other changes, which nothing tells apart: {names}"
        yield caution("OTHER_CHANGES", text)
