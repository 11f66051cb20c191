"""Chance: one random stream per concern, and counts as quantiles of stored uniform numbers.

Switching one feature off leaves the others' draws alone. A count drawn as the quantile of a stored uniform number
moves only when its own mean moves: that is what makes "the same account without the change" comparable day by day
(common random numbers).
"""

from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import InvalidInput
from scipy.special import ndtri

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

_INVERT_BELOW = 20.0
"""Mean up to which the binomial is inverted term by term; above, Cornish-Fisher is right to one count."""
_MOST_TERMS = 150


class Stream(IntEnum):
    """What a stream is used for. The numbers are part of the seeding: never reuse or reorder them."""

    TREE = 0
    NAMES = 1
    LIFETIMES = 2
    ECONOMICS = 3
    BUDGETS = 4
    MARKET = 5
    DRIFT = 6
    CONVERSION_NOISE = 7
    CLICK_NOISE = 8
    PRICE_NOISE = 9
    PACING = 10
    ALLOCATION = 11
    IMPRESSIONS = 12
    CLICKS = 13
    LEADS = 14
    LAG = 15
    CHANGES = 16
    FATIGUE = 17


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """The generator of one concern of one account: the stream's child of ``SeedSequence(seed).spawn(...)``.

    `InvalidInput` if the seed is negative.
    """
    if seed < 0:
        raise InvalidInput.at("seed", f"is {seed}; expected 0 or more")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(stream),))))


def uniforms(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Uniform numbers strictly inside (0, 1), as quantile functions need them."""
    return np.asarray((rng.integers(0, 2**52, size=shape) + 0.5) / 2.0**52, dtype=np.float64)


def binomial_quantile(u: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike) -> IntArray:
    """Smallest k with P(Binomial(n, p) <= k) >= u, so that k does not fall when u, n or p rises; shapes broadcast.

    Exact for means up to 20; above that the Cornish-Fisher expansion to third order, off by at most one count
    (in under 1% of cases), also where the two meet. `u` inside (0, 1). ValueError if `p` is not in [0, 0.95] or `n`
    negative.
    """
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (u, n, p)))
    shape = arrays[0].shape
    uniform, trials, chance = (np.ascontiguousarray(a).ravel() for a in arrays)
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
