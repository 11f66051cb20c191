"""Fits of many combinations to one design, each started where a neighbour ended, and their forecasts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.prophet.compiled import compiled
from adsml_forecasting.models.prophet.newton import maximise
from adsml_forecasting.models.prophet.posterior import (
    Design,
    Fitted,
    Matrix,
    Prior,
    Vector,
    copy,
    curvature,
    multiplies,
    residuals,
)
from adsml_forecasting.models.prophet.settings import Combination

# Far inside Stan's own (its Newton stops when the objective moves by less than 1e-8), so that two starts that
# lead to one maximum give the same forecast to rounding.
TOLERANCE = 1e-10
ITERATIONS = 200


class Priors(NamedTuple):
    """Combinations as the kernel takes them: `Prior` with a leading axis of length C."""

    tau: Vector
    precision: Matrix
    additive: Matrix
    multiplicative: Matrix
    linear: bool


class Ahead(NamedTuple):
    """Rows to forecast: scaled time and regressors, shapes (h,) and (h, K), and what values are divided by."""

    t: Vector
    x: Matrix
    scale: float


class Fits(NamedTuple):
    """Of each combination its estimates ``[m, k, delta, beta]``, forecasts and what `maximise` returns."""

    theta: Matrix
    forecasts: Matrix
    log_posterior: Vector
    sigma: Vector
    status: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]


def warm_starts(combinations: Sequence[Combination]) -> npt.NDArray[np.int64]:
    """Pairs of a combination and the one to start from (-1: none), in the order to fit them, shape (C, 2).

    A chain goes from the tightest seasonal prior to the loosest under one changepoint prior and mode:
    its members share nearly all changepoints in use and differ in smooth coefficients.
    """
    order = sorted(
        range(len(combinations)),
        key=lambda c: (
            combinations[c].seasonality_mode,
            combinations[c].changepoint_prior_scale,
            combinations[c].seasonality_prior_scale,
        ),
    )
    pairs: list[tuple[int, int]] = []
    for place, c in enumerate(order):
        before = order[place - 1] if place else c
        chained = (
            before != c
            and combinations[before].seasonality_mode == combinations[c].seasonality_mode
            and combinations[before].changepoint_prior_scale == combinations[c].changepoint_prior_scale
        )
        pairs.append((c, before if chained else -1))
    return np.array(pairs, np.int64).reshape(-1, 2)


def first_guess(design: Design, *, linear: bool) -> Vector:
    """Where Prophet starts: the line through the first and last value, or their mean; shape (2 + S + K,)."""
    theta = np.zeros(2 + len(design.knots) + design.x.shape[1])
    if linear:
        theta[1] = (design.y[-1] - design.y[0]) / (design.t[-1] - design.t[0])
        theta[0] = design.y[0] - theta[1] * design.t[0]
    else:
        theta[0] = design.y.mean()
    return theta


@compiled
def forecast(theta: Vector, knots: Vector, ahead: Ahead, prior: Prior, out: Vector) -> None:
    """Write the forecast, in the series' own units, to `out`, shape (h,)."""
    n_knots = knots.shape[0]
    for i in range(ahead.t.shape[0]):
        trend = theta[0] + theta[1] * ahead.t[i]
        for s in range(n_knots):
            if knots[s] <= ahead.t[i]:
                trend += theta[2 + s] * (ahead.t[i] - knots[s])
        factor = 1.0
        added = 0.0
        for j in range(ahead.x.shape[1]):
            effect = ahead.x[i, j] * theta[2 + n_knots + j]
            added += prior.additive[j] * effect
            factor += prior.multiplicative[j] * effect
        out[i] = trend * ahead.scale * factor + added * ahead.scale


@compiled
def _fit_grid(design: Design, priors: Priors, starts: npt.NDArray[np.int64], ahead: Ahead, out: Fits) -> None:
    """Fit every combination in the order of `starts`, from there or from where its `theta` is, and forecast with it."""
    n = design.t.shape[0]
    size = out.theta.shape[1]
    gram = np.empty((0, 0))  # shared by all additive combinations, made when the first comes
    for row in range(starts.shape[0]):
        c = starts[row, 0]
        theta = out.theta[c]
        if starts[row, 1] >= 0:
            copy(out.theta[starts[row, 1]], theta)
        prior = Prior(
            priors.tau[c], priors.precision[c], priors.additive[c], priors.multiplicative[c], priors.linear
        )
        if gram.shape[0] == 0 and not multiplies(prior):
            gram = np.empty((size, size))
            fitted = Fitted(np.empty(n), np.empty(n), np.empty(n))
            residuals(theta, design, prior, fitted)
            curvature(design, prior, fitted, False, gram)
        out.log_posterior[c], out.sigma[c], out.status[c], out.steps[c] = maximise(
            theta, design, prior, gram, TOLERANCE, ITERATIONS
        )
        forecast(theta, design.knots, ahead, prior, out.forecasts[c])


def fit_grid(
    design: Design,
    priors: Priors,
    ahead: Ahead,
    *,
    starts: npt.NDArray[np.int64],
    theta: Vector | None = None,
) -> Fits:
    """Fit every combination, in the order and from where `starts` says (`warm_starts`), and forecast with it.

    Combinations without one to start from start at `theta`, or where Prophet does.
    """
    size = len(priors.tau)
    first = first_guess(design, linear=priors.linear) if theta is None else theta
    counts = np.empty(size, np.int64), np.empty(size, np.int64)
    forecasts = np.empty((size, len(ahead.t)))
    out = Fits(np.tile(first, (size, 1)), forecasts, np.empty(size), np.empty(size), *counts)
    _fit_grid(design, priors, starts, ahead, out)
    return out
