"""What the changes of one kind did, pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml.common.v1 import warning_pb2
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.checks import caution
from adsml_impact.analysis.gain import probability_helped, standard_error
from adsml_impact.analysis.plan import LABELS, Scope, is_neutral, lower_is_better
from adsml_impact.analysis.report import ImpactReport
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.models.effect import Effect
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
    """One change and its own report."""

    event: ChangeEvent
    report: ImpactReport
    turned: bool = False  # whether its effect counts with the opposite sign: a cut among raises

    @property
    def sign(self) -> float:
        """Of what its effect counts with."""
        return -1.0 if self.turned else 1.0


@dataclass(frozen=True, slots=True)
class ChangeEstimate:
    """One change in the light of the others."""

    event: ChangeEvent
    # its own
    effect: Effect
    verdict: Verdict
    shrunk: float  # its effect drawn towards the mean, on the scale of comparisons
    probability_improved: float  # that its true effect is a good one


@dataclass(frozen=True, slots=True)
class ChangesSummary:
    """What changes of one kind do."""

    primary_metric: Metric
    alpha: float
    verdict: Verdict
    recommendation: str
    pooled: Pooled | None  # None with fewer than two changes
    probability_helps: float  # that the mean effect is a good one; NaN with fewer than two
    changes: tuple[ChangeEstimate, ...]  # the newest first
    skipped: tuple[tuple[ChangeEvent, str], ...]  # those that could not be analysed, and why
    warnings: tuple[warning_pb2.Warning, ...]


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
) -> ChangesSummary:
    """Pool what single changes did: at least one, all with the same primary metric."""
    ordered = sorted(changes, key=lambda one: (one.event.date, one.event.entity), reverse=True)
    metric = ordered[0].report.primary_metric
    if len(ordered) == 1:
        pooled, helps, verdict = None, np.nan, ordered[0].report.verdict
        kind = change_type.replace("_", " ")
        text = (
            f"Only one {kind} could be analysed; there is nothing to pool. {ordered[0].report.recommendation}"
        )
    else:
        pooled = pool([_estimate(one) for one in ordered], alpha=alpha)
        helps = _improved(pooled.probability_below, metric)
        verdict = _verdict(pooled, metric, alpha=alpha, margin=margin)
        text = _recommendation(ordered, pooled, metric, change_type, verdict, alpha=alpha, helps=helps)
    return ChangesSummary(
        primary_metric=metric,
        alpha=alpha,
        verdict=verdict,
        recommendation=text,
        pooled=pooled,
        probability_helps=helps,
        changes=tuple(_one(k, one, pooled, metric) for k, one in enumerate(ordered)),
        skipped=tuple(skipped),
        warnings=tuple(_warnings(ordered, pooled)),
    )


def _improved(below: float, metric: Metric) -> float:
    return below if lower_is_better(metric) else 1.0 - below


def _effect(one: AnalysedChange) -> Effect:
    effect = one.report.primary.effect
    assert effect is not None  # noqa: S101 - an analysis without a primary effect is refused
    return effect


def _estimate(one: AnalysedChange) -> Estimate:
    effect, windows, entity = _effect(one), one.report.windows, one.event.entity
    account = one.report.primary.scope is Scope.ACCOUNT
    return Estimate(
        effect=one.sign * effect.comparison.tau,
        error=standard_error(effect),
        group=str(entity.config_id),
        unit="account" if account else str(entity),
        first=windows.after_first_date,
        last=windows.after_last_date,
        correlation=one.sign * effect.comparison.date_correlation,
    )


def _one(k: int, one: AnalysedChange, pooled: Pooled | None, metric: Metric) -> ChangeEstimate:
    effect = _effect(one)
    if pooled is None:
        shrunk, improved = effect.comparison.tau, probability_helped(metric, effect)
    else:
        shrunk = one.sign * float(pooled.shrunk[k])
        below = float(pooled.probabilities_below[k])
        improved = _improved(below if one.sign > 0 else 1.0 - below, metric)
    return ChangeEstimate(one.event, effect, one.report.verdict, shrunk, improved)


def _verdict(pooled: Pooled, metric: Metric, *, alpha: float, margin: float) -> Verdict:
    if is_neutral(metric):
        return Verdict.NEUTRAL if pooled.p_value < alpha else Verdict.INCONCLUSIVE
    if pooled.p_value < alpha:
        return Verdict.POSITIVE if (pooled.mean < 0) == lower_is_better(metric) else Verdict.NEGATIVE
    ends = [to_relative(end, metric) for end in (pooled.lower, pooled.upper)]
    return Verdict.NEUTRAL if max(abs(end) for end in ends) < margin else Verdict.INCONCLUSIVE


def _recommendation(
    changes: Sequence[AnalysedChange],
    pooled: Pooled,
    metric: Metric,
    change_type: ChangeType,
    verdict: Verdict,
    *,
    alpha: float,
    helps: float,
) -> str:
    mean, low, high, next_low, next_high = (
        100 * to_relative(x, metric)
        for x in (pooled.mean, pooled.lower, pooled.upper, pooled.predicted_lower, pooled.predicted_upper)
    )
    what = f"{len(changes)} {change_type.replace('_', ' ')}s"
    if any(one.turned for one in changes):
        what += " (cuts turned, so that effects are those of raises)"
    p = f"p = {pooled.p_value:.3f}" if pooled.p_value >= 0.001 else "p < 0.001"
    sentences = [
        f"Over {what}, {LABELS[metric]} moved by {mean:+.0f}% on average ({100 * (1 - alpha):.0f}% interval "
        f"{low:+.0f}% to {high:+.0f}%, {p})."
    ]
    if np.isfinite(helps):
        sentences.append(f"The probability that such changes help on average is {100 * helps:.0f}%.")
    sentences += [f"One more should move it by {next_low:+.0f}% to {next_high:+.0f}%.", _ADVICE[verdict]]
    return " ".join(sentences)


def _warnings(changes: Sequence[AnalysedChange], pooled: Pooled | None) -> list[warning_pb2.Warning]:
    out = []
    if pooled is not None and len(changes) < _FEW:
        how_many = f"only {len(changes)} changes: how much their effects differ is hardly known"
        out.append(caution("FEW_PLACEBOS", how_many))
    confounded = [
        str(one.event.entity)
        for one in changes
        if any(warning.type == warning_pb2.WARNING_TYPE_OTHER_CHANGES for warning in one.report.warnings)
    ]
    if confounded:
        names = ", ".join(confounded[:5])
        text = f"{len(confounded)} of them overlap other changes, which nothing tells apart: {names}"
        out.append(caution("OTHER_CHANGES", text))
    return out
