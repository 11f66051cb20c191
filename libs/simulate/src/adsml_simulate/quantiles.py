"""Quantile functions on arrays, so that two runs can share their random numbers.

A count drawn as the quantile of a stored uniform number moves only when its own mean moves. That is what
makes "the same account without the change" comparable day by day (common random numbers), and what keeps
one feature's draws apart from another's.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from adsml_simulate.arrays import FloatArray, IntArray

_INVERT_BELOW = 20.0
"""Mean up to which the binomial is inverted term by term; above, Cornish-Fisher is right to one count."""
_MOST_TERMS = 150


def binomial_quantile(u: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike) -> IntArray:
    """Smallest k with P(Binomial(n, p) <= k) >= u, so that k does not fall when u, n or p rises; shapes broadcast.

    Exact for means up to 20; above that the Cornish-Fisher expansion to third order, off by at most one count
    (in under 1% of cases), also where the two meet. `u` inside (0, 1).

    Raises
    ------
    ValueError
        If `p` is not in [0, 0.95] or `n` negative.
    """
    uniform, trials, chance = (
        np.ascontiguousarray(a).ravel()
        for a in np.broadcast_arrays(
            np.asarray(u, dtype=np.float64), np.asarray(n, dtype=np.float64), np.asarray(p, dtype=np.float64)
        )
    )
    shape = np.broadcast_shapes(np.shape(u), np.shape(n), np.shape(p))
    if trials.size and (trials.min() < 0 or chance.min() < 0 or chance.max() > 0.95):
        raise ValueError("a binomial quantile needs n >= 0 and 0 <= p <= 0.95")
    out = np.zeros(trials.size, dtype=np.int64)
    mean = trials * chance
    small = np.flatnonzero((mean > 0) & (mean <= _INVERT_BELOW))
    out[small] = _invert(uniform[small], trials[small], chance[small])
    large = np.flatnonzero(mean > _INVERT_BELOW)
    out[large] = _cornish_fisher(uniform[large], trials[large], chance[large])
    return out.reshape(shape)


def _invert(u: FloatArray, n: FloatArray, p: FloatArray) -> IntArray:
    """Sequential search from 0; the arrays shrink as their entries are done."""
    out = np.zeros(u.size, dtype=np.int64)
    # A mean of 20 with p near its bound of 0.95 leaves n near 21, so that (1 - p) ** n never underflows.
    term = np.exp(n * np.log1p(-p))
    below = term.copy()
    odds = p / (1.0 - p)
    left = np.arange(u.size)
    for k in range(1, _MOST_TERMS):
        going = (below < u) & (n >= k)
        if not going.all():
            left, u, n, odds = left[going], u[going], n[going], odds[going]
            term, below = term[going], below[going]
        if not left.size:
            break
        out[left] = k
        term = term * odds * (n - (k - 1)) / k
        below = below + term
    return out


def _cornish_fisher(u: FloatArray, n: FloatArray, p: FloatArray) -> IntArray:
    z = ndtri(u)
    sd = np.sqrt(n * p * (1.0 - p))
    skew = (1.0 - 2.0 * p) / sd
    excess = (1.0 - 6.0 * p * (1.0 - p)) / sd**2
    w = z + skew * (z**2 - 1) / 6 + excess * (z**3 - 3 * z) / 24 - skew**2 * (2 * z**3 - 5 * z) / 36
    counts: FloatArray = np.clip(np.ceil(n * p + sd * w - 0.5), 0, n)
    return counts.astype(np.int64)
