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
    min_samples
        Fewer samples decide nothing, and the candidate is rejected.
    worst_ece
        Highest expected calibration error.
    slack
        Share by which its log loss may exceed the incumbent's: of two as good, the one that saw newer days serves.
    """

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
    judged: Assessment, incumbent: Incumbent | None, settings: GateSettings, *, mode: LabelMode
) -> Decision:
    """Let a candidate through or not.

    It needs the better mean of weighted and macro F1 than persistence and than the rule, a bearable calibration, and
    a log loss that is not above the incumbent's by more than the slack.
    """
    model = judged.model
    if model.samples < settings.min_samples:
        return Decision(
            False, f"only {model.samples} samples to judge it by; {settings.min_samples} are needed"
        )
    if mode is LabelMode.SAME_WINDOW:
        return _same_window(judged, incumbent)
    mine = _both(scores.F1(model.weighted_f1, model.macro_f1))
    figures = f"F1 weighted {model.weighted_f1:.3f}, macro {model.macro_f1:.3f}"
    for name, baseline in (("persistence", judged.persistence), ("the rule", judged.rule)):
        if mine <= _both(baseline):
            return Decision(
                False,
                f"not better than {name}: {figures} against {baseline.weighted:.3f} and {baseline.macro:.3f} "
                f"on {model.samples} samples",
            )
    if model.ece > settings.worst_ece:
        return Decision(
            False,
            f"its probabilities are off by {model.ece:.3f} on average; at most {settings.worst_ece} is let through",
        )
    against = (
        f"{figures} against persistence {judged.persistence.weighted:.3f} and {judged.persistence.macro:.3f}, rule "
        f"{judged.rule.weighted:.3f} and {judged.rule.macro:.3f}"
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


def _both(value: scores.F1) -> float:
    return (value.weighted + value.macro) / 2


def _same_window(judged: Assessment, incumbent: Incumbent | None) -> Decision:
    agreement = f"it repeats the rule on {judged.model.accuracy:.0%} of {judged.model.samples} samples"
    if incumbent is not None and incumbent.outcome:
        return Decision(
            False, f"same-window labels do not replace {incumbent.version}, which learnt from outcomes"
        )
    if judged.model.accuracy < 0.9:
        return Decision(False, f"same-window labels: {agreement}, expected at least 90%")
    return Decision(
        True, f"same-window labels: {agreement}; nothing is known of how well it foresees outcomes"
    )
