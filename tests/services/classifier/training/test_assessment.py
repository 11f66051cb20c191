"""What a model is held against, and what came after its samples."""

from datetime import timedelta

import numpy as np
import pytest
from adsml_classifier.training import assessment, sampling
from adsml_classifier.training.assessment import Answers
from adsml_classifier.training.recipe import SampleSettings
from adsml_classifier.training.sampling import Samples
from adsml_simulate import SimulatedAccount

from ..accounts import panel_of


@pytest.fixture(scope="module")
def samples(account: SimulatedAccount) -> Samples:
    return sampling.build(panel_of(account), SampleSettings())


def test_next_week_is_the_seven_days_after(account: SimulatedAccount, samples: Samples) -> None:
    """Three samples looked up in the daily rows."""
    panel = panel_of(account)
    for place in (0, len(samples) // 2, len(samples) - 1):
        kind, name = panel.keys[samples.entity[place]]
        day = panel.day(int(samples.day[place]))
        rows = account.daily[(account.daily["entity_type"] == kind) & (account.daily["entity_id"] == name)]
        after = rows[(rows["date"].dt.date > day) & (rows["date"].dt.date <= day + timedelta(days=7))]
        assert samples.next_spend[place] == pytest.approx(after["spend"].sum())
        assert samples.next_leads[place] == pytest.approx(after["leads"].sum())


def test_budget_moves_between_entities_of_one_level_and_day(samples: Samples) -> None:
    week = assessment.next_week(samples)
    pairs = {tuple(pair) for pair in np.stack([week.group, samples.level, samples.day], axis=1).tolist()}
    assert len(pairs) == len(np.unique(week.group)) == len(set(zip(samples.level, samples.day, strict=True)))


def test_odds_of_a_change_are_those_of_the_days_learnt_from(samples: Samples) -> None:
    odds = assessment.transitions(samples)
    np.testing.assert_allclose(odds.sum(axis=1), 1.0)
    high = samples.persistence == 0
    seen = np.mean(samples.label[high] == 0)
    # The prior is worth 10 samples.
    assert odds[0, 0] == pytest.approx(seen, abs=10 / high.sum())


def test_a_forecast_that_is_persistence_has_its_figures(account: SimulatedAccount, samples: Samples) -> None:
    answers = Answers(
        np.eye(4)[samples.persistence], assessment.transitions(samples)[samples.persistence], samples
    )
    found = assessment.assess(answers, panel_of(account))
    assert found.model == found.persistence
    assert found.worth["model"] == found.worth["persistence"]
    assert found.rps_skill == pytest.approx(0.0)
    assert found.transitions.rps < found.persistence.rps
