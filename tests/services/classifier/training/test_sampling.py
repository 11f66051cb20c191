"""Samples: who is one, how they are split, and what is said where there are too few."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from adsml_classifier.models import features, rule
from adsml_classifier.models.labels import Judgement
from adsml_classifier.training import sampling
from adsml_classifier.training.recipe import SampleSettings
from adsml_classifier.training.sampling import HORIZON_DAYS
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.tiers import Tier
from adsml_simulate import SimulatedAccount
from hypothesis import given
from hypothesis import strategies as st

from ..accounts import panel_of, week_panel


@pytest.fixture(scope="module")
def samples(account: SimulatedAccount) -> sampling.Samples:
    return sampling.build(panel_of(account), SampleSettings())


def test_a_sample_is_its_own_row_of_the_features_label_and_baselines(
    account: SimulatedAccount, samples: sampling.Samples
) -> None:
    """Ten samples looked up one by one."""
    panel = panel_of(account)
    for place in np.linspace(0, len(samples) - 1, 10).astype(int):
        day, row = np.array([samples.day[place]]), samples.entity[place]
        expected = features.compute(panel, day)[:, row, 0]
        np.testing.assert_allclose(samples.x[place], expected, rtol=1e-6, atol=1e-6)
        earned = rule.earned(rule.week(panel, day, back=-7))[row, 0]
        assert samples.label[place] == earned
        assert samples.persistence[place] == rule.earned(rule.week(panel, day))[row, 0]
        assert samples.rule[place] == rule.tiers(panel, day)[row, 0]
        assert samples.level[place] == panel.level[row]


def test_samples_come_by_day_and_respect_levels(account: SimulatedAccount, samples: sampling.Samples) -> None:
    assert (np.diff(samples.day) >= 0).all()
    ads = sampling.build(panel_of(account), SampleSettings(), levels=(EntityType.AD,))
    assert set(ads.level) == {2}
    assert len(ads) == (samples.level == 2).sum()


@given(st.integers(10, 80), st.integers(0, 6))
def test_no_training_label_looks_past_the_cutoff(samples: sampling.Samples, cutoff: int, lag: int) -> None:
    """The last day that a label of the training side sees, with its lag, is not after the cutoff's own day."""
    parts = sampling.split(samples, cutoff=cutoff, lag_days=lag)
    if len(parts.train):
        assert parts.train.day.max() + HORIZON_DAYS + lag <= cutoff
    if len(parts.holdout):
        assert parts.holdout.day.min() >= cutoff


def test_an_attribution_lag_moves_the_last_sample(
    account: SimulatedAccount, samples: sampling.Samples
) -> None:
    lagged = sampling.build(panel_of(account), SampleSettings(attribution_lag_days=5))
    assert lagged.day.max() == samples.day.max() - 5


def test_too_many_samples_are_thinned_by_days_and_people_stay(
    account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = panel_of(account)
    said = [Judgement("adset", panel.keys[5][1], panel.day(50), Tier.LOW, datetime(2026, 4, 1, tzinfo=UTC))]
    said = [replace(said[0], entity_type=panel.keys[5][0])]
    monkeypatch.setattr(sampling, "JUDGEMENT_REACH_DAYS", 0)
    every = sampling.build(panel, SampleSettings(), judgements=said)
    few = sampling.build(panel, SampleSettings(most=1000), judgements=said)
    assert 500 < len(few) < len(every) / 2
    assert few.by_person.sum() == every.by_person.sum() == 1
    # However far apart the days that are taken, the last with an outcome is one: there is something to learn from.
    assert few.day.max() == every.day.max()
    assert few.weight[few.by_person].tolist() == [sampling.JUDGEMENT_WEIGHT]


def test_what_is_left_out_is_counted() -> None:
    """Two entities, 14 days: as of day 6 one goes on, one stops; as of days 7 to 13 nothing is over."""
    panel = week_panel(
        {"on": ([100.0] * 14, [10.0] * 14), "off": ([100.0] * 7 + [0.0] * 7, [10.0] * 7 + [0.0] * 7)}
    )
    found = sampling.build(panel, SampleSettings())
    assert len(found) == 1
    assert found.excluded.no_delivery == 1
    assert found.excluded.not_over == 7 + 6
    assert found.excluded.immaterial == 0


def test_too_few_samples_are_refused_with_what_there_is() -> None:
    panel = week_panel({"on": ([100.0] * 20, [10.0] * 20)})
    found = sampling.build(panel, SampleSettings())
    with pytest.raises(InsufficientHistory) as refused:
        sampling.require(found, panel, what="account 7", needed=30)
    error = refused.value
    assert error.metadata == {"samples_had": "7", "samples_needed": "30"}
    assert "account 7 (1 entities, 2026-01-05 to 2026-01-24; samples: 7 moderate" in error.message
    assert "7 entity-days have no full week after them yet" in error.message


def test_days_known_only_by_a_persons_word_do_not_count_as_known(account: SimulatedAccount) -> None:
    panel = panel_of(account)
    last = panel.day(len(panel.days) - 1)
    kind, name = panel.keys[0]
    said = [Judgement(kind, name, last - timedelta(days=1), Tier.LOW, datetime(2026, 4, 1, tzinfo=UTC))]
    found = sampling.build(panel, SampleSettings(), judgements=said)
    assert found.day.max() == len(panel.days) - 1
    assert sampling.known_days(found)[1] == len(panel.days) - 1 - HORIZON_DAYS
