"""A newcomer's forecast: its own days, its parent's shape, its siblings' level."""

import numpy as np
import pytest
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.tiers import Tier
from adsml_forecasting.models.prediction import Wanted
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import DonorSeries, forecast_new, pick, shrinkage

FIRST, DAYS = 20_000, 84
CUTOFF = FIRST + DAYS - 1
WEEK = np.array([1.4, 1.2, 1.0, 1.0, 0.9, 0.8, 0.7])
WANTED = Wanted(horizon=7)


def counts(level: float, *, seed: int, days: int = DAYS) -> DailySeries:
    first = FIRST + DAYS - days
    profile = WEEK[(first + np.arange(days)) % 7]
    return DailySeries(
        first, np.random.default_rng(seed).poisson(level * profile).astype(float), name=f"{level}"
    )


def donors(*levels: float) -> list[DonorSeries]:
    return [DonorSeries(at, counts(level, seed=50 + at)) for at, level in enumerate(levels)]


def test_a_few_own_days_set_the_level_and_the_parent_the_shape() -> None:
    parent = counts(60, seed=1)
    own = DailySeries(CUTOFF - 6, parent.values[-7:] * 0.25, name="new")
    found = forecast_new(
        own, parent=parent, donors=donors(5, 10, 20, 40), tier=None, wanted=WANTED, cutoff=CUTOFF
    )
    expected = 15 * WEEK[(CUTOFF + 1 + np.arange(7)) % 7]
    assert found.parent_used
    assert found.own_weight > 0.9
    assert np.abs(found.prediction.point - expected).mean() < 0.15 * expected.mean()


def test_without_days_of_its_own_siblings_say_the_level() -> None:
    found = forecast_new(
        None, parent=counts(60, seed=1), donors=donors(8, 10, 12), tier=None, wanted=WANTED, cutoff=CUTOFF
    )
    assert found.own_weight == 0
    assert found.prediction.point.mean() == pytest.approx(10, rel=0.25)


def test_a_day_of_a_large_entity_weighs_more_than_one_of_a_small() -> None:
    siblings = [one.series for one in donors(4, 8, 16)]
    large = shrinkage(siblings, mine=100, borrowed=8, season_length=7)
    small = shrinkage(siblings, mine=0.5, borrowed=8, season_length=7)
    assert large < 0.2 * small


def test_siblings_alike_are_believed_longer() -> None:
    alike = shrinkage([one.series for one in donors(9, 10, 11)], mine=10, borrowed=10, season_length=7)
    apart = shrinkage([one.series for one in donors(2, 10, 60)], mine=10, borrowed=10, season_length=7)
    assert alike > 3 * apart


def test_nothing_on_its_own_days_is_drawn_to_the_siblings_but_not_to_them() -> None:
    own = DailySeries(CUTOFF - 2, np.zeros(3), name="new")
    found = forecast_new(
        own, parent=counts(60, seed=1), donors=donors(1, 2, 4), tier=None, wanted=WANTED, cutoff=CUTOFF
    )
    assert 0 < found.prediction.point.mean() < 2


def test_fewer_own_days_give_wider_intervals() -> None:
    parent = counts(60, seed=1)

    def width(days: int) -> float:
        own = DailySeries(CUTOFF - days + 1, parent.values[-days:] * 0.5, name="new")
        found = forecast_new(
            own, parent=parent, donors=donors(20, 30), tier=None, wanted=WANTED, cutoff=CUTOFF
        )
        relative = (found.prediction.upper - found.prediction.lower) / found.prediction.point
        return float(relative.mean())

    assert width(2) > width(10)


def test_donors_of_the_tier_come_first_where_there_are_two() -> None:
    series = counts(10, seed=3)
    mixed = [DonorSeries(0, series, Tier.LOW), DonorSeries(1, series, Tier.LOW), DonorSeries(2, series)]
    assert [one.key for one in pick(mixed, Tier.LOW)] == [0, 1]
    assert len(pick(mixed, Tier.HIGH_PERFORMER)) == 3


def test_nobody_to_borrow_from_is_said_with_the_days_needed() -> None:
    with pytest.raises(FailedPrecondition, match="14 days"):
        forecast_new(
            None, parent=counts(10, seed=1, days=5), donors=[], tier=None, wanted=WANTED, cutoff=CUTOFF
        )
