"""Rolling origins: which weeks, and what each may know."""

from dataclasses import replace

import numpy as np
import pytest
from adsml_classifier.models.panel import Panel
from adsml_classifier.training import assessment, candidate, fitting, sampling
from adsml_classifier.training.recipe import Recipe, SampleSettings
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory
from adsml_simulate import SimulatedAccount

from ..accounts import panel_of
from ..conftest import QUICK


@pytest.fixture(scope="module")
def panel(account: SimulatedAccount) -> Panel:
    return panel_of(account)


@pytest.fixture(scope="module")
def samples(panel: Panel) -> sampling.Samples:
    return sampling.build(panel, SampleSettings())


def walked(
    samples: sampling.Samples, panel: Panel, *, weeks: int = 3, lag: int = 0
) -> list[candidate.Origin]:
    recipe = replace(QUICK, weeks=weeks, sampling=SampleSettings(attribution_lag_days=lag))
    return candidate.walk_forward(samples, panel, recipe, what="account 1")


def test_weeks_are_the_last_ones_and_follow_each_other(samples: sampling.Samples, panel: Panel) -> None:
    origins = walked(samples, panel)
    days = [np.unique(one.split.holdout.day) for one in origins]
    assert [len(one) for one in days] == [7, 7, 7]
    assert np.concatenate(days).tolist() == list(range(samples.day.max() - 20, samples.day.max() + 1))


@pytest.mark.parametrize("lag", [0, 4])
def test_each_week_knows_only_outcomes_that_were_in_at_its_start(
    samples: sampling.Samples, panel: Panel, lag: int
) -> None:
    for one in walked(samples, panel, lag=lag):
        assert one.split.train.day.max() + 7 + lag <= one.split.holdout.day.min()


def test_what_a_week_answers_does_not_depend_on_what_came_after(
    samples: sampling.Samples, panel: Panel
) -> None:
    """Labels of the last week are turned round: the weeks before answer as they did."""
    last = samples.day.max() - 6
    turned = replace(samples, label=np.where(samples.day >= last, 3 - samples.label, samples.label))
    before, after = walked(samples, panel), walked(turned, panel)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(
            one.fitted.model.probabilities(one.split.holdout.x),
            other.fitted.model.probabilities(other.split.holdout.x),
        )


def test_few_days_leave_fewer_weeks_and_at_last_a_quarter(samples: sampling.Samples) -> None:
    first = int(samples.day.min())
    month = samples.where(samples.day < first + 32)
    # 32 days: two weeks leave 18 days before the first, less a gap of 7: 11, too few. One week leaves 18.
    assert candidate.cutoffs(month, Recipe()) == [first + 25]
    short = samples.where(samples.day < first + 16)
    assert candidate.cutoffs(short, Recipe()) == [first + 12]


def test_too_little_before_the_last_week_is_refused_with_counts(
    samples: sampling.Samples, panel: Panel
) -> None:
    few = samples.where((samples.entity < 2) & (samples.day < samples.day.min() + 12))
    with pytest.raises(InsufficientHistory, match="samples of history and needs 30"):
        walked(few, panel)


def test_one_tier_before_the_last_week_is_refused(samples: sampling.Samples, panel: Panel) -> None:
    with pytest.raises(FailedPrecondition, match="samples are low"):
        walked(replace(samples, label=np.full(len(samples), 2)), panel)


def test_the_model_that_serves_is_made_as_those_that_were_judged(
    samples: sampling.Samples, panel: Panel
) -> None:
    """Rare tiers are raised in it too, by what is said of all samples."""
    plain = replace(QUICK, fit=replace(QUICK.fit, rarity_power=0.0))
    one, other = (candidate.learn(panel, recipe, what="account 1").model for recipe in (QUICK, plain))
    x = samples.x[:50]
    odds = np.log(one.probabilities(x)) - np.log(other.probabilities(x))
    raised = fitting.rarity(samples, QUICK.fit)
    assert np.ptp(raised) > 0.05
    np.testing.assert_allclose(odds - odds[:, :1], np.tile(raised - raised[0], (50, 1)), atol=1e-6)


def test_figures_are_those_of_all_weeks_together(samples: sampling.Samples, panel: Panel) -> None:
    origins = walked(samples, panel)
    answers = origins[0].answers.join([one.answers for one in origins[1:]])
    together = assessment.assess(answers, panel)
    assert together.model.samples == sum(len(one.split.holdout) for one in origins)
    right = sum(one.assessment.model.accuracy * len(one.split.holdout) for one in origins)
    assert together.model.accuracy == pytest.approx(right / together.model.samples)
    assert together.first == origins[0].assessment.first
    assert np.sum(together.details["confusion"]["truth_by_prediction"]) == together.model.samples
