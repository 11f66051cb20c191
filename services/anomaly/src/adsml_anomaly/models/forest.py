"""Isolation forests in flat arrays: grown over small tables, fast, and scored.

A point's path length is its depth in a tree plus the mean depth ``c(n)`` that the n training points of its leaf
would still need to be told apart; ``score = 2 ** (-mean path / c(subsample))``: short paths are strange, so that
a *larger* score is stranger; about 0.5 is ordinary.

Trees grow as scikit-learn's `IsolationForest`, the reference, grows them: each over a subsample without
replacement, split on a uniformly drawn feature among those that differ, at a uniform point between its least and
largest value, down to ``ceil(log2(subsample))`` levels. With a small random generator of its own (SplitMix64:
S. Vigna's public-domain reference) a forest depends on data and seed alone: not on threads, nor on a library's
version. On scikit-learn's trees the scores agree to 1e-9.

Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation forest", ICDM 2008, equations 1 and 2, algorithms 1 and 2.
"""

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import ByteArray, FloatArray, IndexArray, SingleArray

TREES: Final = 50
SUBSAMPLE: Final = 32
LEAF: Final = -1
_EULER: Final = 0.5772156649015329
_WEYL: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
Trees: TypeAlias = tuple[IndexArray, ByteArray, SingleArray, IndexArray, int]
"""Starts, features, thresholds, right children and the subsample of a `Forest`."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees one behind the other; nodes of a tree in preorder, so that a node's left child is the next node."""

    starts: IndexArray  # Shape (trees,): each tree's root among the nodes
    feature: ByteArray  # Shape (nodes,): what is split on; `LEAF` (-1) in a leaf
    # Shape (nodes,): a point goes left when its value is at most this; 0 in a leaf. Single precision
    # loses nothing, since values are compared in single precision.
    threshold: SingleArray
    right: IndexArray  # Shape (nodes,): the right child; in a leaf the number of training points in it
    subsample: int  # Training points per tree

    def score(self, points: npt.ArrayLike) -> FloatArray:
        """Anomaly scores, between 0 and 1, of finite points, shape (n, features), as many as it was grown on."""
        return scores(np.ascontiguousarray(points, dtype=np.float32), self.trees)

    @property
    def trees(self) -> Trees:
        """What `scores` takes."""
        return self.starts, self.feature, self.threshold, self.right, self.subsample


@compiled
def mean_path_length(n: int) -> float:
    """``c(n)``: mean depth of a point in a random tree over n points; equation 1."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (math.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n


@compiled
def scores(X: SingleArray, trees: Trees) -> FloatArray:
    """As `Forest.score`."""
    starts, feature, threshold, right, subsample = trees
    out, norm = np.empty(X.shape[0]), mean_path_length(subsample)
    for i in range(X.shape[0]):
        total = 0.0
        for tree in range(starts.size):
            node, depth = starts[tree], 0
            while feature[node] >= 0:
                node = node + 1 if X[i, feature[node]] <= threshold[node] else right[node]
                depth += 1
            total += depth + mean_path_length(right[node])
        # A forest over single points has no depth to compare with: nothing in it is strange.
        out[i] = 2.0 ** (-total / (starts.size * norm)) if norm > 0.0 else 0.5
    return out


def grow(points: npt.ArrayLike, *, seed: int, trees: int = TREES, subsample: int = SUBSAMPLE) -> Forest:
    """A forest over finite points, shape (n, features): n at least 2, up to 127 features.

    The same points and seed (0 or more) give the same forest; of `subsample` points per tree at most n are taken.
    """
    X = np.ascontiguousarray(points, dtype=np.float32)
    psi = min(subsample, len(X))
    depth = max(math.ceil(math.log2(psi)), 1)
    return Forest(*_grow(X, trees, psi, depth, np.uint64(seed)), psi)


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
    X: SingleArray, trees: int, psi: int, depth: int, seed: np.uint64
) -> tuple[IndexArray, ByteArray, SingleArray, IndexArray]:
    """Starts, features, thresholds and right children; see `Forest`."""
    n, p = X.shape
    most = trees * (2 * psi - 1)
    starts, right = np.empty(trees, dtype=np.int32), np.empty(most, dtype=np.int32)
    feature, threshold = np.empty(most, dtype=np.int8), np.zeros(most, dtype=np.float32)
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
    return starts, feature[:used].copy(), threshold[:used].copy(), right[:used].copy()
