"""Conformal intervals cover what they say; scores agree with their definitions."""

import numpy as np
import pytest
from adsml_forecasting.models.intervals import ResidualQuantiles, interval_scale
from adsml_forecasting.models.origins import Origin, as_forecasts, set_intervals
from adsml_forecasting.models.scores import (
    Forecasts,
    mase_scale,
    measure,
    paired_difference,
    resamples,
    rmsse_scale,
)
from support.forecasting import series


def _forecasts(actual: list[list[float]], point: list[list[float]], **given: object) -> Forecasts:
    a, p = np.array(actual), np.array(point)
    return Forecasts(
        series=np.arange(len(a)),
        actual=a,
        point=p,
        lower=np.asarray(given.get("lower", np.full_like(p, np.nan))),
        upper=np.asarray(given.get("upper", np.full_like(p, np.nan))),
        mase_scale=np.full(len(a), 2.0),
        rmsse_scale=np.full(len(a), 4.0),
    )


def test_exchangeable_residuals_are_covered_at_the_level() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        draws = rng.standard_t(3, size=(120 + 50, 3))
        reach = ResidualQuantiles.of(draws[:120]).reach(0.9, 3)
        inside.append((np.abs(draws[120:]) <= reach).mean())
    # With n = 120 the absolute residual of rank ceil(121 * 0.9) = 109 covers 109/121 = 0.9008 on average.
    assert np.mean(inside) == pytest.approx(109 / 121, abs=0.008)


def test_few_residuals_take_the_largest() -> None:
    assert ResidualQuantiles.of(np.array([[-2.0], [1.0], [3.0]])).reach(0.9, 1) == [3.0]


def test_the_rank_is_exact_where_it_is_whole() -> None:
    # (99 + 1) * 0.9 is 90, and its floating-point product must not be taken for a hair more.
    residuals = np.arange(1.0, 100.0)[:, None]
    for level, rank in ((0.9, 90), (0.7, 70), (0.55, 55)):
        assert ResidualQuantiles.of(residuals).reach(level, 1) == [rank]


def test_the_scale_is_how_far_days_lie_apart_newest_first() -> None:
    assert interval_scale(np.array([5.0, 8.0, 7.0])) == pytest.approx(
        (1 + 3 * 0.5 ** (1 / 14)) / (1 + 0.5 ** (1 / 14))
    )
    # A missing day parts its neighbours, which are compared with each other.
    assert interval_scale(np.array([5.0, np.nan, 8.0])) == 3.0
    # Steps of 10, then of 1: what it does now counts, but never less than a quarter of what it did.
    calm = np.concatenate([np.tile([0.0, 10.0], 30), np.tile([5.0, 6.0], 30)])
    assert 1 < interval_scale(calm) < 5.5
    paused = np.concatenate([np.tile([0.0, 10.0], 20), np.zeros(140)])
    assert interval_scale(paused) == pytest.approx(0.25 * np.abs(np.diff(paused)).mean())


@pytest.mark.parametrize("history", [[7.0], [7.0, 7.0, 7.0], [np.nan, 7.0]])
def test_a_series_that_never_moved_is_scaled_by_its_size(history: list[float]) -> None:
    assert interval_scale(np.array(history)) == 7.0


def test_nothing_known_has_a_scale_to_divide_by() -> None:
    assert interval_scale(np.array([np.nan, np.nan])) == interval_scale(np.zeros(3)) == 1.0


def test_counts_have_no_interval_below_zero() -> None:
    origin = Origin(0, series([1.0, 3.0, 1.0, 3.0]), np.array([2.0]), {})
    found = as_forecasts([origin], [np.array([1.0])])
    set_intervals(found, [origin], np.array([2.0]))
    assert (found.lower[0, 0], found.upper[0, 0]) == (0.0, 5.0)


def test_measures_by_hand() -> None:
    found = measure(_forecasts([[10.0, 0.0, 30.0]], [[12.0, 1.0, 27.0]]), level=0.9)
    assert found.wmape.value == pytest.approx(6 / 40)
    assert found.smape.value == pytest.approx((2 * 2 / 22 + 2 + 2 * 3 / 57) / 3)
    assert found.mase.value == pytest.approx(2 / 2.0)
    assert found.rmsse.value == pytest.approx(np.sqrt((4 + 1 + 9) / 3) / 4.0)
    assert found.mape.value == pytest.approx((0.2 + 0.1) / 2)
    assert found.mape_dropped_share == pytest.approx(1 / 3)


def test_coverage_and_pinball_by_hand() -> None:
    one = _forecasts([[10.0, 20.0]], [[11.0, 20.0]], lower=[[8.0, 21.0]], upper=[[12.0, 25.0]])
    found = measure(one, level=0.9)
    assert found.coverage.value == 0.5
    # q = 0.05, 0.5, 0.95 at (8, 11, 12) for 10 and (21, 20, 25) for 20.
    first = (0.05 * 2 + 0.5 * 1 + 0.05 * 2) / 3
    second = (0.95 * 1 + 0 + 0.05 * 5) / 3
    assert found.pinball.value == pytest.approx((first + second) / 2)
    assert [step.mean_width for step in found.by_horizon] == [4.0, 4.0]


def test_both_zero_is_no_smape_error_and_all_zero_is_no_wmape() -> None:
    found = measure(_forecasts([[0.0, 0.0]], [[0.0, 0.0]]), level=0.9)
    assert found.smape.value == 0
    assert found.wmape.value is None
    assert found.mape.value is None


def test_scales_are_those_of_the_papers() -> None:
    history = np.array([1.0, 2, 3, 4, 5, 6, 7, 3, 4, 5])
    assert mase_scale(series(history)) == pytest.approx(2.0)
    assert rmsse_scale(series([0.0, 3.0, 3.0])) == pytest.approx(np.sqrt(4.5))
    assert np.isnan(mase_scale(series(np.ones(20))))


def test_a_method_against_itself_differs_by_nothing_in_every_resample() -> None:
    rng = np.random.default_rng(2)
    one = _forecasts(rng.uniform(5, 10, (6, 3)).tolist(), rng.uniform(5, 10, (6, 3)).tolist())
    found = paired_difference(one, one, draws=resamples(6, count=50, seed=0))
    assert (found.value, found.lower, found.upper) == (0.0, 0.0, 0.0)
