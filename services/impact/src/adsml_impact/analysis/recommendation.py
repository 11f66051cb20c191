"""What to do, in plain words, for every type of change and verdict."""

from typing import Final

import numpy as np
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType

from adsml_impact.analysis.metric_comparison import MetricResult
from adsml_impact.analysis.plan import LABELS, is_neutral
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.models.effect import Effect
from adsml_impact.models.power import LONGEST, Detectable, days_for, to_shift

_ADVICE: Final[dict[ChangeType, dict[Verdict, str]]] = {
    ChangeType.BUDGET_CHANGE: {
        Verdict.POSITIVE: "Keep the new budget; another step the same way is worth a try, one at a time.",
        Verdict.NEGATIVE: "Go back to the earlier budget, or half way, and look again in a week or two.",
        Verdict.NEUTRAL: "The new budget buys at the old terms: keep it if you want the volume it brings.",
        Verdict.INCONCLUSIVE: "Leave the budget as it is until there is enough to tell; no further step yet.",
    },
    ChangeType.CREATIVE_CHANGE: {
        Verdict.POSITIVE: "Keep the new creative and give it the old one's money.",
        Verdict.NEGATIVE: "Put the earlier creative back, and test the new idea beside it, not in its place.",
        Verdict.NEUTRAL: "The new creative does as well as the old: keep whichever is cheaper to run.",
        Verdict.INCONCLUSIVE: "Let the new creative run on; it is too early to drop it or to copy it.",
    },
    ChangeType.AUDIENCE_CHANGE: {
        Verdict.POSITIVE: "Keep the new audience; ad sets like this one may gain from the same change.",
        Verdict.NEGATIVE: "Go back to the earlier audience.",
        Verdict.NEUTRAL: "The audience makes no difference that matters: keep the wider one.",
        Verdict.INCONCLUSIVE: "Keep the audience steady until there is enough to tell; another change now "
        "would make both unreadable.",
    },
    ChangeType.PAUSE: {
        Verdict.POSITIVE: "Leave it paused: the account does better without it.",
        Verdict.NEGATIVE: "Switch it on again: the account misses it.",
        Verdict.NEUTRAL: "The account does as well without it: leave it paused, or keep it for the volume.",
        Verdict.INCONCLUSIVE: "Its absence does not show in the account either way; if its money is needed "
        "elsewhere, leave it paused and look again later.",
    },
    ChangeType.REACTIVATE: {
        Verdict.POSITIVE: "Keep it running: the account does better with it.",
        Verdict.NEGATIVE: "Pause it again: the account does worse with it.",
        Verdict.NEUTRAL: "The account does as well with it: keep it running if you want the volume.",
        Verdict.INCONCLUSIVE: "Its return does not show in the account either way; let it run through its "
        "learning phase and look again later.",
    },
}  # fmt: skip


def _percent(share: float) -> str:
    value = 100.0 * share
    if not np.isfinite(value):
        return "more than can be said" if value > 0 else "unknown"
    return f"{value:+.0f}%" if abs(value) >= 10 else f"{value:+.1f}%"


def _finding(primary: MetricResult, effect: Effect, *, margin: float, alpha: float) -> str:
    whose = "the account's " if primary.message.scope == pb.EFFECT_SCOPE_ACCOUNT else ""
    label = f"{whose}{LABELS[primary.metric]}"
    interval = effect.relative_interval
    span = (
        f"{100 * interval.level:.0f}% interval {_percent(interval.lower)} to {_percent(interval.upper)}, "
        + (f"p = {effect.p_value:.3f}" if effect.p_value >= 0.001 else "p < 0.001")
    )
    moved = "rose" if effect.comparison.tau > 0 else "fell"
    if effect.p_value < alpha:
        by = f" by {100 * abs(effect.relative):.0f}%" if np.isfinite(effect.relative) else ""
        return f"{label} {moved}{by} against what was to be expected ({span})"
    if effect.equivalence_interval.within(margin):
        return f"{label} moved by less than {100 * margin:g}%, which was set as too little to matter ({span})"
    return f"{label} moved by {_percent(effect.relative)}, which may be chance ({span})"


def recommend(
    change: ChangeType,
    verdict: Verdict,
    primary: MetricResult,
    effect: Effect,
    *,
    beside: MetricResult | None,
    detectable: Detectable,
    margin: float,
    alpha: float,
    overlapping: str = "",
) -> str:
    """What happened and what to do.

    Parameters
    ----------
    effect
        The primary metric's.
    beside
        A second metric worth telling of (leads beside CPL), where it is significant.
    detectable
        Said where the verdict is INCONCLUSIVE.
    overlapping
        Other changes in the same days, which nothing tells apart from this one: then none of them is advised on.
    """
    sentences = [_finding(primary, effect, margin=margin, alpha=alpha)]
    sentences[0] = sentences[0][0].upper() + sentences[0][1:] + "."
    if beside is not None and beside.effect is not None and beside.p_value < alpha:
        moved = "rose" if beside.effect.comparison.tau > 0 else "fell"
        sentences.append(
            f"{LABELS[beside.metric].capitalize()} {moved} by {100 * abs(beside.effect.relative):.0f}% against what "
            "was to be expected."
        )
    if verdict is Verdict.INCONCLUSIVE:
        ratio = primary.metric.is_ratio
        sentences += [
            _power_sentence(detectable),
            _margin_sentence(effect, ratio=ratio, margin=margin, alpha=alpha),
        ]
    if overlapping:
        sentences.append(
            f"This is the effect of all changes of these days together: {overlapping}. Do not credit the "
            f"{change.replace('_', ' ')} with it."
        )
    elif not is_neutral(primary.metric):
        sentences.append(_ADVICE[change][verdict])
    return " ".join(sentences)


def _power_sentence(could: Detectable) -> str:
    sides = [
        f"a {name} of {100 * abs(value):.0f}%"
        for name, value in (("rise", could.relative_up), ("fall", could.relative_down))
        if np.isfinite(value)
    ]
    shows = f"would have shown {100 * could.power:.0f}% of the time"
    text = f"With {could.after_days} days after, " + (
        f"{' or '.join(sides)} {shows}" if sides else "not even a tenfold change would have shown reliably"
    )
    enough = could.days_needed is not None and could.days_needed <= could.after_days
    if could.target_relative is None or enough:
        return text + "."
    wanted = f"{100 * could.target_relative:+.0f}%"
    if could.days_needed is None:
        return f"{text}; one of {wanted} does not show within {LONGEST} days here."
    return f"{text}; one of {wanted} needs about {could.days_needed} days."


def _margin_sentence(effect: Effect, *, ratio: bool, margin: float, alpha: float) -> str:
    """When no effect that matters could be told from these data."""
    comparison = effect.comparison
    goal = -to_shift(-margin, ratio=ratio) if margin < 1 else margin
    goal = min(goal, to_shift(margin, ratio=ratio))
    days = days_for(comparison, goal, comparison.reference.critical(2 * alpha))
    within = f"that it moved by less than {100 * margin:g}%"
    if days is None:
        return f"No window of up to {LONGEST} days could show {within} here."
    return f"To show {within} takes {days} days or more."
