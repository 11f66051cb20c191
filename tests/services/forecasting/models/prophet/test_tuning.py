"""The tuner answers as a patient search with Prophet's own cross-validation would."""

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from adsml_forecasting.models.origins import RollingOrigin
from adsml_forecasting.models.prophet.design import History, make_features
from adsml_forecasting.models.prophet.settings import DEFAULTS, GRID, Combination, Seasons
from adsml_forecasting.models.prophet.tuning import (
    TuningOutcome,
    forecast_folds,
    tune,
    tune_many,
)
from adsml_forecasting.models.series import DailySeries
from prophet.diagnostics import cross_validation, performance_metrics
from support.prophet_stan import prophet_model

SMALL = tuple(
    Combination(changepoint_prior_scale=c, seasonality_prior_scale=s, seasonality_mode=m)
    for c, s, m in product((0.01, 0.5), (0.05, 5.0), ("additive", "multiplicative"))
)


def series(rows: int, *, seed: int = 0, zeros: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.arange(rows)
    y = (20 + 0.2 * day) * np.exp(0.3 * rng.normal(size=7))[day % 7] * np.exp(rng.normal(0, 0.1, rows))
    y[rng.random(rows) < zeros] = 0
    return pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=rows), "y": y})


def daily(frame: pd.DataFrame, name: str = "series") -> DailySeries:
    return DailySeries.of(frame["ds"], frame["y"], name=name)


def by_prophet(frame: pd.DataFrame, combination: Combination) -> pd.DataFrame:
    """Prophet's own loop, with the compiled backend so that both find the same maximum."""
    model = prophet_model(None, combination).fit(frame)
    return cross_validation(model, horizon="7 days", period="7 days", initial="30 days", disable_tqdm=True)


def test_the_grid_is_the_one_asked_for() -> None:
    assert len(GRID) == 40
    assert len(set(GRID)) == 40
    assert DEFAULTS in GRID
    for name, count in (
        ("changepoint_prior_scale", 5),
        ("seasonality_prior_scale", 4),
        ("seasonality_mode", 2),
    ):
        assert len({getattr(combination, name) for combination in GRID}) == count


def test_forecasts_are_those_of_prophet_s_cross_validation() -> None:
    frame = series(75, zeros=0.1).drop(index=[40, 41, 42])
    frame.loc[50, "y"] = np.nan
    history = History.of(daily(frame))
    cutoffs = RollingOrigin().cutoffs(history.days)
    found = forecast_folds(
        history, make_features(history.days, Seasons.of(history.days)), SMALL, cutoffs, horizon=7
    )
    assert found.not_converged == 0
    for row, combination in enumerate(SMALL):
        expected = by_prophet(frame, combination)
        np.testing.assert_array_equal(found.actual, expected["y"])
        np.testing.assert_array_equal(pd.to_datetime(found.days, unit="D"), expected["ds"])
        np.testing.assert_array_equal(pd.to_datetime(found.cutoffs[found.fold], unit="D"), expected["cutoff"])
        # Warm starts along the grid and single fits end at the same maximum.
        np.testing.assert_allclose(
            found.forecasts[row], expected["yhat"], atol=1e-4 * frame["y"].max(), rtol=0
        )


def test_errors_and_choice_are_those_of_prophet_s_metrics() -> None:
    frame = series(75)
    result = tune(daily(frame), grid=SMALL)
    errors = {}
    for combination in result.combinations:
        table = by_prophet(frame, combination)
        errors[combination] = performance_metrics(table, metrics=["mape"], rolling_window=1)["mape"].item()
    np.testing.assert_allclose(result.errors, list(errors.values()), rtol=1e-4)
    assert result.metric == "mape"
    assert result.outcome is TuningOutcome.TUNED
    assert result.combination == min(errors, key=lambda combination: errors[combination])
    assert result.error == min(result.errors)
    assert result.default_error == result.errors[result.combinations.index(DEFAULTS)]
    assert result.samples == 7 * len(result.cutoffs)
    np.testing.assert_allclose(result.fold_errors.mean(axis=1), result.errors)


def test_zeros_make_it_wmape() -> None:
    frame = series(75, zeros=0.2)
    result = tune(daily(frame), grid=SMALL)
    assert result.metric == "wmape"
    row = result.combinations.index(SMALL[3])
    table = by_prophet(frame, SMALL[3])
    expected = (table["y"] - table["yhat"]).abs().sum() / table["y"].abs().sum()
    assert result.errors[row] == pytest.approx(expected, rel=1e-4)


def test_defaults_are_tried_and_win_ties() -> None:
    frame = series(75)
    result = tune(
        daily(frame), grid=[Combination(changepoint_prior_scale=100.0, seasonality_prior_scale=1e-4)]
    )
    assert result.combinations[-1] == DEFAULTS
    assert result.outcome is TuningOutcome.DEFAULTS_BEST
    assert result.combination == DEFAULTS
    # With no season to scale, as in weekly values, the seasonal prior changes nothing.
    weekly = daily(series(420).iloc[::7])
    same = tune(weekly, grid=[Combination(seasonality_prior_scale=0.01)])
    assert same.errors[0] == pytest.approx(same.errors[1], rel=1e-9)
    assert same.outcome is TuningOutcome.DEFAULTS_BEST


@pytest.mark.parametrize("rows", [1, 2, 30, 37])
def test_too_few_data_say_so(rows: int) -> None:
    result = tune(daily(series(rows)))
    assert result.outcome is TuningOutcome.TOO_FEW_DATA
    assert result.combination == DEFAULTS
    assert f"{rows} days" in result.reason
    assert result.metric is None
    assert np.isnan(result.error)


def test_nothing_but_zeros_has_no_error() -> None:
    result = tune(daily(series(60).assign(y=0.0)))
    assert result.outcome is TuningOutcome.ERROR_UNDEFINED
    assert result.combination == DEFAULTS


def test_a_constant_start_is_repeated_as_prophet_does() -> None:
    frame = series(60)
    frame.loc[:33, "y"] = 12.0
    history = History.of(daily(frame))
    cutoffs = RollingOrigin().cutoffs(history.days)[:1]
    found = forecast_folds(
        history, make_features(history.days, Seasons.of(history.days)), [DEFAULTS], cutoffs, horizon=7
    )
    np.testing.assert_array_equal(found.forecasts, 12.0)
    assert np.isnan(found.log_posterior).all()


def test_neither_threads_nor_company_change_anything() -> None:
    frames = {
        f"series {seed}": daily(series(60 + 7 * seed, seed=seed), f"series {seed}") for seed in range(4)
    }
    together = tune_many(frames, grid=SMALL, threads=3)
    assert list(frames) == list(together)
    for name, frame in frames.items():
        for threads in (1, 4):
            alone = tune(frame, grid=SMALL, threads=threads)
            np.testing.assert_array_equal(alone.fold_errors, together[name].fold_errors)
            np.testing.assert_array_equal(alone.cutoffs, together[name].cutoffs)
            assert alone.combination == together[name].combination


def test_values_of_any_size_are_tuned_alike() -> None:
    frame = series(75)
    usual = tune(daily(frame), grid=SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factor in (1e-6, 1e12):
            scaled = tune(daily(frame.assign(y=frame["y"] * factor)), grid=SMALL)
            np.testing.assert_allclose(scaled.errors, usual.errors, rtol=1e-6)
            assert scaled.combination == usual.combination
