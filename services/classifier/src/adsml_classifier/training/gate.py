"""Whether a candidate may serve: better than the baselines and no worse than the model that serves now."""

from dataclasses import dataclass
from typing import Final

from adsml_classifier.models.labels import LabelMode
from adsml_classifier.models.scores import Scores
from adsml_classifier.training.assessment import Assessment

# Share of the leads by which a model may gain less than last week's tier: so much is luck.
_LEADS_TOLERANCE: Final = 0.005
# By how much its mean F1 may be below a baseline's: a tie in F1 is no reason to give up better probabilities.
_F1_TOLERANCE: Final = 0.02
MIN_SAMPLES: Final = 20
"""Fewer decide nothing."""
_WORST_ECE: Final = 0.15
# Share by which its log loss may exceed the incumbent's: of two as good, the one that saw newer days serves.
_SLACK: Final = 0.02
_LEAST_AGREEMENT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and why, for a person to read."""

    passed: bool
    reason: str
    retires: bool = False
    """Whether the model that serves now stops serving too, so that last week's tier answers."""


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model that serves now, judged by its twin, which has not seen its last week."""

    version: str
    scores: Scores | None  # on the candidate's last week; None where it can't be judged fairly, see `note`
    note: str = ""
    outcome: bool = True  # whether it learnt from outcomes
    unseen: Assessment | None = None  # on the candidate's weeks that it has not seen; None without any


def decide(assessment: Assessment, incumbent: Incumbent | None, *, mode: LabelMode) -> Decision:
    """Let a candidate through or not.

    Money comes first: budget moved by its word must gain the leads that budget moved by last week's tier does, within
    the tolerance. Then its probabilities must be better than last week's tier with the odds that tiers change by
    (ranked probability score), its called tiers as good as either baseline's (mean of weighted and macro F1, within
    the tolerance), its calibration bearable, and its log loss not above the incumbent's by more than the slack.

    A candidate that is no better than the baselines says of the incumbent, which was made alike from older days, that
    it may not be either: it goes on only if it passes the same on the days that it has not seen.
    """
    model = assessment.model
    if model.samples < MIN_SAMPLES:
        return Decision(False, f"only {model.samples} samples to judge it by; {MIN_SAMPLES} are needed")
    if mode is LabelMode.SAME_WINDOW:
        return _same_window(assessment, incumbent)
    failure = _failure(assessment)
    if failure:
        return _without_candidate(failure, incumbent)
    against = (
        f"{_leads(assessment)} by last week's tier; {_skill(assessment)}; {_f1(model)} against "
        f"{assessment.persistence.weighted_f1:.3f} and {assessment.persistence.macro_f1:.3f}"
    )
    if incumbent is None:
        return Decision(True, against)
    if incumbent.scores is None:
        return Decision(True, f"{against}; not compared with {incumbent.version}: {incumbent.note}")
    losses = f"log loss {model.log_loss:.3f} against {incumbent.scores.log_loss:.3f} of {incumbent.version}"
    if model.log_loss > incumbent.scores.log_loss * (1 + _SLACK):
        return Decision(False, f"worse than the model that serves: {losses}")
    return Decision(True, f"{against}; {losses}")


def _without_candidate(failure: str, incumbent: Incumbent | None) -> Decision:
    if incumbent is None:
        return Decision(False, failure)
    unseen, name = incumbent.unseen, incumbent.version
    samples = 0 if unseen is None else unseen.model.samples
    if unseen is None or samples < MIN_SAMPLES:
        why = f"{name} stops serving with it: only {samples} samples that it has not seen"
        return Decision(False, f"{failure}; {why}", retires=True)
    if its := _failure(unseen):
        return Decision(False, f"{failure}; {name} stops serving, for it is {its}", retires=True)
    why = f"{name} goes on: {_leads(unseen)} by last week's tier, {_skill(unseen)}"
    return Decision(False, f"{failure}; {why} on {samples} samples that it has not seen")


def _failure(assessment: Assessment) -> str:
    """In what a model is not better than the baselines; empty where it is."""
    model = assessment.model
    on = f"on {model.samples} samples"
    gained, by_last_week = (assessment.worth[name].leads_gained_share for name in ("model", "persistence"))
    if gained < by_last_week - _LEADS_TOLERANCE:
        return f"not better than last week's tier: {_leads(assessment)} {on}"
    if model.rps >= assessment.transitions.rps:
        return f"not better than last week's tier and its odds: {_skill(assessment)} {on}"
    for name, baseline in (("last week's tier", assessment.persistence), ("the rule", assessment.rule)):
        if _both(model) < _both(baseline) - _F1_TOLERANCE:
            theirs = f"{baseline.weighted_f1:.3f} and {baseline.macro_f1:.3f}"
            return f"worse at calling tiers than {name}: {_f1(model)} against {theirs} {on}"
    if model.ece > _WORST_ECE:
        return f"off by {model.ece:.3f} on average in its probabilities; at most {_WORST_ECE} is let through"
    return ""


def _leads(assessment: Assessment) -> str:
    mine, theirs = (assessment.worth[name].leads_gained_share for name in ("model", "persistence"))
    return f"{mine:.1%} more leads by moving budget against {theirs:.1%}"


def _skill(assessment: Assessment) -> str:
    return f"RPS {assessment.model.rps:.3f} against {assessment.transitions.rps:.3f}"


def _f1(model: Scores) -> str:
    return f"F1 weighted {model.weighted_f1:.3f}, macro {model.macro_f1:.3f}"


def _both(value: Scores) -> float:
    return (value.weighted_f1 + value.macro_f1) / 2


def _same_window(assessment: Assessment, incumbent: Incumbent | None) -> Decision:
    model = assessment.model
    agreement = f"it repeats the rule on {model.accuracy:.0%} of {model.samples} samples"
    if incumbent is not None and incumbent.outcome:
        why = f"do not replace {incumbent.version}, which learnt from outcomes"
        return Decision(False, f"same-window labels {why}")
    if model.accuracy < _LEAST_AGREEMENT:
        return Decision(False, f"same-window labels: {agreement}, expected at least {_LEAST_AGREEMENT:.0%}")
    why = f"{agreement}; nothing is known of how well it foresees outcomes"
    return Decision(True, f"same-window labels: {why}")
