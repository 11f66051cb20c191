"""Structural time series: a wandering level and static regression, for when there is nobody to compare with.

    y_t = mu_t + beta' x_t + eps_t,      eps_t ~ N(0, sigma_eps^2)
    mu_t = mu_(t-1) + eta_t,             eta_t ~ N(0, sigma_eta^2)

The local level model of Brodersen, Gallusser, Koehler, Remy and Scott (2015), *Inferring causal impact using
Bayesian structural time-series models*, Annals of Applied Statistics 9(1):247-274, with inverse gamma priors
on both variances. Given the two variances everything is Gaussian and the Kalman filter is exact; the two are
integrated out on a grid, so that the posterior needs no sampling and no seed.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import FloatArray

Priors: TypeAlias = tuple[float, float, float, float]
"""Inverse gamma priors of the two variances, in units of the outcome's variance before the change: a guess of sigma_eta
and its weight in observations, a guess of sigma_eps^2 and its weight."""
CAUSAL_IMPACT: Final[Priors] = (0.01, 32.0, 0.2, 50.0)
"""The defaults of the R packages CausalImpact and bsts (prior.level.sd 0.01, expected R^2 0.8)."""
WEAK: Final[Priors] = (0.1, 1.0, 0.5, 1.0)
"""One observation's worth each: a daily series of its own, whose level does wander."""

_LOG_NOISE: Final = (float(np.log(1e-4)), float(np.log(2.0)))
_LOG_LEVEL: Final = (float(np.log(1e-7)), 0.0)
_NODES: Final = 15
_NEGLIGIBLE: Final = 1e-4
_COEFFICIENT_VARIANCE: Final = 1.0
_LEVEL_VARIANCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the series would have done; in the outcome's unit."""

    fitted: FloatArray  # one-step predictions before the change, (T_pre,)
    # by day from the change on, (washout + H,)
    mean: FloatArray
    sd: FloatArray
    # of the mean over the H days after the washout
    window_mean: float
    window_sd: float


@compiled
def _filter(
    y: FloatArray, X: FloatArray, noise: float, level: float, a: FloatArray, P: FloatArray, fitted: FloatArray
) -> float:
    """Kalman filter over the series; `a`, `P` and `fitted` are filled; returns the log likelihood."""
    T, m = X.shape[0], X.shape[1] + 1
    Z = np.empty(m)
    Z[0] = 1.0
    PZ = np.empty(m)
    a[:] = 0.0
    P[:] = 0.0
    a[0] = y[0]
    P[0, 0] = _LEVEL_VARIANCE
    for i in range(1, m):
        P[i, i] = _COEFFICIENT_VARIANCE
    likelihood = 0.0
    determinant = 1.0
    for t in range(T):
        if t > 0:
            P[0, 0] += level
        for i in range(1, m):
            Z[i] = X[t, i - 1]
        F = noise
        predicted = 0.0
        for i in range(m):
            s = 0.0
            for j in range(m):
                s += P[i, j] * Z[j]
            PZ[i] = s
            F += Z[i] * s
            predicted += Z[i] * a[i]
        v = y[t] - predicted
        fitted[t] = predicted
        likelihood -= 0.5 * v * v / F
        determinant *= F
        if determinant < 1e-200 or determinant > 1e200:
            likelihood -= 0.5 * np.log(determinant)
            determinant = 1.0
        for i in range(m):
            a[i] += PZ[i] * v / F
        for i in range(m):
            for j in range(m):
                P[i, j] -= PZ[i] * PZ[j] / F
    return float(likelihood - 0.5 * np.log(determinant))


@compiled
def _posterior(
    y: FloatArray,
    X: FloatArray,
    X_post: FloatArray,
    washout: int,
    log_noise: FloatArray,
    log_level: FloatArray,
    prior: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mix the Gaussian predictions over the grid.

    Returns the posterior weights of its nodes, the fit, and the mean (row 0) and variance (row 1) of every day and,
    last, of the window.
    """
    T, k = X.shape
    days = X_post.shape[0]
    H = days - washout
    m = k + 1
    nodes = log_noise.size * log_level.size
    weight = np.empty(nodes)
    means = np.empty((nodes, days + 1))
    variances = np.empty((nodes, days + 1))
    fits = np.empty((nodes, T))
    a = np.empty(m)
    P = np.empty((m, m))
    Z = np.empty(m)
    Z[0] = 1.0
    # Variance of the mean over the window of a random walk with unit steps: sum of min(h, h') / H^2.
    walk = 0.0
    for h in range(washout + 1, days + 1):
        for g in range(washout + 1, days + 1):
            walk += min(h, g) / (H * H)
    node = 0
    for le in log_noise:
        for ll in log_level:
            noise, level = np.exp(le), np.exp(ll)
            weight[node] = (
                _filter(y, X, noise, level, a, P, fits[node])
                - 0.5 * prior[3] * (le + prior[2] / noise)
                - 0.5 * prior[1] * (ll + prior[0] * prior[0] / level)
            )
            for h in range(days + 1):
                for i in range(k):
                    Z[i + 1] = X_post[h, i] if h < days else X_post[washout:, i].mean()
                mean = 0.0
                spread = noise + level * (h + 1) if h < days else noise / H + level * walk
                for i in range(m):
                    mean += Z[i] * a[i]
                    for j in range(m):
                        spread += Z[i] * P[i, j] * Z[j]
                means[node, h] = mean
                variances[node, h] = spread
            node += 1
    weight -= weight.max()
    weight = np.exp(weight)
    weight /= weight.sum()
    moments = np.empty((2, days + 1))
    for h in range(days + 1):
        moments[0, h] = (weight * means[:, h]).sum()
        moments[1, h] = (weight * (variances[:, h] + (means[:, h] - moments[0, h]) ** 2)).sum()
    fitted = np.empty(T)
    for t in range(T):
        fitted[t] = (weight * fits[:, t]).sum()
    return weight.reshape(log_noise.size, log_level.size), fitted, moments


def _narrowed(nodes: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """The stretch of a grid that holds all but a negligible part of the weight, and a step on either side."""
    heavy = np.flatnonzero(weight > _NEGLIGIBLE * weight.max())
    return float(nodes[max(heavy[0] - 1, 0)]), float(nodes[min(heavy[-1] + 1, nodes.size - 1)])


def forecast(
    y: FloatArray,
    *,
    horizon: int,
    washout: int = 0,
    X: FloatArray | None = None,
    X_post: FloatArray | None = None,
    priors: Priors = WEAK,
) -> Forecast:
    """Predict a series (T_pre,) from its own past and, where there are any, from series the change can't have touched.

    X and X_post are (T_pre, k) and (washout + horizon, k). ValueError if the series does not vary.
    """
    centre, spread = float(y.mean()), float(y.std(ddof=1)) if y.size > 1 else 0.0
    if not spread > 0:
        raise ValueError("a series that does not vary can't be forecast with an interval")
    days = washout + horizon
    Xs, Xs_post = np.empty((y.size, 0)), np.empty((days, 0))
    if X is not None and X_post is not None:
        x_mean, x_sd = X.mean(axis=0), X.std(axis=0, ddof=1)
        x_sd[x_sd == 0] = 1.0
        Xs, Xs_post = (np.ascontiguousarray((part - x_mean) / x_sd) for part in (X, X_post))
    noise, level = _LOG_NOISE, _LOG_LEVEL
    for _ in range(6):  # long series: the posterior is narrow, so look closer until it fills the grid
        log_noise, log_level = np.linspace(*noise, _NODES), np.linspace(*level, _NODES)
        weight, fitted, moments = _posterior(
            (y - centre) / spread, Xs, Xs_post, washout, log_noise, log_level, np.array(priors)
        )
        before = (noise[1] - noise[0]) + (level[1] - level[0])
        noise, level = _narrowed(log_noise, weight.sum(axis=1)), _narrowed(log_level, weight.sum(axis=0))
        if (noise[1] - noise[0]) + (level[1] - level[0]) > 0.8 * before:
            break
    mean, sd = centre + spread * moments[0], spread * np.sqrt(moments[1])
    return Forecast(
        fitted=centre + spread * fitted,
        mean=mean[:days],
        sd=sd[:days],
        window_mean=float(mean[days]),
        window_sd=float(sd[days]),
    )
