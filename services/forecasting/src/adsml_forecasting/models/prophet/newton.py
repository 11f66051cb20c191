"""The maximum of Prophet's log posterior by a proximal Newton method, compiled.

The Laplace prior has a kink at zero, where nearly all changes in growth belong; a smooth method stops beside
it (Stan's L-BFGS ends there in its line search, and the differences of Stan's Newton straddle it). A proximal
Newton step (Lee, Sun & Saunders 2014, "Proximal Newton-type methods for minimizing composite functions",
SIAM J. Optim. 24) minimises the smooth part's quadratic model plus the penalty as it is, so that zeros are
exact, and converges quadratically. The model's Hessian is

    (J'J - sum_i r_i yhat_i'') / v - 2 (J'r)(J'r)' / (v^2 (8 v + n)) + prior precisions

whose second term is what maximising over sigma adds (differentiate ``4 v^2 + n v = SSR``). It can be
indefinite. ``J'J / v`` with the precisions, taken then, cannot, and bounds the objective of an additive model
from above (its logarithm is concave in SSR), so that a full step never fails. A line search on the objective
itself follows in either case.
"""

import math
from typing import NamedTuple

import numpy as np

from adsml_forecasting.models.prophet.posterior import (
    SMALLEST_SIGMA,
    TREND_PRECISION,
    Design,
    Fitted,
    Prior,
    compiled,
    copy,
    curvature,
    negative_log_posterior,
    noise_variance,
    residuals,
    score,
)
from adsml_forecasting.models.prophet.sparse_quadratic import Indices, minimise_sparse_quadratic
from adsml_forecasting.models.series import Matrix, Vector

CONVERGED = 0  # the next step would gain less than the tolerance
ROUNDING = 1  # no step gains anything any more, though the model promises more than the tolerance
UNBOUNDED = 2  # the model passes through every point: the density grows without end as sigma goes to 0
ITERATION_LIMIT = 3

# Far inside Stan's own (its Newton stops when the objective moves by less than 1e-8), so that two starts that
# lead to one maximum give the same forecast to rounding.
_TOLERANCE = 1e-10
_ITERATIONS = 200
_EXACT_FIT = 1e-9  # what Prophet itself calls sigma where it is zero, of a constant series
_ARMIJO = 1e-4
_HALVINGS = 40


@compiled
def _smooth_gradient(
    theta: Vector, slope: Vector, variance: float, base: int, prior: Prior, out: Vector
) -> None:
    """Gradient of all but the penalty, from ``slope = J'r``; seasonal coefficients begin at `base`."""
    for a in range(theta.shape[0]):
        out[a] = -slope[a] / variance
    out[0] += TREND_PRECISION * theta[0]
    out[1] += TREND_PRECISION * theta[1]
    for j in range(base, theta.shape[0]):
        out[j] += prior.precision * theta[j]


@compiled
def _model(
    cross: Matrix, slope: Vector, variance: float, concave: float, base: int, prior: Prior, out: Matrix
) -> None:
    """The quadratic model's Hessian, from `cross` as of `curvature` and the weight of the sigma term."""
    for a in range(slope.shape[0]):
        for b in range(slope.shape[0]):
            out[a, b] = cross[a, b] / variance - concave * slope[a] * slope[b]
    out[0, 0] += TREND_PRECISION
    out[1, 1] += TREND_PRECISION
    for j in range(base, slope.shape[0]):
        out[j, j] += prior.precision


@compiled
def _promise(gradient: Vector, theta: Vector, target: Vector, base: int, prior: Prior) -> float:
    """The change of the objective to first order on the way to `target`: negative."""
    change = 0.0
    for a in range(theta.shape[0]):
        change += gradient[a] * (target[a] - theta[a])
        if 2 <= a < base:
            change += (abs(target[a]) - abs(theta[a])) / prior.tau
    return change


class _Work(NamedTuple):
    """What a fit writes to at every step."""

    fitted: Fitted
    cross: Matrix
    hessian: Matrix
    slope: Vector
    gradient: Vector
    model_gradient: Vector
    target: Vector
    trial: Vector


@compiled
def _search(
    theta: Vector, value: float, promise: float, halvings: int, design: Design, prior: Prior, work: _Work
) -> tuple[bool, float, float]:
    """Halve the step to `target` until the objective falls by a share of what is promised (Armijo's rule).

    Leaves the point in `trial` and `fitted`. Returns whether there is one, its objective and its SSR.
    """
    target, trial = work.target, work.trial
    length = 1.0
    for _ in range(halvings + 1):
        for a in range(theta.shape[0]):
            # The full step is copied, not computed: its zeros are exact.
            trial[a] = target[a] if length == 1.0 else theta[a] + length * (target[a] - theta[a])
        ssr = residuals(trial, design, prior, work.fitted)
        trial_value = negative_log_posterior(trial, ssr, design, prior)
        if trial_value <= value + _ARMIJO * length * promise:
            return True, trial_value, ssr
        length *= 0.5
    return False, value, 0.0


@compiled
def _step(
    theta: Vector,
    value: float,
    ssr: float,
    design: Design,
    prior: Prior,
    smooth: Indices,
    bilinear: bool,
    work: _Work,
) -> tuple[int, float, float]:
    """One Newton step, in place. Returns a status, the objective and SSR.

    `ITERATION_LIMIT` as a status means: not there yet.
    """
    n, base = design.t.shape[0], 2 + design.knots.shape[0]
    variance = noise_variance(ssr, n)
    score(design, prior, work.fitted, work.slope)
    _smooth_gradient(theta, work.slope, variance, base, prior, work.gradient)
    for convex in (False, True):
        if bilinear:
            curvature(design, prior, work.fitted, not convex, work.cross)
        concave = 0.0
        if not convex and variance > SMALLEST_SIGMA * SMALLEST_SIGMA:
            concave = 2.0 / (variance * variance * (8.0 * variance + n))
        _model(work.cross, work.slope, variance, concave, base, prior, work.hessian)
        copy(theta, work.target)
        copy(work.gradient, work.model_gradient)
        if not minimise_sparse_quadratic(
            work.hessian, work.model_gradient, 1.0 / prior.tau, smooth, 2, base, convex, work.target
        ):
            continue
        promise = _promise(work.gradient, theta, work.target, base, prior)
        last_step = promise > -_TOLERANCE * max(1.0, abs(value))
        moved, new_value, new_ssr = _search(
            theta, value, promise, 0 if last_step else _HALVINGS, design, prior, work
        )
        if moved:
            copy(work.trial, theta)
        else:
            new_value, new_ssr = value, ssr
            residuals(theta, design, prior, work.fitted)
        if last_step:
            return CONVERGED, new_value, new_ssr
        if moved:
            # Towards an exact fit each step gains a share of the whole, until residuals are only rounding.
            exact = new_ssr < n * _EXACT_FIT * _EXACT_FIT and value - new_value < 1e-3 * abs(value)
            return UNBOUNDED if exact else ITERATION_LIMIT, new_value, new_ssr
    return ROUNDING, value, ssr


@compiled
def maximise(theta: Vector, design: Design, prior: Prior, gram: Matrix) -> tuple[float, float, int, int]:
    """Move `theta` = ``[m, k, delta, beta]``, shape (P,), in place, to a local maximum of the log posterior.

    Until the next step promises next to nothing beside ``max(1, |log p|)``. `gram` is ``J'J``, shape (P, P), if
    seasons are additive and it is at hand from another fit of the same design; else of shape (0, 0). Returns
    log_posterior, sigma, status, steps.
    """
    n = design.t.shape[0]
    size, n_knots = theta.shape[0], design.knots.shape[0]
    bilinear = prior.multiplicative != 0.0
    smooth = np.empty(size - n_knots, np.int64)  # offset, base rate and seasons: those without a kink
    for j in range(smooth.shape[0]):
        smooth[j] = j if j < 2 else j + n_knots
    # Where nothing multiplies the trend, J'J is the same wherever theta is.
    shared = not bilinear and gram.shape[0] > 0
    work = _Work(
        Fitted(np.empty(n), np.empty(n), np.empty(n)),
        gram if shared else np.empty((size, size)),
        np.empty((size, size)),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
    )
    ssr = residuals(theta, design, prior, work.fitted)
    value = negative_log_posterior(theta, ssr, design, prior)
    if not bilinear and not shared:
        curvature(design, prior, work.fitted, False, work.cross)
    status = ITERATION_LIMIT
    steps = 0
    while steps < _ITERATIONS and status == ITERATION_LIMIT:
        status, value, ssr = _step(theta, value, ssr, design, prior, smooth, bilinear, work)
        steps += 1
    return -value, math.sqrt(noise_variance(ssr, n)), status, steps
