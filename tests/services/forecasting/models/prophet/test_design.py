"""Histories are prepared as Prophet prepares them, to the last bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_forecasting.models.prophet.design import make_features, make_fold, read_history
from adsml_forecasting.models.prophet.settings import Combination, ProphetSettings, Regressor
from prophet import Prophet
from prophet.diagnostics import prophet_copy
from support.prophet_stan import prophet_model

HOLIDAYS = pd.DataFrame(
    {
        "holiday": ["payday", "payday", "fair"],
        "ds": pd.to_datetime(["2023-01-31", "2023-02-28", "2023-03-10"]),
        "lower_window": -1,
        "upper_window": 1,
        "prior_scale": [3.0, 3.0, np.nan],
    }
)
REGRESSORS = (
    Regressor(name="weather", mode="multiplicative"),
    Regressor(name="sale", prior_scale=0.5),
)


def frame(rows: int = 100, *, seed: int = 3) -> pd.DataFrame:
    """Shuffled, with days missing and values missing; `late` does not vary in the first half."""
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "ds": pd.date_range("2023-01-01", periods=rows),
            "y": rng.gamma(2, 10, rows),
            "weather": rng.normal(5, 3, rows),
            "sale": (rng.random(rows) < 0.3).astype(float),
            "late": np.maximum(0, np.arange(rows) - rows // 2) / 7,
        }
    )
    out.loc[rng.choice(rows, 5, replace=False), "y"] = np.nan
    return out.drop(index=[20, 21, 22]).sample(frac=1, random_state=seed)


def history_of(settings: ProphetSettings, combination: Combination) -> pd.DataFrame:
    """What `prophet.diagnostics.cross_validation` cuts into folds."""
    whole = prophet_model(settings, combination)
    whole.preprocess(frame())
    assert whole.history is not None
    return whole.history


def stan_inputs(settings: ProphetSettings, combination: Combination, rows: int) -> tuple[Prophet, Any]:
    """What Prophet hands to Stan in a fold of its own cross-validation."""
    whole = prophet_model(settings, combination)
    whole.preprocess(frame())
    history = history_of(settings, combination)
    fold = prophet_copy(whole, history["ds"].iloc[rows - 1])
    fold.scaling = settings.scaling  # which Prophet forgets
    return fold, fold.preprocess(history.iloc[:rows])


@pytest.mark.parametrize(
    "settings",
    [
        ProphetSettings(),
        ProphetSettings(scaling="minmax", yearly_seasonality=3, weekly_seasonality=2),
        ProphetSettings(holidays=HOLIDAYS, holidays_mode="multiplicative"),
        ProphetSettings(regressors=REGRESSORS, holidays=HOLIDAYS),
        ProphetSettings(growth="flat", n_changepoints=4, changepoint_range=0.5),
        ProphetSettings(n_changepoints=0),
    ],
    ids=["plain", "minmax", "holidays", "regressors", "flat", "no changepoints"],
)
@pytest.mark.parametrize("rows", [12, 40, 85])
@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_folds_are_prophet_s(settings: ProphetSettings, rows: int, mode: Any) -> None:
    combination = Combination(seasonality_mode=mode, seasonality_prior_scale=0.7)
    model, expected = stan_inputs(settings, combination, rows)
    history = read_history(frame(), settings)
    features = make_features(history, settings)
    fold = make_fold(history, features, settings, rows=rows, ahead=5)
    np.testing.assert_array_equal(fold.design.y, expected.y)
    np.testing.assert_array_equal(fold.design.t, expected.t)
    np.testing.assert_array_equal(fold.design.knots, expected.t_change)
    # Prophet scales a fold's regressors once scaled for the whole history: the same but for rounding.
    np.testing.assert_allclose(fold.design.x, expected.X, rtol=1e-12, atol=1e-14)
    assert fold.ahead.scale == model.y_scale
    priors = features.priors([combination], linear=True)
    np.testing.assert_allclose(priors.precision[0], 1 / np.asarray(expected.sigmas) ** 2)
    np.testing.assert_array_equal(priors.additive[0], expected.s_a)
    np.testing.assert_array_equal(priors.multiplicative[0], expected.s_m)
    # The rows after it, as `Prophet.predict` prepares them.
    later = history_of(settings, combination).iloc[rows : rows + 5]
    future = model.setup_dataframe(later.drop(columns="y").copy())
    np.testing.assert_array_equal(fold.ahead.t, future["t"])
    np.testing.assert_allclose(
        fold.ahead.x, model.make_all_seasonality_features(future)[0], rtol=1e-12, atol=1e-14
    )
    np.testing.assert_array_equal(fold.actual, later["y"])


def test_a_regressor_that_has_not_varied_yet_is_scaled_as_on_the_whole_history() -> None:
    settings = ProphetSettings(regressors=(Regressor(name="late"),))
    history = read_history(frame(), settings)
    fold = make_fold(history, make_features(history, settings), settings, rows=40, ahead=50)
    late = history.regressors[:, 0]
    expected = (late - late.mean()) / late.std(ddof=1)
    np.testing.assert_allclose(fold.design.x[:, -1], expected[:40])
    np.testing.assert_allclose(fold.ahead.x[:, -1], expected[40:90])


@pytest.mark.parametrize(("rows", "yearly", "weekly"), [(14, 0, 0), (15, 0, 6), (730, 0, 6), (731, 20, 6)])
def test_seasons_follow_the_length_as_prophet_s(rows: int, yearly: int, weekly: int) -> None:
    daily = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=rows), "y": np.arange(rows) % 5})
    settings = ProphetSettings()
    features = make_features(read_history(daily, settings), settings)
    assert features.x.shape[1] == yearly + weekly
    model = Prophet()
    columns = model.preprocess(daily).X
    assert [c for c in columns if c != "zeros"] == [
        *(f"yearly_delim_{i + 1}" for i in range(yearly)),
        *(f"weekly_delim_{i + 1}" for i in range(weekly)),
    ]


def test_weekly_data_have_no_weekly_season() -> None:
    weekly = pd.DataFrame({"ds": pd.date_range("2021-01-01", periods=30, freq="7D"), "y": np.arange(30.0)})
    settings = ProphetSettings()
    assert make_features(read_history(weekly, settings), settings).x.shape[1] == 0


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
        (lambda f: f.assign(weather=np.nan), "campaign 7.weather"),
    ],
    ids=["column", "infinite", "hour", "zone", "no date", "twice", "text", "no dates", "regressor"],
)
def test_what_is_wrong_is_named(change: Any, path: str) -> None:
    settings = ProphetSettings(regressors=(Regressor(name="weather"),))
    with pytest.raises(InvalidInput, match=path):
        read_history(change(frame()), settings, name="campaign 7")


def test_one_value_is_too_few() -> None:
    short = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=3), "y": [np.nan, 4.0, np.nan]})
    with pytest.raises(InsufficientHistory) as refused:
        read_history(short, ProphetSettings(), name="adset 3")
    assert (refused.value.had, refused.value.needed) == (1, 2)


def test_settings_out_of_range_are_refused_all_at_once() -> None:
    bad: dict[str, Any] = {
        "growth": "logistic",
        "n_changepoints": -1,
        "changepoint_range": 1.5,
        "scaling": "max",
        "weekly_seasonality": "yes",
        "holidays_prior_scale": 0.0,
        "holidays": pd.DataFrame({"day": []}),
        "regressors": (Regressor(name="a", prior_scale=-1.0), Regressor(name="a")),
    }
    with pytest.raises(InvalidInput) as refused:
        ProphetSettings(**bad)
    assert {violation.path for violation in refused.value.violations} == {
        *(set(bad) - {"regressors"}),
        "regressors[0].prior_scale",
        "regressors[1].name",
    }


def test_holidays_with_two_scales_are_refused() -> None:
    twice = HOLIDAYS.assign(prior_scale=[1.0, 2.0, 3.0])
    settings = ProphetSettings(holidays=twice)
    with pytest.raises(InvalidInput, match="holidays"):
        make_features(read_history(frame(), settings), settings)
