"""Histories are prepared as Prophet prepares them, to the last bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_forecasting.models.prophet.design import make_features, make_fold, priors, read_history
from adsml_forecasting.models.prophet.settings import Combination, Seasons
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
    "seasons", [Seasons(), Seasons(yearly=True), Seasons(weekly=False)], ids=["plain", "yearly", "none"]
)
@pytest.mark.parametrize("rows", [12, 40, 85])
@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_folds_are_prophet_s(seasons: Seasons, rows: int, mode: Any) -> None:
    combination = Combination(seasonality_mode=mode, seasonality_prior_scale=0.7)
    model, expected = stan_inputs(seasons, combination, rows)
    history = read_history(frame())
    features = make_features(history, seasons)
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
    by = priors([combination], columns=features.shape[1])
    np.testing.assert_allclose(by.precision[0], 1 / np.asarray(expected.sigmas) ** 2)
    np.testing.assert_array_equal(by.additive[0], expected.s_a)
    np.testing.assert_array_equal(by.multiplicative[0], expected.s_m)
    # The rows after it, as `Prophet.predict` prepares them.
    ahead = model.make_all_seasonality_features(future)[0]
    np.testing.assert_allclose(fold.ahead.x, ahead, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("rows", "yearly", "weekly"), [(14, 0, 0), (15, 0, 6), (730, 0, 6), (731, 20, 6)])
def test_seasons_follow_the_length_as_prophet_s(rows: int, yearly: int, weekly: int) -> None:
    daily = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=rows), "y": np.arange(rows) % 5})
    assert make_features(read_history(daily)).shape[1] == yearly + weekly
    model = Prophet()
    columns = model.preprocess(daily).X
    assert [c for c in columns if c != "zeros"] == [
        *(f"yearly_delim_{i + 1}" for i in range(yearly)),
        *(f"weekly_delim_{i + 1}" for i in range(weekly)),
    ]


def test_weekly_data_have_no_weekly_season() -> None:
    weekly = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=30, freq="7D"), "y": np.arange(30.0)})
    assert make_features(read_history(weekly)).shape[1] == 0


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda f: f.drop(columns="y"), "no column y"),
        (lambda f: f.assign(y=np.inf), "campaign 7.y"),
        (lambda f: f.assign(ds=f["ds"] + pd.Timedelta("1h")), "time of day"),
        (lambda f: f.assign(ds=f["ds"].dt.tz_localize("UTC")), "time zone"),
        (lambda f: f.assign(ds=f["ds"].where(f.index != 3)), "missing date"),
        (lambda f: pd.concat([f, f.iloc[:1].assign(y=1.0)]), "twice"),
        (lambda f: f.assign(y="many"), "can't be read"),
        (lambda f: f.assign(ds="yesterday or so"), "can't be read"),
    ],
    ids=["column", "infinite", "hour", "zone", "no date", "twice", "text", "no dates"],
)
def test_what_is_wrong_is_named(change: Any, path: str) -> None:
    with pytest.raises(InvalidInput, match=path):
        read_history(change(frame()), name="campaign 7")


def test_one_value_is_too_few() -> None:
    short = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=3), "y": [np.nan, 4.0, np.nan]})
    with pytest.raises(InsufficientHistory) as refused:
        read_history(short, name="adset 3")
    assert (refused.value.had, refused.value.needed) == (1, 2)
