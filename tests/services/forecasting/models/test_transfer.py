"""A newcomer's forecast: its own days, its parent's shape, its siblings' level."""

import numpy as np
import pytest
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.metrics import Metric
from adsml_common.domain.tiers import Tier
from adsml_forecasting.models.prediction import ForecastSpec
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import (
    DonorSeries,
    TransferTask,
    forecast_column,
    forecast_new,
    pick,
    shrinkage,
)

FIRST, DAYS = 20_000, 84
AS_OF = FIRST + DAYS - 1
WEEK = np.array([1.4, 1.2, 1.0, 1.0, 0.9, 0.8, 0.7])
SPEC = ForecastSpec(horizon=7)


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
    own = DailySeries(AS_OF - 6, parent.values[-7:] * 0.25, name="new")
    found = forecast_column(
        TransferTask(own, parent, tuple(donors(5, 10, 20, 40))), tier=None, spec=SPEC, as_of=AS_OF
    )
    expected = 15 * WEEK[(AS_OF + 1 + np.arange(7)) % 7]
    assert found.parent_used
    assert found.own_weight > 0.9
    assert np.abs(found.prediction.point - expected).mean() < 0.15 * expected.mean()


def test_without_days_of_its_own_siblings_say_the_level() -> None:
    found = forecast_column(
        TransferTask(None, counts(60, seed=1), tuple(donors(8, 10, 12))), tier=None, spec=SPEC, as_of=AS_OF
    )
    assert found.own_weight == 0
    assert found.prediction.point.mean() == pytest.approx(10, rel=0.25)


def test_a_day_of_a_large_entity_weighs_more_than_one_of_a_small() -> None:
    siblings = [one.series for one in donors(4, 8, 16)]
    large = shrinkage(siblings, mine=100, borrowed=8)
    small = shrinkage(siblings, mine=0.5, borrowed=8)
    assert large < 0.2 * small


def test_siblings_alike_are_believed_longer() -> None:
    alike = shrinkage([one.series for one in donors(9, 10, 11)], mine=10, borrowed=10)
    apart = shrinkage([one.series for one in donors(2, 10, 60)], mine=10, borrowed=10)
    assert alike > 3 * apart


def test_nothing_on_its_own_days_is_drawn_to_the_siblings_but_not_to_them() -> None:
    own = DailySeries(AS_OF - 2, np.zeros(3), name="new")
    found = forecast_column(
        TransferTask(own, counts(60, seed=1), tuple(donors(1, 2, 4))), tier=None, spec=SPEC, as_of=AS_OF
    )
    assert 0 < found.prediction.point.mean() < 2


def test_fewer_own_days_give_wider_intervals() -> None:
    parent = counts(60, seed=1)

    def width(days: int) -> float:
        own = DailySeries(AS_OF - days + 1, parent.values[-days:] * 0.5, name="new")
        found = forecast_column(
            TransferTask(own, parent, tuple(donors(20, 30))), tier=None, spec=SPEC, as_of=AS_OF
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
        forecast_column(TransferTask(None, counts(10, seed=1, days=5), ()), tier=None, spec=SPEC, as_of=AS_OF)


def test_a_newcomers_cpl_is_one_of_sums_and_not_the_sum_of_seven() -> None:
    # Everybody buys a lead for 20: leads at random around spend / 20.
    def priced(level: float, *, seed: int, days: int = DAYS) -> tuple[DailySeries, DailySeries]:
        leads = counts(level, seed=seed, days=days)
        spend = 20 * level * WEEK[(leads.first_day + np.arange(days)) % 7]
        return leads, DailySeries(leads.first_day, spend, name="spend")

    own, parent = priced(5, seed=1, days=2), priced(40, seed=2)
    lenders = [priced(level, seed=int(level)) for level in (8.0, 10.0, 14.0)]
    tasks = {
        name: TransferTask(
            own[at], parent[at], tuple(DonorSeries(key, one[at]) for key, one in enumerate(lenders))
        )
        for at, name in enumerate(("leads", "spend"))
    }
    found = forecast_new(tasks, Metric.CPL, tier=None, spec=SPEC, as_of=AS_OF).prediction
    assert found.total == pytest.approx(20, rel=0.15)
    assert found.total_lower < 20 < found.total_upper
    assert np.isfinite(found.point).all()
