"""The gate lets through what is better, and says why not."""

from dataclasses import replace
from datetime import date

import pytest
from adsml_classifier.models.labels import LabelMode
from adsml_classifier.models.scores import F1, Scores
from adsml_classifier.training import gate
from adsml_classifier.training.assessment import Assessment
from adsml_classifier.training.gate import GateSettings, Incumbent
from adsml_common.domain.errors import InvalidInput

GOOD = Scores(samples=500, weighted_f1=0.80, macro_f1=0.60, ece=0.04, log_loss=0.50, accuracy=0.81)
DAY = date(2026, 3, 1)


def judged(
    model: Scores = GOOD,
    *,
    persistence: F1 = F1(0.75, 0.55),  # noqa: B008 - frozen
    rule: F1 = F1(0.60, 0.45),  # noqa: B008 - frozen
) -> Assessment:
    return Assessment(model, persistence, rule, {}, {}, [], (), DAY, DAY)


def decide(
    found: Assessment, incumbent: Incumbent | None = None, mode: LabelMode = LabelMode.OUTCOME
) -> gate.Decision:
    return gate.decide(found, incumbent, GateSettings(), mode=mode)


def test_the_first_good_model_passes() -> None:
    decision = decide(judged())
    assert decision.passed
    assert "0.800" in decision.reason
    assert "0.750" in decision.reason


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (judged(replace(GOOD, samples=19)), "only 19 samples to judge it by; 20 are needed"),
        (judged(persistence=F1(0.85, 0.56)), "not better than persistence"),
        (judged(rule=F1(0.80, 0.60)), "not better than the rule"),
        (judged(replace(GOOD, ece=0.2)), "off by 0.200"),
    ],
)
def test_what_is_not_good_enough_is_kept_out(found: Assessment, why: str) -> None:
    decision = decide(found)
    assert not decision.passed
    assert why in decision.reason


@pytest.mark.parametrize(("loss", "passed"), [(0.60, True), (0.495, True), (0.48, False)])
def test_the_incumbent_is_beaten_or_matched(loss: float, passed: bool) -> None:
    """Within 2% of the incumbent's loss the newer one serves: it saw newer days."""
    incumbent = Incumbent("classifier/1 version 3", replace(GOOD, log_loss=loss))
    decision = decide(judged(), incumbent)
    assert decision.passed is passed
    assert "classifier/1 version 3" in decision.reason


def test_an_incumbent_that_saw_the_holdout_is_not_compared_and_that_is_said() -> None:
    incumbent = Incumbent("classifier/1 version 3", None, "it learnt from those days")
    decision = decide(judged(), incumbent)
    assert decision.passed
    assert "not compared with classifier/1 version 3: it learnt from those days" in decision.reason


def test_same_window_models_never_replace_one_that_learnt_from_outcomes() -> None:
    repeats = judged(replace(GOOD, accuracy=0.97))
    alone = decide(repeats, mode=LabelMode.SAME_WINDOW)
    assert alone.passed
    assert "nothing is known of how well it foresees outcomes" in alone.reason
    outcome = Incumbent("classifier/1 version 3", GOOD, outcome=True)
    assert not decide(repeats, outcome, LabelMode.SAME_WINDOW).passed
    assert not decide(judged(replace(GOOD, accuracy=0.7)), mode=LabelMode.SAME_WINDOW).passed


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="worst_ece"):
        GateSettings(worst_ece=0.0)
