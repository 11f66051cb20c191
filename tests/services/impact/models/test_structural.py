"""The structural model against the Gaussian it is, and on series without anybody to compare with."""

import numpy as np
import pytest
from adsml_impact.models.design import Design
from adsml_impact.models.own_past import compare_with_own_past
from adsml_impact.models.structural import CAUSAL_IMPACT, _filter, forecast
from scipy import stats
from support.impact import make_panel


def test_filter_has_the_likelihood_of_the_joint_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    y, X, noise, level = rng.normal(size=12), rng.normal(size=(12, 2)), 0.7, 0.2

    likelihood = _filter(y, X, noise, level, np.zeros(3), np.zeros((3, 3)), np.zeros(12))

    # Prior: level N(y_0, 1), coefficients N(0, 1); then a random walk.
    steps = np.minimum.outer(np.arange(12), np.arange(12))
    covariance = 1.0 + level * steps + X @ X.T + noise * np.eye(12)
    expected = stats.multivariate_normal(np.full(12, y[0]), covariance).logpdf(y)
    assert likelihood + 0.5 * 12 * -np.log(2 * np.pi) == pytest.approx(expected)


def test_white_noise_is_forecast_by_its_mean() -> None:
    y = np.random.default_rng(1).normal(50, 5, 60)

    found = forecast(y, horizon=30, priors=CAUSAL_IMPACT)

    assert found.window_mean == pytest.approx(y.mean(), abs=1.0)
    assert found.window_sd == pytest.approx(5 * np.sqrt(1 / 30 + 1 / 60), rel=0.35)


def test_a_random_walk_is_forecast_by_where_it_stands() -> None:
    y = np.cumsum(np.random.default_rng(2).normal(0, 1, 80))

    found = forecast(y, horizon=7)

    assert found.mean[0] == pytest.approx(y[-1], abs=0.5)
    # Mean of a walk over the next 7 days: variance sum(min(h, h')) / 49 = 20/7.
    assert found.window_sd == pytest.approx(np.sqrt(20 / 7), rel=0.35)
    assert (np.diff(found.sd) > 0).all()


def test_units_do_not_matter() -> None:
    y = np.random.default_rng(3).normal(50, 5, 40)
    one, other = forecast(y, horizon=7), forecast(1000 * y + 7, horizon=7)
    assert other.window_mean == pytest.approx(1000 * one.window_mean + 7)
    assert other.window_sd == pytest.approx(1000 * one.window_sd)


def test_a_series_that_does_not_vary_is_refused() -> None:
    with pytest.raises(ValueError, match="does not vary"):
        forecast(np.full(10, 3.0), horizon=3)


def test_a_large_jump_is_found_and_none_is_not() -> None:
    Y = make_panel(4, units=1, days=110)
    jumped = Y.copy()
    jumped[0, 103:] *= 3

    nothing = compare_with_own_past(Y, None, Design(change=103))
    something = compare_with_own_past(jumped, None, Design(change=103))

    assert nothing is not None
    assert something is not None
    assert nothing.p_value > 0.05
    assert something.p_value < 0.01


def test_a_regressor_takes_the_market_away() -> None:
    Y = make_panel(5, units=2, days=110, noise=0.02)
    Y[:, 103:] *= 1.6

    alone = compare_with_own_past(Y[:1], None, Design(change=103))
    with_one = compare_with_own_past(Y, None, Design(change=103))

    assert alone is not None
    assert with_one is not None
    assert alone.tau > 0.4
    assert abs(with_one.tau) < 0.5 * alone.tau
