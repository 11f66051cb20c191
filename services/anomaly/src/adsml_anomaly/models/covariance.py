"""How the four counts move together, and how far a day is from that.

Innovations are standardised already; their second moments about 0, winsorised so that strange days do not widen
them and scaled back for it, are drawn to the level's, which makes them invertible at any length of history. The
squared distance of a day ``z`` is ``z' inverse(S) z`` (P. C. Mahalanobis, 1936).
"""

import math
from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.channels import BASE

WINSOR: Final = 2.5
POOL_DAYS: Final = 30.0
"""For how many days the level's moments stand."""
_RIDGES: Final = 0.02 * np.eye(BASE)
# E[min(|z|, 2.5)^2] for a standard normal z.
_SHRINKAGE: Final = 0.9777


def moments(z: FloatArray, *, pooled: FloatArray | None = None) -> FloatArray:
    """Second moments, shape (d, d), of z, shape (n, d), without rows with a NaN; `pooled` None: no correlation."""
    known = np.clip(z[~np.isnan(z).any(axis=1)], -WINSOR, WINSOR)
    prior = np.eye(z.shape[1]) if pooled is None else pooled
    return np.asarray((known.T @ known / _SHRINKAGE + POOL_DAYS * prior) / (len(known) + POOL_DAYS))


def precision(S: FloatArray) -> FloatArray:
    """Inverse of the moments, with a little added to the diagonal: counts of few leads can be near collinear."""
    return np.asarray(np.linalg.inv(S + _RIDGES))


@compiled
def distances(z: FloatArray, inverse: FloatArray) -> FloatArray:
    """Mahalanobis distance of each row of z, shape (n, d); a missing value counts as ordinary (0)."""
    out, d = np.empty(z.shape[0]), z.shape[1]
    for t in range(z.shape[0]):
        total = 0.0
        for i in range(d):
            for j in range(d):
                if not (np.isnan(z[t, i]) or np.isnan(z[t, j])):
                    total += z[t, i] * inverse[i, j] * z[t, j]
        out[t] = math.sqrt(max(total, 0.0))
    return out
