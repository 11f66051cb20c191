"""The maximum a posteriori estimate of Prophet's model by the compiled kernel, as tests ask for it and hold it to Stan's."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from adsml_common.domain.errors import Violations
from adsml_forecasting.models.prophet import newton
from adsml_forecasting.models.prophet.grid import first_guess
from adsml_forecasting.models.prophet.posterior import SIGMA_PRECISION, TREND_PRECISION, Design, Prior
from adsml_forecasting.models.series import Vector


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
    newton.CONVERGED: MapStatus.CONVERGED,
    newton.ROUNDING: MapStatus.ROUNDING,
    newton.UNBOUNDED: MapStatus.UNBOUNDED,
    newton.ITERATION_LIMIT: MapStatus.ITERATION_LIMIT,
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


def _check(design: Design, prior: Prior, start: Vector | None) -> None:
    found = Violations()
    rows, regressors = design.x.shape
    if not len(design.y) == len(design.t) == rows >= 2:
        lengths = f"{len(design.y)}, {len(design.t)} and {rows}"
        found.add("design", f"y, t and x have {lengths} rows; expected the same number, at least 2")
    if len(design.knots) != len(design.starts):
        found.add("design.starts", f"has {len(design.starts)} entries for {len(design.knots)} knots")
    size = 2 + len(design.knots) + regressors
    if start is not None and start.shape != (size,):
        found.add("start", f"is of shape {start.shape}; expected ({size},)")
    if not (prior.tau > 0 and np.isfinite(prior.tau)):
        found.add("prior.tau", f"is {prior.tau}; expected a positive number")
    for name in ("y", "t", "knots", "x"):
        if not np.isfinite(getattr(design, name)).all():
            found.add(f"design.{name}", "has a value that is missing or infinite")
    if (np.diff(design.t) < 0).any() or (np.diff(design.knots) < 0).any():
        found.add("design", "t or knots descend; expected ascending")
    found.raise_if_any()


def fit_map(design: Design, prior: Prior, *, start: Vector | None = None) -> MapEstimate:
    """The maximum of Prophet's log posterior that `start` leads to, ``[m, k, delta, beta]``; else where Prophet starts.

    The density is not concave in general: not in sigma, nor in trend and multiplicative seasons together.
    """
    _check(design, prior, start)
    theta = first_guess(design) if start is None else start.copy()
    value, sigma, status, steps = newton.maximise(theta, design, prior, np.empty((0, 0)))
    base = 2 + len(design.knots)
    return MapEstimate(
        k=float(theta[1]),
        m=float(theta[0]),
        delta=theta[2:base],
        beta=theta[base:],
        sigma_obs=float(sigma),
        log_posterior=float(value),
        status=_STATUS[int(status)],
        steps=int(steps),
    )


def log_posterior(theta: Vector, sigma_obs: float, design: Design, prior: Prior) -> float:
    """Stan's ``lp__`` at any coefficients ``[m, k, delta, beta]`` and any sigma, as prophet.stan reads."""
    base = 2 + len(design.knots)
    m, k, delta, beta = theta[0], theta[1], theta[2:base], theta[base:]
    trend = m + k * design.t + np.maximum(design.t[:, None] - design.knots, 0.0) @ delta
    factor = 1.0 + design.x @ (prior.multiplicative * beta)
    residual = design.y - trend * factor - design.x @ ((1 - prior.multiplicative) * beta)
    return float(
        -len(design.y) * np.log(sigma_obs)
        - 0.5 * (residual**2).sum() / sigma_obs**2
        - 0.5 * SIGMA_PRECISION * sigma_obs**2
        - 0.5 * TREND_PRECISION * (k**2 + m**2)
        - np.abs(delta).sum() / prior.tau
        - 0.5 * (prior.precision * beta**2).sum()
    )
