"""Quantile functions on arrays, so that two runs can share their random numbers.

A count drawn as the quantile of a stored uniform number moves only when its own mean moves. That is what
makes "the same account without the change" comparable day by day (common random numbers), and what keeps
one feature's draws apart from another's.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Wichura (1988), Algorithm AS 241 (PPND16), Applied Statistics 37(3): numerator and denominator of the three
# rational approximations, highest power first.
_CENTRE: Final = (
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
        1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
        5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0,
    ),
)  # fmt: skip
_SIDE: Final = (
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
        1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
        4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
        1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
        2.05319162663775882187e0, 1.0,
    ),
)  # fmt: skip
_TAIL: Final = (
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
        2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
        5.46378491116411436990e0, 6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
        7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
        5.99832206555887937690e-1, 1.0,
    ),
)  # fmt: skip

_INVERT_BELOW = 20.0
"""Mean up to which the binomial is inverted term by term; above, Cornish-Fisher is right to one count."""
_MOST_TERMS = 150


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], r: FloatArray) -> FloatArray:
    return np.asarray(np.polyval(coefficients[0], r) / np.polyval(coefficients[1], r), dtype=np.float64)


def normal_quantile(u: npt.ArrayLike) -> FloatArray:
    """Standard normal quantile of probabilities inside (0, 1), to about 1e-15 relative.

    Raises
    ------
    ValueError
        If a probability is not inside (0, 1).

    References
    ----------
    Wichura (1988), Algorithm AS 241: The Percentage Points of the Normal Distribution.
    """
    p = np.asarray(u, dtype=np.float64)
    if p.size and not (p.min() > 0.0 and p.max() < 1.0):
        raise ValueError("a normal quantile needs probabilities inside (0, 1)")
    q = p - 0.5
    out = np.empty_like(p)
    centre = np.abs(q) <= 0.425
    out[centre] = q[centre] * _rational(_CENTRE, 0.180625 - q[centre] ** 2)
    for_tail = ~centre
    r = np.sqrt(-np.log(np.minimum(p[for_tail], 1.0 - p[for_tail])))
    size = np.where(r <= 5.0, _rational(_SIDE, r - 1.6), _rational(_TAIL, r - 5.0))
    out[for_tail] = np.copysign(size, q[for_tail])
    return out


def binomial_quantile(u: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike) -> IntArray:
    """Smallest k with P(Binomial(n, p) <= k) >= u, so that k does not fall when u, n or p rises.

    Exact for means up to 20; above that the Cornish-Fisher expansion to third order, off by at most one count
    (in under 1% of cases), also where the two meet.

    Parameters
    ----------
    u
        Probabilities inside (0, 1); shapes of all three broadcast.
    n
        Trials, whole and not negative.
    p
        Chance of success in [0, 0.95].

    Returns
    -------
    int64 array
        Between 0 and n.

    Raises
    ------
    ValueError
        If `p` or `n` is out of range.
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
    z = normal_quantile(u)
    sd = np.sqrt(n * p * (1.0 - p))
    skew = (1.0 - 2.0 * p) / sd
    excess = (1.0 - 6.0 * p * (1.0 - p)) / sd**2
    w = z + skew * (z**2 - 1) / 6 + excess * (z**3 - 3 * z) / 24 - skew**2 * (2 * z**3 - 5 * z) / 36
    counts: FloatArray = np.clip(np.ceil(n * p + sd * w - 0.5), 0, n)
    return counts.astype(np.int64)
