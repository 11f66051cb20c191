"""Prophet gives the same forecasts on the compiled backend as on Stan, and starts no process."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_forecasting.models.prophet.map import MapStatus
from adsml_forecasting.models.prophet.stan import MapBackend, MapProphet
from prophet import Prophet
from prophet.serialize import model_from_json, model_to_json
from prophet.utilities import warm_start_params

HORIZON = 28


def frame(rows: int = 200, *, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.arange(rows)
    slope = np.where(day < rows // 2, 0.05, -0.02)
    season = 3 * np.sin(2 * np.pi * day / 7) + 2 * np.cos(2 * np.pi * day / 3.5)
    weather = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "ds": pd.date_range("2023-01-01", periods=rows),
            "y": 30 + np.cumsum(slope) + season + 2 * weather + rng.normal(0, 0.5, rows),
            "weather": weather,
            "weekend": day % 7 >= 5,
        }
    )


HOLIDAYS = pd.DataFrame(
    {
        "holiday": "fair",
        "ds": pd.to_datetime(["2023-02-10", "2023-06-10"]),
        "lower_window": -1,
        "upper_window": 1,
    }
)


def additions(model: Prophet, kind: str) -> Prophet:
    if kind == "regressor":
        model.add_regressor("weather", mode="multiplicative")
    if kind == "conditional season":
        model.add_seasonality("working week", 7, 3, condition_name="weekend")
    if kind == "monthly":
        model.add_seasonality("monthly", 30.5, 4, mode="multiplicative")
    return model


MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "multiplicative": {"seasonality_mode": "multiplicative"},
    "holidays": {"holidays": HOLIDAYS},
    "minmax": {"scaling": "minmax"},
    "flat": {"growth": "flat"},
    "no changepoints": {"n_changepoints": 0},
    "given changepoints": {"changepoints": ["2023-03-01", "2023-05-01"]},
    "regressor": {},
    "conditional season": {},
    "monthly": {},
}


@pytest.mark.parametrize("kind", MODELS)
def test_predictions_are_stan_s(kind: str) -> None:
    """To 1% of the scale where Stan came as high, and Stan never comes higher."""
    data = frame()
    settings: dict[str, Any] = {**MODELS[kind], "uncertainty_samples": 0}
    ours = additions(MapProphet(**settings), kind).fit(data)
    stan = additions(Prophet(**settings), kind).fit(data, sig_figs=17)
    assert isinstance(ours.stan_backend, MapBackend)
    assert ours.stan_backend.fallback is None
    high, stan_high = ours.params["lp__"].item(), stan.params["lp__"].item()
    assert stan_high <= high + 1e-6 * abs(high)
    # Stan again, from where we ended: it stays, with the same forecast.
    again = additions(Prophet(**settings), kind).fit(data, init=warm_start_params(ours), sig_figs=17)
    assert again.params["lp__"].item() == pytest.approx(high, rel=1e-6)
    future = frame(200 + HORIZON).drop(columns="y")
    expected = again.predict(future)
    found = ours.predict(future)
    assert list(found.columns) == list(expected.columns)
    assert ours.y_scale is not None
    for column in found.columns.drop("ds"):
        tolerance = 0.01 * (1.0 if "multiplicative" in column else ours.y_scale)
        np.testing.assert_allclose(found[column], expected[column], atol=tolerance, rtol=0, err_msg=column)
    np.testing.assert_allclose(
        ours.params["trend"][0] * ours.y_scale + (ours.y_min if kind == "minmax" else 0),
        found["trend"][:200],
        rtol=1e-9,
    )


def test_intervals_are_drawn_from_the_same_model() -> None:
    data = frame()
    future = pd.DataFrame({"ds": pd.date_range("2023-07-20", periods=HORIZON)})
    widths = []
    for model in (MapProphet(), Prophet()):
        np.random.seed(0)  # Prophet draws from numpy's global generator
        model.fit(data)
        predicted = model.predict(future)
        widths.append((predicted["yhat_upper"] - predicted["yhat_lower"]).mean())
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_no_process_is_started_and_stan_is_not_even_imported() -> None:
    program = """
import subprocess, sys
import numpy as np, pandas as pd
from adsml_forecasting.models.prophet.stan import MapProphet
def refuse(*_args, **_kwargs):
    raise AssertionError("a process was started")
subprocess.Popen.__init__ = refuse
data = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=60), "y": np.arange(60) % 7 + 5.0})
MapProphet().fit(data).predict()
assert "cmdstanpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_logistic_growth_is_stan_s() -> None:
    data = frame(60).assign(cap=60.0)
    model = MapProphet(growth="logistic", uncertainty_samples=0).fit(data)
    assert isinstance(model.stan_backend, MapBackend)
    assert model.stan_backend.fallback == "logistic growth"
    assert model.stan_backend.estimate is None
    assert model.stan_fit is not None
    expected = Prophet(growth="logistic", uncertainty_samples=0).fit(data)
    np.testing.assert_allclose(model.predict(data)["yhat"], expected.predict(data)["yhat"])


def test_options_for_stan_go_to_stan() -> None:
    model = MapProphet(uncertainty_samples=0).fit(frame(60), algorithm="LBFGS")
    assert isinstance(model.stan_backend, MapBackend)
    assert model.stan_backend.fallback == "options for Stan: algorithm"
    model.stan_backend.cleanup()


def test_sampling_is_stan_s() -> None:
    model = MapProphet(mcmc_samples=20, uncertainty_samples=20)
    model.fit(frame(40), chains=1, show_progress=False, seed=1)
    assert isinstance(model.stan_backend, MapBackend)
    assert model.stan_backend.fallback == "full sampling"
    assert model.params["k"].shape == (10,)
    assert np.isfinite(model.predict()["yhat"]).all()


def test_another_backend_can_be_named() -> None:
    model = MapProphet(stan_backend="CMDSTANPY")
    assert model.stan_backend is not None
    assert model.stan_backend.get_type() == "CMDSTANPY"
    with pytest.raises(ValueError, match="Unknown stan backend"):
        MapProphet(stan_backend="PYSTAN")


def test_warm_start_from_an_earlier_fit() -> None:
    data = frame()
    first = MapProphet(uncertainty_samples=0).fit(data.iloc[:-1])
    cold = MapProphet(uncertainty_samples=0).fit(data)
    warm = MapProphet(uncertainty_samples=0).fit(data, init=warm_start_params(first))
    assert isinstance(warm.stan_backend, MapBackend)
    assert warm.stan_backend.estimate is not None
    assert warm.stan_backend.estimate.status is MapStatus.CONVERGED
    np.testing.assert_allclose(warm.predict()["yhat"], cold.predict()["yhat"], rtol=1e-6)


def test_stored_as_prophet_s_own_json() -> None:
    model = MapProphet(uncertainty_samples=0).fit(frame())
    future = pd.DataFrame({"ds": pd.date_range("2023-07-20", periods=HORIZON)})
    loaded = model_from_json(model_to_json(model))
    np.testing.assert_allclose(loaded.predict(future)["yhat"], model.predict(future)["yhat"], rtol=1e-9)
