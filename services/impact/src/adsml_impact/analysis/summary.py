"""What the changes of one kind did, pooled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.gain import probability_helped, standard_error
from adsml_impact.analysis.plan import Scope, is_neutral, lower_is_better
from adsml_impact.analysis.recommendation import LABELS
from adsml_impact.analysis.report import Caution, ImpactReport, WarningType
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.models.effect import Effect
from adsml_impact.models.meta_analysis import Estimate, Pooled, pool

_FEW = 5


@dataclass(frozen=True, slots=True)
class AnalysedChange:
    """One change and its own report.

    Attributes
    ----------
    turned
        Whether its effect counts with the opposite sign: a cut among raises.
    """

    event: ChangeEvent
    report: ImpactReport
    turned: bool = False


@dataclass(frozen=True, slots=True)
class ChangeEstimate:
    """One change in the light of the others.

    Attributes
    ----------
    effect, verdict
        Its own.
    shrunk
        Its effect drawn towards the mean, on the scale of comparisons.
    probability_improved
        That its true effect is a good one.
    """

    event: ChangeEvent
    effect: Effect
    verdict: Verdict
    shrunk: float
    probability_improved: float


@dataclass(frozen=True, slots=True)
class ChangesSummary:
    """What changes of one kind do.

    Attributes
    ----------
    pooled
        None with fewer than two changes.
    probability_helps
        That the mean effect is a good one; NaN with fewer than two.
    changes
        The newest first.
    skipped
        Those that could not be analysed, and why.
    """

    metric: Metric
    alpha: float
    verdict: Verdict
    recommendation: str
    pooled: Pooled | None
    probability_helps: float
    changes: tuple[ChangeEstimate, ...]
    skipped: tuple[tuple[ChangeEvent, str], ...]
    cautions: tuple[Caution, ...]


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
    """Pool what single changes did.

    Parameters
    ----------
    changes
        At least one; all with the same primary metric.
    """
    ordered = sorted(changes, key=lambda one: (one.event.date, one.event.entity), reverse=True)
    metric = ordered[0].report.primary_metric
    pooled = pool([_estimate(one) for one in ordered], alpha=alpha) if len(ordered) > 1 else None
    estimates = tuple(_one(k, one, pooled, metric) for k, one in enumerate(ordered))
    helps = np.nan
    if pooled is not None:
        below = pooled.probability_below
        helps = below if lower_is_better(metric) else 1.0 - below
    verdict = (
        ordered[0].report.verdict if pooled is None else _verdict(pooled, metric, alpha=alpha, margin=margin)
    )
    return ChangesSummary(
        metric=metric,
        alpha=alpha,
        verdict=verdict,
        recommendation=_recommendation(
            ordered, pooled, metric, change_type, verdict, alpha=alpha, helps=helps
        ),
        pooled=pooled,
        probability_helps=helps,
        changes=estimates,
        skipped=tuple(skipped),
        cautions=tuple(_cautions(ordered, pooled)),
    )


def _sign(one: AnalysedChange) -> float:
    return -1.0 if one.turned else 1.0


def _effect(one: AnalysedChange) -> Effect:
    effect = one.report.primary.effect
    assert effect is not None  # noqa: S101 - an analysis without a primary effect is refused
    return effect


def _estimate(one: AnalysedChange) -> Estimate:
    effect, windows, entity = _effect(one), one.report.windows, one.event.entity
    account = one.report.primary.scope is Scope.ACCOUNT
    return Estimate(
        effect=_sign(one) * effect.comparison.tau,
        error=standard_error(effect),
        group=str(entity.config_id),
        unit="account" if account else str(entity),
        first=windows.after_first,
        last=windows.after_last,
        correlation=_sign(one) * effect.comparison.date_correlation,
    )


def _one(k: int, one: AnalysedChange, pooled: Pooled | None, metric: Metric) -> ChangeEstimate:
    effect, sign = _effect(one), _sign(one)
    if pooled is None:
        shrunk, improved = effect.comparison.tau, probability_helped(metric, effect)
    else:
        shrunk = sign * float(pooled.shrunk[k])
        below = float(pooled.probabilities_below[k])
        below = below if sign > 0 else 1.0 - below
        improved = below if lower_is_better(metric) else 1.0 - below
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
    pooled: Pooled | None,
    metric: Metric,
    change_type: ChangeType,
    verdict: Verdict,
    *,
    alpha: float,
    helps: float,
) -> str:
    kind = change_type.replace("_", " ")
    if pooled is None:
        return (
            f"Only one {kind} could be analysed; there is nothing to pool. {changes[0].report.recommendation}"
        )
    label = LABELS[metric]
    mean, low, high = (100 * to_relative(x, metric) for x in (pooled.mean, pooled.lower, pooled.upper))
    what = f"{len(changes)} {kind}s"
    if any(one.turned for one in changes):
        what += " (cuts turned, so that effects are those of raises)"
    p = f"p = {pooled.p_value:.3f}" if pooled.p_value >= 0.001 else "p < 0.001"
    sentences = [
        f"Over {what}, {label} moved by {mean:+.0f}% on average ({100 * (1 - alpha):.0f}% interval {low:+.0f}% to "
        f"{high:+.0f}%, {p})."
    ]
    if np.isfinite(helps):
        sentences.append(f"The probability that such changes help on average is {100 * helps:.0f}%.")
    ends = [100 * to_relative(x, metric) for x in (pooled.predicted_lower, pooled.predicted_upper)]
    sentences.append(f"One more should move it by {ends[0]:+.0f}% to {ends[1]:+.0f}%.")
    sentences.append(
        {
            Verdict.POSITIVE: "They work here: worth repeating.",
            Verdict.NEGATIVE: "They do harm here: stop, or change how they are made.",
            Verdict.NEUTRAL: "They make no difference that matters here.",
            Verdict.INCONCLUSIVE: "What they do here on average can't be told yet.",
        }[verdict]
    )
    return " ".join(sentences)


def _cautions(changes: Sequence[AnalysedChange], pooled: Pooled | None) -> list[Caution]:
    out = []
    if pooled is not None and len(changes) < _FEW:
        out.append(
            Caution(
                WarningType.FEW_PLACEBOS,
                f"only {len(changes)} changes: how much their effects differ is hardly known",
            )
        )
    confounded = [
        str(one.event.entity)
        for one in changes
        if any(caution.type is WarningType.OTHER_CHANGES for caution in one.report.cautions)
    ]
    if confounded:
        out.append(
            Caution(
                WarningType.OTHER_CHANGES,
                f"{len(confounded)} of them overlap other changes, which nothing tells apart: "
                + ", ".join(confounded[:5]),
            )
        )
    return out
