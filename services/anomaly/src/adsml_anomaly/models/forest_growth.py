"""Grow isolation forests over small tables, fast.

The algorithm of Liu, Ting and Zhou (ICDM 2008, algorithms 1 and 2) as scikit-learn runs it: each tree over a
subsample without replacement, split on a uniformly drawn feature among those that differ, at a uniform point
between its least and largest value, down to ``ceil(log2(subsample))`` levels. Compiled, and with a small random
generator of its own (SplitMix64: S. Vigna's public-domain reference), a forest depends on data and seed alone:
not on threads, nor on a library's version.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import ByteArray, IndexArray, SingleArray
from adsml_anomaly.models.forest import LEAF, Forest

TREES: Final = 50
SUBSAMPLE: Final = 32

_WEYL: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def grow(points: npt.ArrayLike, *, seed: int, trees: int = TREES, subsample: int = SUBSAMPLE) -> Forest:
    """A forest over finite points, shape (n, features): n at least 2, up to 127 features; else a ValueError.

    The same points and seed (0 or more) give the same forest; of `subsample` points per tree at most n are taken.
    """
    X = np.ascontiguousarray(points, dtype=np.float32)
    if X.ndim != 2 or len(X) < 2 or not 1 <= X.shape[1] <= 127:
        raise ValueError(f"points have shape {X.shape}; expected (n >= 2, 1 to 127 features)")
    if not np.isfinite(X).all():
        raise ValueError("points must be finite")
    psi = min(subsample, len(X))
    depth = max(math.ceil(math.log2(psi)), 1)
    most = 2 * psi - 1
    starts = np.empty(trees, dtype=np.int32)
    feature = np.empty(trees * most, dtype=np.int8)
    threshold = np.zeros(trees * most, dtype=np.float32)
    right = np.empty(trees * most, dtype=np.int32)
    used = _grow(X, trees, psi, depth, np.uint64(seed), starts, feature, threshold, right)
    return Forest(
        starts, feature[:used].copy(), threshold[:used].copy(), right[:used].copy(), psi, X.shape[1]
    )


@compiled
def _random(state: npt.NDArray[np.uint64]) -> float:
    """Uniform in [0, 1), 53 bits; SplitMix64."""
    state[0] += _WEYL
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def _grow(
    X: SingleArray,
    trees: int,
    psi: int,
    depth: int,
    seed: np.uint64,
    starts: IndexArray,
    feature: ByteArray,
    threshold: SingleArray,
    right: IndexArray,
) -> int:
    n, p = X.shape
    state = np.empty(1, dtype=np.uint64)
    state[0] = seed
    order = np.arange(n)
    columns = np.arange(p)
    # Pending nodes of the tree at hand: first and last+1 of their points in `order`, depth, and the node whose
    # right child they are (-1: the root, or a left child, which simply comes next).
    low, high = np.empty(2 * psi, dtype=np.int64), np.empty(2 * psi, dtype=np.int64)
    level, parent = np.empty(2 * psi, dtype=np.int64), np.empty(2 * psi, dtype=np.int64)
    used = 0
    for tree in range(trees):
        starts[tree] = used
        for i in range(psi):
            j = i + int(_random(state) * (n - i))
            order[i], order[j] = order[j], order[i]
        low[0], high[0], level[0], parent[0] = 0, psi, 0, -1
        pending = 1
        while pending > 0:
            pending -= 1
            a, b, d, above = low[pending], high[pending], level[pending], parent[pending]
            node = used
            used += 1
            if above >= 0:
                right[above] = node
            split = False
            if b - a > 1 and d < depth:
                # Try features in random order until one differs among the points.
                for k in range(p):
                    j = k + int(_random(state) * (p - k))
                    columns[k], columns[j] = columns[j], columns[k]
                    f = columns[k]
                    least = largest = X[order[a], f]
                    for i in range(a + 1, b):
                        v = X[order[i], f]
                        least, largest = min(least, v), max(largest, v)
                    if largest > least:
                        cut = np.float32(least + _random(state) * (float(largest) - float(least)))
                        cut = least if cut >= largest else cut
                        middle = a
                        for i in range(a, b):
                            if X[order[i], f] <= cut:
                                order[i], order[middle] = order[middle], order[i]
                                middle += 1
                        feature[node], threshold[node] = f, cut
                        low[pending], high[pending], level[pending] = middle, b, d + 1
                        parent[pending] = node
                        low[pending + 1], high[pending + 1], level[pending + 1] = a, middle, d + 1
                        parent[pending + 1] = -1
                        pending += 2
                        split = True
                        break
            if not split:
                feature[node], threshold[node], right[node] = LEAF, 0.0, b - a
    return used
