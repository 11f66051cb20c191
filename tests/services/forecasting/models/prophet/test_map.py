"""The MAP estimate is a maximum of Stan's posterior, by Stan's own gradient and Stan's own optimiser."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from prophet import Prophet
from prophet.models import CmdStanPyBackend
from support.prophet_map import MapEstimate, MapStatus, fit_map, log_posterior
from support.prophet_stan import design_and_prior


def simulated(kind: str, rows: int, *, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.arange(rows)
    week = np.exp(0.2 * rng.normal(size=7))[day % 7]
    y = 30 * np.exp(np.cumsum(rng.normal(0, 0.02, rows))) * week * np.exp(rng.normal(0, 0.3, rows))
    if kind == "zeros and jumps":
        y[rows // 3 :] *= 2.5
        y[2 * rows // 3 :] /= 4
        y[rng.random(rows) < 0.3] = 0
    if kind == "one value differs":
        y = np.full(rows, 5.0)
        y[rows // 2] = 6.0
    if kind == "nearly constant":
        y = 5 + 1e-6 * rng.normal(size=rows)
    if kind == "step":
        y = np.where(day < rows // 2, 10.0, 13.0) + rng.normal(0, 0.2, rows)
    if kind == "negative":
        y = -y
    return pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=rows), "y": y})


def prepared(frame: pd.DataFrame, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    model = Prophet(**settings)
    data = dataclasses.asdict(model.preprocess(frame))
    return data, dataclasses.asdict(model.calculate_initial_params(data["K"]))


def as_stan(estimate: MapEstimate) -> dict[str, Any]:
    return {name: getattr(estimate, name) for name in ("k", "m", "delta", "beta", "sigma_obs")}


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"seasonality_mode": "multiplicative"},
    {"changepoint_prior_scale": 0.001, "seasonality_prior_scale": 0.01},
    {"changepoint_prior_scale": 0.5, "seasonality_mode": "multiplicative"},
    {"yearly_seasonality": True, "seasonality_mode": "multiplicative"},
)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(
    ("kind", "rows"),
    [("cpl", 120), ("zeros and jumps", 60), ("step", 45), ("negative", 90), ("one value differs", 50)],
)
def test_stan_s_gradient_vanishes_but_for_the_kinks(kind: str, rows: int, settings: dict[str, Any]) -> None:
    data, _ = prepared(simulated(kind, rows), **settings)
    estimate = fit_map(*design_and_prior(data))
    assert estimate.status is MapStatus.CONVERGED
    backend = CmdStanPyBackend()
    start, json_data = backend.prepare_data(as_stan(estimate), data)
    stan = backend.model.log_prob(start, json_data, jacobian=False, sig_figs=17).iloc[0]
    assert estimate.log_posterior == pytest.approx(stan["lp__"], rel=1e-9)
    # In units of what a coefficient's own prior and noise allow: a step of gradient / curvature would gain
    # gradient^2 / (2 curvature) of log posterior, and curvature is at least 1 / 25.
    tolerance = 1e-3 / estimate.sigma_obs
    kink = 1 / data["tau"]
    delta = np.array([stan[f"g_delta.{j + 1}"] for j in range(data["S"])])
    zero = estimate.delta == 0
    # Stan's derivative of |delta| at 0 is 0, so there its gradient is that of the rest alone.
    assert (np.abs(delta[zero]) <= kink + tolerance).all()
    np.testing.assert_allclose(delta[~zero], 0, atol=tolerance)
    others = ["g_m", "g_k", "g_sigma_obs", *(f"g_beta.{j + 1}" for j in range(data["K"]))]
    np.testing.assert_allclose(stan[others].to_numpy(float), 0, atol=tolerance)


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
@pytest.mark.parametrize(("kind", "rows"), [("cpl", 120), ("zeros and jumps", 60), ("nearly constant", 60)])
def test_stan_finds_nothing_better(kind: str, rows: int, settings: dict[str, Any]) -> None:
    """Neither from where Prophet starts nor from our maximum."""
    data, init = prepared(simulated(kind, rows), **settings)
    estimate = fit_map(*design_and_prior(data))
    backend = CmdStanPyBackend()
    slack = 1e-6 * max(1.0, abs(estimate.log_posterior))
    for start in (init, as_stan(estimate)):
        stan = backend.fit(start, data, sig_figs=17)
        assert stan["lp__"].item() <= estimate.log_posterior + slack


def test_starting_elsewhere_ends_at_the_same_maximum() -> None:
    data, _ = prepared(simulated("cpl", 120), changepoint_prior_scale=0.1)
    design, prior = design_and_prior(data)
    from_prophet = fit_map(design, prior)
    rng = np.random.default_rng(0)
    for _ in range(5):
        start = rng.normal(0, 0.5, 2 + len(design.knots) + design.x.shape[1])
        again = fit_map(design, prior, start=start)
        assert again.log_posterior == pytest.approx(from_prophet.log_posterior, rel=1e-9)
        np.testing.assert_allclose(again.beta, from_prophet.beta, atol=1e-5)


def test_estimate_s_log_posterior_is_that_of_its_coefficients() -> None:
    data, _ = prepared(simulated("step", 45))
    design, prior = design_and_prior(data)
    estimate = fit_map(design, prior)
    theta = np.concatenate([[estimate.m, estimate.k], estimate.delta, estimate.beta])
    assert log_posterior(theta, estimate.sigma_obs, design, prior) == pytest.approx(estimate.log_posterior)


def test_a_straight_line_has_no_maximum_and_is_fitted_exactly() -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=40), "y": 5 + 0.1 * np.arange(40)})
    data, _ = prepared(frame)
    design, prior = design_and_prior(data)
    estimate = fit_map(design, prior)
    assert estimate.status is MapStatus.UNBOUNDED
    assert np.isfinite(estimate.log_posterior)
    trend = (
        estimate.m + estimate.k * design.t + np.maximum(0, design.t[:, None] - design.knots) @ estimate.delta
    )
    np.testing.assert_allclose(trend + design.x @ estimate.beta, design.y, atol=1e-12)


def test_bad_designs_are_refused_all_at_once() -> None:
    data, _ = prepared(simulated("cpl", 40))
    design, prior = design_and_prior(data)
    broken = design.y.copy()
    broken[3] = np.nan
    with pytest.raises(InvalidInput) as refused:
        fit_map(design._replace(y=broken, t=design.t[::-1].copy()), prior._replace(tau=0.0))
    assert {violation.path for violation in refused.value.violations} == {"prior.tau", "design.y", "design"}
