"""Whether a candidate may serve: better than the baselines and no worse than the model that serves now."""

from dataclasses import dataclass

from adsml_common.domain.errors import Violations

from adsml_classifier.models import scores
from adsml_classifier.models.labels import LabelMode
from adsml_classifier.training.assessment import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a candidate has to show on the holdout.

    Attributes
    ----------
    leads_tolerance
        Share of the leads by which it may gain less than last week's tier: so much is luck.
    f1_tolerance
        By how much its mean F1 may be below a baseline's: a tie in F1 is no reason to give up better probabilities.
    min_samples
        Fewer samples decide nothing, and the candidate is rejected.
    worst_ece
        Highest expected calibration error.
    slack
        Share by which its log loss may exceed the incumbent's: of two as good, the one that saw newer days serves.
    """

    leads_tolerance: float = 0.005
    f1_tolerance: float = 0.02
    min_samples: int = 20
    worst_ece: float = 0.15
    slack: float = 0.02

    def __post_init__(self) -> None:
        found = Violations()
        if self.min_samples < 1:
            found.add("min_samples", f"is {self.min_samples}; expected 1 or more")
        if not 0 < self.worst_ece <= 1:
            found.add("worst_ece", f"is {self.worst_ece}; expected above 0 and at most 1")
        if self.slack < 0:
            found.add("slack", f"is {self.slack}; expected 0 or more")
        found.raise_if_any()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and why, for a person to read."""

    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model that serves now, on the candidate's holdout.

    Attributes
    ----------
    version
        Which one, e.g. ``"classifier/1 version 7"``.
    scores
        Its figures; None where it can't be judged fairly, see `note`.
    note
        Why not.
    outcome
        Whether it learnt from outcomes.
    """

    version: str
    scores: scores.Scores | None
    note: str = ""
    outcome: bool = True


def decide(
    assessment: Assessment, incumbent: Incumbent | None, settings: GateSettings, *, mode: LabelMode
) -> Decision:
    """Let a candidate through or not; where it is not, last week's tier goes on answering.

    Money comes first: budget moved by its word must gain the leads that budget moved by last week's tier does, within
    the tolerance. Then its probabilities must be better than last week's tier with the odds that tiers change by
    (ranked probability score), its called tiers as good as either baseline's (mean of weighted and macro F1, within
    the tolerance), its calibration bearable, and its log loss not above the incumbent's by more than the slack.
    """
    model = assessment.model
    if model.samples < settings.min_samples:
        return Decision(
            False, f"only {model.samples} samples to judge it by; {settings.min_samples} are needed"
        )
    if mode is LabelMode.SAME_WINDOW:
        return _same_window(assessment, incumbent)
    mine, theirs = (assessment.worth[name].leads_gained_share for name in ("model", "persistence"))
    leads = f"{mine:.1%} more leads by moving budget against {theirs:.1%}"
    odds = assessment.transitions.rps
    skill = f"RPS {model.rps:.3f} against {odds:.3f}"
    if mine < theirs - settings.leads_tolerance:
        return Decision(False, f"not better than last week's tier: {leads} on {model.samples} samples")
    if model.rps >= odds:
        return Decision(
            False, f"not better than last week's tier and its odds: {skill} on {model.samples} samples"
        )
    figures = f"F1 weighted {model.weighted_f1:.3f}, macro {model.macro_f1:.3f}"
    for name, baseline in (("last week's tier", assessment.persistence), ("the rule", assessment.rule)):
        if _both(model) < _both(baseline) - settings.f1_tolerance:
            return Decision(
                False,
                f"calls tiers worse than {name}: {figures} against {baseline.weighted_f1:.3f} and "
                f"{baseline.macro_f1:.3f} on {model.samples} samples",
            )
    if model.ece > settings.worst_ece:
        return Decision(
            False,
            f"its probabilities are off by {model.ece:.3f} on average; at most {settings.worst_ece} is let through",
        )
    against = (
        f"{leads} by last week's tier; {skill}; {figures} against {assessment.persistence.weighted_f1:.3f} and "
        f"{assessment.persistence.macro_f1:.3f}"
    )
    if incumbent is None:
        return Decision(True, f"{against}; there is no model yet")
    if incumbent.scores is None:
        return Decision(True, f"{against}; not compared with {incumbent.version}: {incumbent.note}")
    limit = incumbent.scores.log_loss * (1 + settings.slack)
    losses = f"log loss {model.log_loss:.3f} against {incumbent.scores.log_loss:.3f} of {incumbent.version}"
    if model.log_loss > limit:
        return Decision(False, f"worse than the model that serves: {losses}")
    return Decision(True, f"{against}; {losses}")


def _both(value: scores.Scores) -> float:
    return (value.weighted_f1 + value.macro_f1) / 2


def _same_window(assessment: Assessment, incumbent: Incumbent | None) -> Decision:
    agreement = (
        f"it repeats the rule on {assessment.model.accuracy:.0%} of {assessment.model.samples} samples"
    )
    if incumbent is not None and incumbent.outcome:
        return Decision(
            False, f"same-window labels do not replace {incumbent.version}, which learnt from outcomes"
        )
    if assessment.model.accuracy < 0.9:
        return Decision(False, f"same-window labels: {agreement}, expected at least 90%")
    return Decision(
        True, f"same-window labels: {agreement}; nothing is known of how well it foresees outcomes"
    )
