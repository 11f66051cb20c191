"""Histories are prepared as Prophet prepares them, to the last bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_forecasting.models.prophet.design import History, make_features, make_fold
from adsml_forecasting.models.prophet.grid import prior_of
from adsml_forecasting.models.prophet.settings import Combination, Seasons
from adsml_forecasting.models.series import DailySeries
from prophet import Prophet
from prophet.diagnostics import prophet_copy
from support.prophet_stan import prophet_model


def frame(rows: int = 100, *, seed: int = 3) -> pd.DataFrame:
    """Shuffled, with days missing and values missing."""
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "ds": pd.date_range("2023-01-01", periods=rows),
            "y": rng.gamma(2, 10, rows),
        }
    )
    out.loc[rng.choice(rows, 5, replace=False), "y"] = np.nan
    return out.drop(index=[20, 21, 22]).sample(frac=1, random_state=seed)


def known(rows: pd.DataFrame) -> History:
    return History.of(DailySeries.of(rows["ds"], rows["y"]))


def history_of(seasons: Seasons, combination: Combination) -> pd.DataFrame:
    """What `prophet.diagnostics.cross_validation` cuts into folds."""
    whole = prophet_model(seasons, combination)
    whole.preprocess(frame())
    assert whole.history is not None
    return whole.history


def stan_inputs(seasons: Seasons, combination: Combination, rows: int) -> tuple[Prophet, Any]:
    """What Prophet hands to Stan in a fold of its own cross-validation."""
    whole = prophet_model(seasons, combination)
    whole.preprocess(frame())
    history = history_of(seasons, combination)
    fold = prophet_copy(whole, history["ds"].iloc[rows - 1])
    return fold, fold.preprocess(history.iloc[:rows])


@pytest.mark.parametrize(
    "seasons",
    [
        Seasons(yearly=False, weekly=True),
        Seasons(yearly=True, weekly=True),
        Seasons(yearly=False, weekly=False),
    ],
    ids=["plain", "yearly", "none"],
)
@pytest.mark.parametrize("rows", [12, 40, 85])
@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_folds_are_prophet_s(seasons: Seasons, rows: int, mode: Any) -> None:
    combination = Combination(seasonality_mode=mode, seasonality_prior_scale=0.7)
    model, expected = stan_inputs(seasons, combination, rows)
    history = known(frame())
    features = make_features(history.days, seasons)
    fold = make_fold(history, features, rows=rows, ahead=5)
    np.testing.assert_array_equal(fold.design.y, expected.y)
    np.testing.assert_array_equal(fold.design.t, expected.t)
    np.testing.assert_array_equal(fold.design.knots, expected.t_change)
    assert fold.ahead.scale == model.y_scale
    later = history_of(seasons, combination).iloc[rows : rows + 5]
    future = model.setup_dataframe(later.drop(columns="y").copy())
    np.testing.assert_array_equal(fold.ahead.t, future["t"])
    np.testing.assert_array_equal(fold.actual, later["y"])
    if not features.shape[1]:
        return  # Prophet hands Stan a column of zeros then
    np.testing.assert_allclose(fold.design.x, expected.X, rtol=1e-12, atol=1e-14)
    prior = prior_of(combination)
    np.testing.assert_allclose(prior.precision, 1 / np.asarray(expected.sigmas) ** 2)
    np.testing.assert_array_equal(1 - prior.multiplicative, expected.s_a)
    np.testing.assert_array_equal(prior.multiplicative, expected.s_m)
    # The rows after it, as `Prophet.predict` prepares them.
    ahead = model.make_all_seasonality_features(future)[0]
    np.testing.assert_allclose(fold.ahead.x, ahead, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("rows", "yearly", "weekly"), [(14, 0, 0), (15, 0, 6), (730, 0, 6), (731, 20, 6)])
def test_seasons_follow_the_length_as_prophet_s(rows: int, yearly: int, weekly: int) -> None:
    daily = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=rows), "y": np.arange(rows) % 5})
    days = known(daily).days
    assert make_features(days, Seasons.of(days)).shape[1] == yearly + weekly
    model = Prophet()
    columns = model.preprocess(daily).X
    assert [c for c in columns if c != "zeros"] == [
        *(f"yearly_delim_{i + 1}" for i in range(yearly)),
        *(f"weekly_delim_{i + 1}" for i in range(weekly)),
    ]


def test_weekly_data_have_no_weekly_season() -> None:
    weekly = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=30, freq="7D"), "y": np.arange(30.0)})
    assert not Seasons.of(known(weekly).days).weekly
