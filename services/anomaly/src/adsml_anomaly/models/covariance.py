"""How the four counts move together, and how far a day is from that.

Innovations are standardised already; their second moments about 0, winsorised so that strange days do not widen
them and scaled back for it, are drawn to the level's, which makes them invertible at any length of history. The
squared distance of a day ``z`` is ``z' inverse(S) z`` (P. C. Mahalanobis, 1936).
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

FloatArray = npt.NDArray[np.float64]

WINSOR: Final = 2.5
POOL_DAYS: Final = 30.0
_RIDGE: Final = 0.02
# E[min(|z|, 2.5)^2] for a standard normal z.
_SHRINKAGE: Final = 0.9777


def moments(z: FloatArray, *, pooled: FloatArray | None = None) -> FloatArray:
    """Second moments, shape (d, d).

    Parameters
    ----------
    z
        Shape (n, d); rows with a NaN are left out.
    pooled
        The level's, which stands for `POOL_DAYS` days; None: no correlation.
    """
    known = np.clip(z[~np.isnan(z).any(axis=1)], -WINSOR, WINSOR)
    d = z.shape[1]
    prior = np.eye(d) if pooled is None else pooled
    return np.asarray((known.T @ known / _SHRINKAGE + POOL_DAYS * prior) / (len(known) + POOL_DAYS))


def precision(S: FloatArray) -> FloatArray:
    """Inverse of the moments, with a little added to the diagonal: counts of few leads can be near collinear."""
    return np.asarray(np.linalg.inv(S + _RIDGE * np.eye(len(S))))


def distances(z: FloatArray, inverse: FloatArray) -> FloatArray:
    """Mahalanobis distance of each row of z, shape (n, d); a missing value counts as ordinary (0)."""
    out = np.empty(len(z))
    fill_distances(z, inverse, out)
    return out


@compiled
def fill_distances(z: FloatArray, inverse: FloatArray, out: FloatArray) -> None:
    """As `distances`, into an array that is there already."""
    d = z.shape[1]
    for t in range(z.shape[0]):
        total = 0.0
        for i in range(d):
            for j in range(d):
                if not (np.isnan(z[t, i]) or np.isnan(z[t, j])):
                    total += z[t, i] * inverse[i, j] * z[t, j]
        out[t] = math.sqrt(max(total, 0.0))
