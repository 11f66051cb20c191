"""The maximum a posteriori (MAP) estimate of Prophet's model, without Stan.

The same density as `prophet.stan`, maximised in compiled code: see `prophet_posterior` for the model and
`prophet_newton` for the method. Linear and flat trends, any mix of additive and multiplicative regressors;
logistic growth and full sampling are left to Stan.
"""

import time
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from adsml_common.domain.errors import Violations

from adsml_forecasting import prophet_newton
from adsml_forecasting.prophet_grid import (
    ITERATIONS,
    TOLERANCE,
    Ahead,
    Priors,
    first_guess,
    fit_grid,
    warm_starts,
)
from adsml_forecasting.prophet_posterior import (
    SIGMA_PRECISION,
    TREND_PRECISION,
    Design,
    Fitted,
    Prior,
    Vector,
    residuals,
)
from adsml_forecasting.prophet_settings import GRID


class MapStatus(StrEnum):
    """How a fit ended.

    `CONVERGED`: the next step promises less than the tolerance. `ROUNDING`: nothing gains anything any more,
    though more is promised. `UNBOUNDED`: the model passes through every point, so that the density has no
    maximum; forecasts are those of that exact fit. `ITERATION_LIMIT`: not done; don't use it.
    """

    CONVERGED = "converged"
    ROUNDING = "rounding"
    UNBOUNDED = "unbounded"
    ITERATION_LIMIT = "iteration_limit"


_STATUS = {
    prophet_newton.CONVERGED: MapStatus.CONVERGED,
    prophet_newton.ROUNDING: MapStatus.ROUNDING,
    prophet_newton.UNBOUNDED: MapStatus.UNBOUNDED,
    prophet_newton.ITERATION_LIMIT: MapStatus.ITERATION_LIMIT,
}


@dataclass(frozen=True, slots=True, eq=False)
class MapEstimate:
    """Where the posterior is largest, under Stan's names.

    Attributes
    ----------
    k, m
        Growth rate and offset, in scaled units.
    delta
        Changes in growth at the changepoints, shape (S,); most are exactly 0.
    beta
        Coefficients of the regressors, shape (K,).
    sigma_obs
        Standard deviation of the noise, in scaled units.
    log_posterior
        Stan's ``lp__``: without the constants that Stan drops.
    status, steps
        How and after how many Newton steps it ended.
    """

    k: float
    m: float
    delta: Vector
    beta: Vector
    sigma_obs: float
    log_posterior: float
    status: MapStatus
    steps: int


def _check(design: Design, prior: Prior) -> None:
    found = Violations()
    rows, regressors = design.x.shape
    if not len(design.y) == len(design.t) == rows >= 2:
        found.add(
            "design",
            f"y, t and x have {len(design.y)}, {len(design.t)} and {rows} rows; expected the same, 2+",
        )
    if len(design.knots) != len(design.starts):
        found.add("design.starts", f"has {len(design.starts)} entries for {len(design.knots)} knots")
    for name in ("precision", "additive", "multiplicative"):
        if len(getattr(prior, name)) != regressors:
            found.add(f"prior.{name}", f"has {len(getattr(prior, name))} entries for {regressors} regressors")
    if not (prior.tau > 0 and np.isfinite(prior.tau)):
        found.add("prior.tau", f"is {prior.tau}; expected a positive number")
    for name in ("y", "t", "knots", "x"):
        if not np.isfinite(getattr(design, name)).all():
            found.add(f"design.{name}", "has a value that is missing or infinite")
    if (np.diff(design.t) < 0).any() or (np.diff(design.knots) < 0).any():
        found.add("design", "t or knots descend; expected ascending")
    found.raise_if_any()


def fit_map(design: Design, prior: Prior, *, start: Vector | None = None) -> MapEstimate:
    """Maximise Prophet's log posterior.

    Parameters
    ----------
    start
        Where to start, ``[m, k, delta_1 .. delta_S, beta_1 .. beta_K]``; if None from the line through the
        ends of the series, as Prophet does. The density is not concave in general (not in sigma, nor in
        trend and multiplicative seasons together): what is found is the maximum that the start leads to.

    Raises
    ------
    InvalidInput
        Shapes that do not fit together, values that are not finite, a `tau` that is not positive.
    """
    _check(design, prior)
    theta = first_guess(design, linear=prior.linear) if start is None else np.array(start, np.float64)
    log_posterior, sigma, status, steps = prophet_newton.maximise(
        theta, design, prior, np.empty((0, 0)), TOLERANCE, ITERATIONS
    )
    knots = len(design.knots)
    return MapEstimate(
        k=float(theta[1]),
        m=float(theta[0]),
        delta=theta[2 : 2 + knots],
        beta=theta[2 + knots :],
        sigma_obs=float(sigma),
        log_posterior=float(log_posterior),
        status=_STATUS[status],
        steps=int(steps),
    )


def log_posterior(theta: Vector, sigma_obs: float, design: Design, prior: Prior) -> float:
    """Stan's ``lp__`` at any coefficients ``[m, k, delta, beta]`` and any sigma."""
    rows = len(design.y)
    knots = len(design.knots)
    fitted = Fitted(np.empty(rows), np.empty(rows), np.empty(rows))
    ssr = residuals(np.asarray(theta, np.float64), design, prior, fitted)
    trend, delta, beta = theta[:2], theta[2 : 2 + knots], theta[2 + knots :]
    return float(
        -rows * np.log(sigma_obs)
        - 0.5 * ssr / sigma_obs**2
        - 0.5 * SIGMA_PRECISION * sigma_obs**2
        - 0.5 * TREND_PRECISION * (trend**2).sum()
        - np.abs(delta).sum() / prior.tau
        - 0.5 * (prior.precision * beta**2).sum()
    )


def warm() -> float:
    """Compile everything, or load it from the cache, so that the first request does not pay for it.

    Run when an image is built, with `NUMBA_CACHE_DIR` in the image, it fills the cache that `compiled`
    reads, from a read-only file system too; run when a process starts, it loads from there.

    Returns
    -------
    float
        Seconds it took.
    """
    began = time.perf_counter()
    rows = 16
    t = np.linspace(0.0, 1.0, rows)
    x = np.ascontiguousarray(np.stack([np.sin(7.0 * t), np.cos(7.0 * t)], axis=1))
    at = np.array([4, 8], np.int64)
    design = Design(0.5 + 0.1 * np.cos(9.0 * t), t, t[at], at, x)
    size = len(GRID)
    times = np.array([[c.seasonality_mode == "multiplicative"] * 2 for c in GRID], np.float64)
    priors = Priors(np.full(size, 0.05), np.ones((size, 2)), 1.0 - times, times, True)
    fit_grid(
        design,
        priors,
        warm_starts(GRID),
        first_guess(design, linear=True),
        Ahead(t[-2:], x[-2:], 1.0, 0.0),
        np.empty((size, 2)),
        np.empty(size),
        np.empty(size, np.int64),
    )
    prior = Prior(0.05, np.ones(2), np.ones(2), np.zeros(2), True)
    estimate = fit_map(design, prior)
    log_posterior(np.zeros(6), estimate.sigma_obs, design, prior)
    return time.perf_counter() - began
