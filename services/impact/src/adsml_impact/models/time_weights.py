"""Weights on the days before a date: the lambda of synthetic difference-in-differences."""

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.simplex import minimise_on_simplex


@compiled
def fit_time_weights(r: FloatArray, change: FloatArray, donors: BoolArray, w: FloatArray) -> None:
    """Simplex least squares with intercept of the donors' change after a date on their days before.

    Arkhangelsky et al. (2021), equation (6); called from compiled code. `r` (N, at least L) and `change` (N,) are on
    the scale of `gaps`, at least two units are `donors`. `w` (L,) is on entry a first guess, on return the weights.
    """
    L, n = w.size, np.count_nonzero(donors)
    target, mean = change[donors].sum() / n, np.zeros(L)
    for j in np.flatnonzero(donors):
        mean += r[j, :L]
    G = np.zeros((L, L))
    c = np.zeros(L)
    for j in np.flatnonzero(donors):
        x = r[j, :L] - mean / n
        c += x * (change[j] - target)
        for d in range(L):
            for e in range(d + 1):
                G[d, e] += x[d] * x[e]
    for d in range(L):
        G[:d, d] = G[d, :d]
        G[d, d] *= 1.0 + 1e-9
    minimise_on_simplex(G, c, np.ones(L, np.bool_), w)
