"""The compiled posterior is Stan's: values and gradients come from the Stan program that Prophet ships."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from adsml_forecasting.models.prophet.posterior import (
    Design,
    Fitted,
    Prior,
    curvature,
    negative_log_posterior,
    noise_variance,
    residuals,
    score,
)
from prophet import Prophet
from prophet.models import CmdStanPyBackend
from support.prophet_map import log_posterior
from support.prophet_stan import design_and_prior

ROWS = 60


def frame(rows: int = ROWS, *, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.arange(rows)
    return pd.DataFrame(
        {
            "ds": pd.date_range("2024-01-01", periods=rows),
            "y": 20 + 0.1 * day + 3 * np.sin(2 * np.pi * day / 7) + rng.normal(0, 2, rows),
        }
    )


MODELS: dict[str, dict[str, Any]] = {
    "additive": {},
    "multiplicative": {"seasonality_mode": "multiplicative", "changepoint_prior_scale": 0.5},
    "yearly": {"seasonality_prior_scale": 0.5, "yearly_seasonality": 2},
    "no changepoints": {"n_changepoints": 0},
    "changepoints between days and on the last": {
        "changepoints": ["2024-01-05 06:00", "2024-01-05 18:00", "2024-02-29 00:00"]
    },
    "no regressors": {"weekly_seasonality": False},
}


def stan_data(kind: str) -> dict[str, Any]:
    return dataclasses.asdict(Prophet(**MODELS[kind]).preprocess(frame()))


def random_theta(design: Design, seed: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    size = 2 + len(design.knots) + design.x.shape[1]
    return rng.normal(0, 0.3, size)


@pytest.mark.parametrize("kind", MODELS)
def test_log_posterior_is_stan_s(kind: str) -> None:
    data = stan_data(kind)
    design, prior = design_and_prior(data)
    knots = len(design.knots)
    backend = CmdStanPyBackend()
    for seed, sigma in ((0, 0.02), (1, 0.3), (2, 2.0)):
        theta = random_theta(design, seed)
        point = {
            "k": theta[1],
            "m": theta[0],
            "delta": theta[2 : 2 + knots],
            "beta": theta[2 + knots :],
            "sigma_obs": sigma,
        }
        start, prepared = backend.prepare_data(point, data)
        stan = backend.model.log_prob(start, prepared, jacobian=False, sig_figs=17)
        assert log_posterior(theta, sigma, design, prior) == pytest.approx(stan["lp__"].item(), rel=1e-11)


def at(design: Design, prior: Prior, theta: npt.NDArray[np.float64]) -> tuple[float, Fitted]:
    fitted = Fitted(*(np.empty(len(design.y)) for _ in range(3)))
    return residuals(theta, design, prior, fitted), fitted


@pytest.mark.parametrize(
    "kind", ["additive", "multiplicative", "yearly", "changepoints between days and on the last"]
)
def test_score_and_curvature_are_derivatives(kind: str) -> None:
    design, prior = design_and_prior(stan_data(kind))
    theta = random_theta(design, 3)
    size = len(theta)
    _, fitted = at(design, prior, theta)
    analytic, plus, minus = (np.empty(size) for _ in range(3))
    exact = np.empty((size, size))
    score(design, prior, fitted, analytic)
    curvature(design, prior, fitted, True, exact)
    step = 1e-5
    numeric = np.empty(size)
    numeric_curvature = np.empty((size, size))
    for j in range(size):
        moved = np.eye(size)[j] * step
        up, fitted_up = at(design, prior, theta + moved)
        down, fitted_down = at(design, prior, theta - moved)
        numeric[j] = -(up - down) / (4 * step)  # the score is minus half the gradient of SSR
        score(design, prior, fitted_up, plus)
        score(design, prior, fitted_down, minus)
        numeric_curvature[:, j] = -(plus - minus) / (2 * step)
    np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(exact, numeric_curvature, rtol=1e-6, atol=1e-6)


def test_gauss_newton_curvature_is_never_indefinite() -> None:
    design, prior = design_and_prior(stan_data("multiplicative"))
    theta = random_theta(design, 4)
    _, fitted = at(design, prior, theta)
    out = np.empty((len(theta), len(theta)))
    curvature(design, prior, fitted, False, out)
    values = np.linalg.eigvalsh(out)
    assert values.min() > -1e-12 * values.max()
    np.testing.assert_array_equal(out, out.T)


@pytest.mark.parametrize("ssr", [1e-12, 1e-3, 1.0, 1e4])
def test_noise_variance_maximises_the_posterior(ssr: float) -> None:
    design, prior = design_and_prior(stan_data("additive"))
    theta = np.zeros(2 + len(design.knots) + design.x.shape[1])
    best = noise_variance(ssr, ROWS)
    value = negative_log_posterior(theta, ssr, design, prior)

    def at_variance(variance: float) -> float:  # the terms of prophet.stan that hold sigma
        return 0.5 * (ROWS * np.log(variance) + ssr / variance + 4 * variance)

    assert value == pytest.approx(at_variance(best), rel=1e-12)
    assert at_variance(best) <= min(at_variance(best * 1.001), at_variance(best / 1.001))
