"""Fits of many combinations to one design, each started where a neighbour ended, and their forecasts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.prophet.newton import maximise
from adsml_forecasting.models.prophet.posterior import (
    Design,
    Fitted,
    Prior,
    compiled,
    copy,
    curvature,
    residuals,
)
from adsml_forecasting.models.prophet.settings import Combination
from adsml_forecasting.models.series import Matrix, Vector


class Ahead(NamedTuple):
    """Rows to forecast: scaled time and seasonal terms, shapes (h,) and (h, K), and what values are divided by."""

    t: Vector
    x: Matrix
    scale: float


class Fits(NamedTuple):
    """Of each combination its estimates ``[m, k, delta, beta]``, forecasts, and how `maximise` ended."""

    theta: Matrix
    forecasts: Matrix
    log_posterior: Vector
    status: npt.NDArray[np.int64]


def prior_of(combination: Combination) -> Prior:
    """What the kernel takes of a combination."""
    return Prior(
        combination.changepoint_prior_scale,
        1.0 / combination.seasonality_prior_scale**2,
        float(combination.seasonality_mode == "multiplicative"),
    )


def _warm_starts(combinations: Sequence[Combination]) -> npt.NDArray[np.int64]:
    """Pairs of a combination and the one to start from (-1: none), in the order to fit them, shape (C, 2).

    A chain goes from the tightest seasonal prior to the loosest under one changepoint prior and mode:
    its members share nearly all changepoints in use and differ in smooth coefficients.
    """
    chains = [(one.seasonality_mode, one.changepoint_prior_scale) for one in combinations]
    order = sorted(
        range(len(combinations)), key=lambda c: (*chains[c], combinations[c].seasonality_prior_scale)
    )
    before = [-1, *order[:-1]]
    return np.array(
        [(c, b if b >= 0 and chains[b] == chains[c] else -1) for b, c in zip(before, order, strict=True)],
        np.int64,
    )


def first_guess(design: Design) -> Vector:
    """Where Prophet starts: the line through the first and last value, shape (2 + S + K,)."""
    theta = np.zeros(2 + len(design.knots) + design.x.shape[1])
    theta[1] = (design.y[-1] - design.y[0]) / (design.t[-1] - design.t[0])
    theta[0] = design.y[0] - theta[1] * design.t[0]
    return theta


@compiled
def _forecast(theta: Vector, knots: Vector, ahead: Ahead, multiplicative: float, out: Vector) -> None:
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
            added += (1.0 - multiplicative) * effect
            factor += multiplicative * effect
        out[i] = trend * ahead.scale * factor + added * ahead.scale


@compiled
def _fit_grid(design: Design, priors: Matrix, starts: npt.NDArray[np.int64], ahead: Ahead, out: Fits) -> None:
    """Fit every combination in the order of `starts`, from there or from where its `theta` is, and forecast with it."""
    n = design.t.shape[0]
    size = out.theta.shape[1]
    gram = np.empty((0, 0))  # shared by all additive combinations, made when the first comes
    for row in range(starts.shape[0]):
        c = starts[row, 0]
        theta = out.theta[c]
        if starts[row, 1] >= 0:
            copy(out.theta[starts[row, 1]], theta)
        prior = Prior(priors[c, 0], priors[c, 1], priors[c, 2])
        if gram.shape[0] == 0 and prior.multiplicative == 0.0:
            gram = np.empty((size, size))
            fitted = Fitted(np.empty(n), np.empty(n), np.empty(n))
            residuals(theta, design, prior, fitted)
            curvature(design, prior, fitted, False, gram)
        found = maximise(theta, design, prior, gram)
        out.log_posterior[c], out.status[c] = found[0], found[2]
        _forecast(theta, design.knots, ahead, prior.multiplicative, out.forecasts[c])


def fit_grid(design: Design, combinations: Sequence[Combination], ahead: Ahead) -> Fits:
    """Fit every combination, from where a neighbour ended or Prophet starts, and forecast with it."""
    size = len(combinations)
    theta = np.tile(first_guess(design), (size, 1))
    out = Fits(theta, np.empty((size, len(ahead.t))), np.empty(size), np.empty(size, np.int64))
    priors = np.array([prior_of(one) for one in combinations])
    _fit_grid(design, priors, _warm_starts(combinations), ahead, out)
    return out
