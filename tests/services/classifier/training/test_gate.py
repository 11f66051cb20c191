"""The gate lets through what is better, and says why not."""

from dataclasses import replace
from datetime import date

import pytest
from adsml_classifier.models.labels import LabelMode
from adsml_classifier.models.scores import Scores
from adsml_classifier.models.worth import Worth
from adsml_classifier.training import gate
from adsml_classifier.training.assessment import Assessment
from adsml_classifier.training.gate import Incumbent

GOOD = Scores(samples=500, weighted_f1=0.80, macro_f1=0.60, ece=0.04, log_loss=0.50, rps=0.06, accuracy=0.81)
LAST_WEEK = replace(GOOD, weighted_f1=0.75, macro_f1=0.55, rps=0.10)
RULE = replace(GOOD, weighted_f1=0.60, macro_f1=0.45, rps=0.15)
DAY = date(2026, 3, 1)


def assessed(
    model: Scores = GOOD,
    *,
    persistence: Scores = LAST_WEEK,
    rule: Scores = RULE,
    odds_rps: float = 0.07,
    leads: tuple[float, float] = (0.25, 0.22),
) -> Assessment:
    worth = {
        name: Worth(high_cpl=1.0, low_cpl=3.0, leads_gained_share=share, leads_gained_share_by_tier=share)
        for name, share in (("model", leads[0]), ("persistence", leads[1]), ("rule", 0.1))
    }
    odds = replace(persistence, rps=odds_rps)
    return Assessment(model, persistence, odds, rule, worth, {}, DAY, DAY)


def decide(
    found: Assessment, incumbent: Incumbent | None = None, mode: LabelMode = LabelMode.OUTCOME
) -> gate.Decision:
    return gate.decide(found, incumbent, mode=mode)


def test_the_first_good_model_passes() -> None:
    decision = decide(assessed())
    assert decision.passed
    assert "0.800" in decision.reason
    assert "0.750" in decision.reason


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (assessed(replace(GOOD, samples=19)), "only 19 samples to judge it by; 20 are needed"),
        (assessed(leads=(0.21, 0.22)), "not better than last week's tier: 21.0% more leads"),
        (assessed(odds_rps=0.06), "not better than last week's tier and its odds: RPS 0.060"),
        (
            assessed(persistence=replace(LAST_WEEK, weighted_f1=0.93)),
            "worse at calling tiers than last week's tier",
        ),
        (
            assessed(rule=replace(RULE, weighted_f1=0.85, macro_f1=0.61)),
            "worse at calling tiers than the rule",
        ),
        (assessed(replace(GOOD, ece=0.2)), "off by 0.200"),
    ],
)
def test_what_is_not_good_enough_is_kept_out(found: Assessment, why: str) -> None:
    decision = decide(found)
    assert not decision.passed
    assert why in decision.reason


def test_a_tie_in_leads_and_f1_gives_way_to_better_probabilities() -> None:
    """Half a percent of leads and two hundredths of F1 are luck; the ranked probability score is not."""
    assert decide(assessed(leads=(0.216, 0.22))).passed
    assert decide(assessed(persistence=replace(LAST_WEEK, weighted_f1=0.83, macro_f1=0.60))).passed


@pytest.mark.parametrize(("loss", "passed"), [(0.60, True), (0.495, True), (0.48, False)])
def test_the_incumbent_is_beaten_or_matched(loss: float, passed: bool) -> None:
    """Within 2% of the incumbent's loss the newer one serves: it saw newer days."""
    incumbent = Incumbent("classifier/1 version 3", replace(GOOD, log_loss=loss))
    decision = decide(assessed(), incumbent)
    assert decision.passed is passed
    assert "classifier/1 version 3" in decision.reason


def test_an_incumbent_that_saw_the_holdout_is_not_compared_and_that_is_said() -> None:
    incumbent = Incumbent("classifier/1 version 3", None, "it learnt from those days")
    decision = decide(assessed(), incumbent)
    assert decision.passed
    assert "not compared with classifier/1 version 3: it learnt from those days" in decision.reason


WORSE = assessed(leads=(0.21, 0.22))


@pytest.mark.parametrize(
    ("unseen", "retires", "why"),
    [
        (
            assessed(),
            False,
            "classifier/1 version 3 goes on: 25.0% more leads by moving budget against 22.0%",
        ),
        (
            assessed(leads=(0.20, 0.22)),
            True,
            "version 3 stops serving, for it is not better than last week's tier",
        ),
        (
            assessed(odds_rps=0.05),
            True,
            "version 3 stops serving, for it is not better than last week's tier and its",
        ),
        (assessed(replace(GOOD, samples=19)), True, "only 19 samples that it has not seen"),
        (None, True, "only 0 samples that it has not seen"),
    ],
)
def test_where_no_new_model_is_better_than_last_weeks_tier_the_one_that_serves_has_to_show_that_it_is(
    unseen: Assessment | None, retires: bool, why: str
) -> None:
    """It was made alike, of older days; what it did on days that it has not seen decides."""
    decision = decide(WORSE, Incumbent("classifier/1 version 3", GOOD, unseen=unseen))
    assert (decision.passed, decision.retires) == (False, retires)
    assert decision.reason.startswith("not better than last week's tier: 21.0% more leads")
    assert why in decision.reason


@pytest.mark.parametrize(
    "candidate", [assessed(replace(GOOD, samples=19)), assessed(replace(GOOD, log_loss=0.9))]
)
def test_a_candidate_that_says_nothing_of_the_one_that_serves_leaves_it_alone(candidate: Assessment) -> None:
    """Too few samples, or better than last week's tier and only worse than the model that serves."""
    decision = decide(candidate, Incumbent("classifier/1 version 3", GOOD, unseen=assessed(leads=(0.1, 0.2))))
    assert (decision.passed, decision.retires) == (False, False)


def test_same_window_models_never_replace_one_that_learnt_from_outcomes() -> None:
    repeats = assessed(replace(GOOD, accuracy=0.97))
    alone = decide(repeats, mode=LabelMode.SAME_WINDOW)
    assert alone.passed
    assert "nothing is known of how well it foresees outcomes" in alone.reason
    outcome = Incumbent("classifier/1 version 3", GOOD, outcome=True)
    assert not decide(repeats, outcome, LabelMode.SAME_WINDOW).passed
    assert not decide(assessed(replace(GOOD, accuracy=0.7)), mode=LabelMode.SAME_WINDOW).passed
