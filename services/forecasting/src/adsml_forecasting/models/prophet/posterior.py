"""Prophet's log posterior, its score and its curvature, compiled.

The model is `stan_model/prophet.stan` of the installed Prophet (Taylor & Letham 2018, "Forecasting at scale",
The American Statistician 72). With scaled time ``t``, scaled values ``y``, hinges at the changepoints
``s_j`` and regressors ``x_j``::

    g(t)    = m + k t + sum_j delta_j (t - s_j)+
    yhat(t) = g(t) (1 + sum_j mul_j beta_j x_j(t)) + sum_j add_j beta_j x_j(t)
    -log p  = n log sigma + SSR / (2 sigma^2) + 2 sigma^2
              + k^2/50 + m^2/50 + sum_j |delta_j| / tau + sum_j beta_j^2 / (2 scale_j^2)

where SSR is the sum of (y - yhat)^2 and constants are dropped as Stan drops them. Coefficients are one vector
``theta = [m, k, delta_1 .. delta_S, beta_1 .. beta_K]``.

``sigma`` is maximised in closed form: it enters through SSR alone, and setting its derivative to zero gives
``4 v^2 + n v - SSR = 0`` for ``v = sigma^2``. What is left is a function of ``theta``.

Hinges are never written out as columns. Moments about a changepoint are carried back in time from one
changepoint to the one before, which costs ``n + S^2`` where products of columns cost ``n S^2``, and adds
terms of one sign only, so that late changepoints lose no digits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from adsml_common import compiled as common

from adsml_forecasting.models.series import Matrix, Vector

_F = TypeVar("_F", bound=Callable[..., Any])

TREND_PRECISION = 1.0 / 25.0  # k ~ normal(0, 5), m ~ normal(0, 5)
SIGMA_PRECISION = 4.0  # sigma_obs ~ normal(0, 0.5)
# Values are scaled to at most 1, so their rounding errors are of this size: there is nothing to learn from
# residuals below, and where the model can pass through every point the posterior has no maximum.
SMALLEST_SIGMA = 1e-16


class Design(NamedTuple):
    """One history as the model sees it. Arrays are C-contiguous.

    `y` and `t` are scaled, shape (n,), time ascending from 0 to 1; `knots` are changepoints in scaled time,
    ascending, and `starts` the index of the first row at or after each, shape (S,); `x` holds seasonal terms,
    shape (n, K).
    """

    y: Vector
    t: Vector
    knots: Vector
    starts: npt.NDArray[np.int64]
    x: Matrix


class Prior(NamedTuple):
    """The choices that are not data.

    `tau` is the scale of the changes' Laplace prior (`changepoint_prior_scale`), `precision` the seasonal coefficients'
    ``1 / scale^2``; `multiplicative` is 1 where seasons multiply the trend, 0 where they are added to it.
    """

    tau: float
    precision: float
    multiplicative: float


class Fitted(NamedTuple):
    """What the model says of each row at some coefficients, shape (n,) each: ``g(t)``, its factor, ``y - yhat``."""

    trend: Vector
    factor: Vector
    residual: Vector


def compiled(function: _F) -> _F:
    """As of `adsml_common.compiled.compiled`: infinity or NaN where a search steps too far, and no check for it."""
    return common.compiled(function, error_model="numpy")


@compiled
def copy(source: Vector, target: Vector) -> None:
    """Copy element by element; compiling an array assignment takes seconds, for its message about shapes."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@compiled
def noise_variance(ssr: float, n: int) -> float:
    """The variance that maximises the posterior at a given sum of squared residuals over `n` rows."""
    # The root of 4 v^2 + n v - ssr, written so that nothing cancels.
    variance = 2.0 * ssr / (n + math.sqrt(n * n + 16.0 * ssr))
    smallest = SMALLEST_SIGMA * SMALLEST_SIGMA
    return variance if variance > smallest else smallest


@compiled
def negative_log_posterior(theta: Vector, ssr: float, design: Design, prior: Prior) -> float:
    """``-log p`` at coefficients whose sum of squared residuals is known, with the best sigma."""
    n, base = design.t.shape[0], 2 + design.knots.shape[0]
    variance = noise_variance(ssr, n)
    value = 0.5 * (n * math.log(variance) + ssr / variance + SIGMA_PRECISION * variance)
    value += 0.5 * TREND_PRECISION * (theta[0] * theta[0] + theta[1] * theta[1])
    for j in range(2, base):
        value += abs(theta[j]) / prior.tau
    for j in range(base, theta.shape[0]):
        value += 0.5 * prior.precision * theta[j] * theta[j]
    return float(value)


@compiled
def residuals(theta: Vector, design: Design, prior: Prior, fitted: Fitted) -> float:
    """Fill `fitted` at `theta` and return the sum of squared residuals."""
    y, t, knots, starts, x = design
    additive, multiplicative = 1.0 - prior.multiplicative, prior.multiplicative
    trend, factor, residual = fitted
    n_knots = knots.shape[0]
    beta = theta[2 + n_knots :]
    offset, slope = theta[0], theta[1]
    ssr = 0.0
    s = 0
    for i in range(t.shape[0]):
        while s < n_knots and starts[s] <= i:
            slope += theta[2 + s]
            offset -= knots[s] * theta[2 + s]
            s += 1
        trend[i] = slope * t[i] + offset
        added = 0.0
        factor[i] = 1.0
        for j in range(x.shape[1]):
            effect = x[i, j] * beta[j]
            added += additive * effect
            factor[i] += multiplicative * effect
        residual[i] = y[i] - (trend[i] * factor[i] + added)
        ssr += residual[i] * residual[i]
    return ssr


@compiled
def score(design: Design, prior: Prior, fitted: Fitted, out: Vector) -> None:
    """Write ``J' r`` to `out`, shape (2 + S + K,): minus half the gradient of SSR.

    ``J`` is the Jacobian of yhat: for a hinge, the hinge times the factor; for a regressor, itself, times
    the trend where it is multiplicative.
    """
    _, t, knots, starts, x = design
    additive, multiplicative = 1.0 - prior.multiplicative, prior.multiplicative
    trend, factor, residual = fitted
    beta = out[2 + knots.shape[0] :]
    for j in range(x.shape[1]):
        beta[j] = 0.0
    end = t.shape[0]
    origin = t[end - 1]
    sum_0 = sum_1 = 0.0  # of factor * residual, and of that times (t - origin), over rows from `end` on
    for s in range(knots.shape[0], -1, -1):  # s = 0: the base rate, a hinge at time 0
        knot = knots[s - 1] if s > 0 else 0.0
        start = starts[s - 1] if s > 0 else 0
        sum_1 += (origin - knot) * sum_0
        origin = knot
        for i in range(start, end):
            r = residual[i]
            sum_0 += factor[i] * r
            sum_1 += factor[i] * r * (t[i] - knot)
            trend_r = trend[i] * r
            for j in range(x.shape[1]):
                beta[j] += x[i, j] * (additive * r + multiplicative * trend_r)
        end = min(end, start)
        out[1 + s] = sum_1
    out[0] = sum_0


@compiled
def curvature(design: Design, prior: Prior, fitted: Fitted, exact: bool, out: Matrix) -> None:
    """Write half the Hessian of SSR to `out`, shape (P, P) with P = 2 + S + K, or its Gauss-Newton part.

    ``J' J - sum_i r_i yhat_i''`` if `exact`, else ``J' J``, which is never indefinite. They differ only between trend
    and multiplicative regressors.
    """
    _, t, knots, starts, x = design
    additive, multiplicative = 1.0 - prior.multiplicative, prior.multiplicative
    trend, factor, residual = fitted
    n_regressors = x.shape[1]
    base = 2 + knots.shape[0]
    column = np.empty(n_regressors)  # of J, at one row
    sum_0 = np.zeros(n_regressors)  # of trend times regressor columns of J, and of that times (t - origin)
    sum_1 = np.zeros(n_regressors)
    out[base:, base:] = 0.0
    w_0 = w_1 = w_2 = 0.0  # of factor^2 times (t - origin)^0, ^1, ^2, over rows from `end` on
    end = t.shape[0]
    origin = t[end - 1]
    for s in range(knots.shape[0], -1, -1):
        knot = knots[s - 1] if s > 0 else 0.0
        start = starts[s - 1] if s > 0 else 0
        step = origin - knot
        w_2 += step * (2.0 * w_1 + step * w_0)
        w_1 += step * w_0
        for a in range(n_regressors):
            sum_1[a] += step * sum_0[a]
        origin = knot
        for i in range(start, end):
            h = t[i] - knot
            weight = factor[i] * factor[i]
            w_0 += weight
            w_1 += weight * h
            w_2 += weight * h * h
            r = residual[i] if exact else 0.0
            for a in range(n_regressors):
                column[a] = x[i, a] * (additive + multiplicative * trend[i])
                cross = factor[i] * column[a] - r * multiplicative * x[i, a]
                sum_0[a] += cross
                sum_1[a] += cross * h
            for a in range(n_regressors):
                for b in range(a + 1):
                    out[base + a, base + b] += column[a] * column[b]
        end = min(end, start)
        out[1 + s, 1 + s] = w_2
        for e in range(s):  # hinges that begin earlier, the base rate among them
            earlier = knots[e - 1] if e > 0 else 0.0
            out[1 + s, 1 + e] = w_2 + (knot - earlier) * w_1
        out[1 + s, 0] = w_1
        for a in range(n_regressors):
            out[base + a, 1 + s] = sum_1[a]
    out[0, 0] = w_0
    for a in range(n_regressors):
        out[base + a, 0] = sum_0[a]
    for a in range(out.shape[0]):
        for b in range(a):
            out[b, a] = out[a, b]
