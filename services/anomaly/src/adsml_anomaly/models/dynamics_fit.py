"""Estimate how each channel moves: day-to-day unevenness, weekday profile, speed of the level.

All by the local-level model's own likelihood (prediction error decomposition, Harvey 1989, section 3.4), of
Student's t with 5 degrees of freedom so that a few strange days in the history hardly widen what counts as
ordinary (K. L. Lange, R. J. A. Little, J. M. G. Taylor, "Robust statistical modeling using the t distribution",
JASA 1989). Estimates are made with every day, and again leaving out each of several blocks of days, so that a
day can be scored by parameters that never saw it.
"""

from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import FloatArray, IntArray
from adsml_anomaly.models.channels import CHANNELS
from adsml_anomaly.models.local_level import run
from adsml_anomaly.models.stabilise import ANSCOMBE

PHI_GRID: Final = np.geomspace(1e-5, 1.0, 11)
"""From an unevenness of 0.3% to one of 100%."""
KAPPA_GRID: Final = np.array([0.003, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
FOLDS: Final = 4
WEEKDAY_SD: Final = 0.05
"""How far, in logs, an entity's weekday profile is expected to lie from its account's."""
ACCOUNT_WEEKDAY_SD: Final = 0.2
"""How far an account's profile is expected to lie from a flat one."""
_OWN_PHI_DAYS: Final = 20.0
_T_DEGREES: Final = 5.0
_T_CONSISTENT: Final = 0.7338
"""Factor on the squared scale under which the t likelihood finds the variance of normal innovations: solves
E[(v + 1) z^2 / (v c + z^2)] = 1 for standard normal z."""
_MOST_RATIO: Final = 1.0


@compiled
def likelihoods(
    y: FloatArray, x: FloatArray, weekday: int, profiles: FloatArray, kappa: FloatArray, fold: IntArray
) -> FloatArray:
    """Log-likelihood by channel, phi of `PHI_GRID` and block, shape (channels, phis, folds)."""
    channels, T = y.shape
    out = np.zeros((channels, PHI_GRID.size, FOLDS))
    none, slack = np.zeros(T, dtype=np.bool_), np.zeros(y.shape)
    for i, phi in enumerate(PHI_GRID):
        phis = np.full(channels, phi)
        z, mean, stretch, _ = run(y, x, slack, weekday, profiles, phis, kappa, none, none, False)
        for c in range(channels):
            for t in range(T):
                if np.isnan(z[c, t]):
                    continue
                total = (phi + 1.0 / (mean[c, t] + ANSCOMBE)) * stretch[c, t] ** 2
                loss = (_T_DEGREES + 1.0) * np.log1p(z[c, t] ** 2 / (_T_DEGREES * _T_CONSISTENT))
                out[c, i, fold[t]] -= 0.5 * (loss + np.log(total))
    return out


def best_phi(by_phi: FloatArray) -> FloatArray:
    """Most likely phi with all blocks, then without each block, shape (1 + folds,), from a channel's `likelihoods`.

    Between grid points by the parabola through the best and its neighbours (in log phi).
    """
    total = by_phi.sum(axis=1, keepdims=True)
    columns = np.concatenate([total, total - by_phi], axis=1)
    logs, step = np.log(PHI_GRID), np.log(PHI_GRID[1] / PHI_GRID[0])
    best = np.argmax(columns, axis=0)
    inner = np.clip(best, 1, PHI_GRID.size - 2)
    at = np.arange(columns.shape[1])
    left, here, right = (columns[inner + k, at] for k in (-1, 0, 1))
    curve = left - 2.0 * here + right
    shift = np.where(curve < 0, 0.5 * (left - right) / np.where(curve < 0, curve, -1.0), 0.0)
    exact = logs[inner] + step * np.clip(shift, -1.0, 1.0)
    return np.asarray(np.exp(np.where(best == inner, exact, logs[best])))


def shrink_phi(own: FloatArray, pooled: FloatArray, days: float) -> FloatArray:
    """Geometric mean of an entity's phi and its level's, weighted by days against 20."""
    weight = days / (days + _OWN_PHI_DAYS)
    return np.asarray(np.exp(weight * np.log(own) + (1.0 - weight) * np.log(pooled)))


def weekday_effects(
    y: FloatArray, x: FloatArray, weekday: int, fold: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Weekday deviations of one entity from its own 7-day average, and their variances by chance.

    Shape (1 + folds, channels, 7) each: mean deviation in logs by weekday, Monday first, with all days and without each
    block; where there is no day, 0 with an infinite variance.
    """
    T = y.shape[1]
    seen = x > 0
    logs = np.where(seen, np.log((y + ANSCOMBE) / np.where(seen, x, 1.0)), 0.0)
    kernel = np.ones(7)
    known = np.stack([np.convolve(row, kernel, "same") for row in seen.astype(np.float64)])
    means = np.stack([np.convolve(row, kernel, "same") for row in logs]) / np.maximum(known, 1.0)
    use = seen & (known >= 7)
    off = np.clip(np.where(use, logs - means, 0.0), -_MOST_RATIO, _MOST_RATIO)
    w = (weekday + np.arange(T)) % 7
    effects = np.zeros((1 + FOLDS, len(CHANNELS), 7))
    variances = np.full_like(effects, np.inf)
    member = (w[:, None] == np.arange(7)).astype(np.float64)
    for k in range(1 + FOLDS):
        inside = use & (True if k == 0 else fold != k - 1)
        n = inside.astype(np.float64) @ member
        total = (off * inside) @ member
        mean = np.divide(total, n, out=np.zeros_like(total), where=n > 0)
        spread = ((off - mean[:, w]) ** 2 * inside).sum(axis=1) / np.maximum(inside.sum(axis=1) - 7, 1)
        effects[k] = mean
        np.divide(spread[:, None] + 1e-6, n, out=variances[k], where=n > 0)
    return effects, variances


def pool_weekdays(effects: FloatArray, variances: FloatArray) -> FloatArray:
    """An account's profile from its entities', shape (entities, ...) each; few days are drawn towards a flat one."""
    # An entity's true profile differs from its account's by WEEKDAY_SD: no entity counts for more than that.
    weights = 1.0 / (variances + WEEKDAY_SD**2)
    total = weights.sum(axis=0)
    mean = (weights * effects).sum(axis=0) / np.maximum(total, 1e-300)
    return centred(mean * total / (total + ACCOUNT_WEEKDAY_SD**-2))


def centred(profile: FloatArray) -> FloatArray:
    """With mean 0 over the week."""
    return np.asarray(profile - profile.mean(axis=-1, keepdims=True))
