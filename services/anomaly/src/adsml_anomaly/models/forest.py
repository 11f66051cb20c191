"""Score an isolation forest held in flat arrays.

A point's path length is its depth in a tree plus the mean depth ``c(n)`` that the n training points of its leaf
would still need to be told apart; ``score = 2 ** (-mean path / c(subsample))``: short paths are strange, so that
a *larger* score is stranger; about 0.5 is ordinary.

Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation forest", ICDM 2008, equations 1 and 2. Scikit-learn's
`IsolationForest` is the reference: on its trees the scores agree to 1e-9.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import ByteArray, FloatArray, IndexArray, SingleArray

LEAF: Final = -1
_EULER: Final = 0.5772156649015329


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
    features: int  # Length of a point

    def score(self, points: npt.ArrayLike) -> FloatArray:
        """Anomaly scores, between 0 and 1, of finite points, shape (n, features); a ValueError for another shape."""
        X = np.ascontiguousarray(points, dtype=np.float32)
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ValueError(f"points have shape {X.shape}; expected (n, {self.features})")
        return scores(X, self.starts, self.feature, self.threshold, self.right, self.subsample)


@compiled
def mean_path_length(n: int) -> float:
    """``c(n)``: mean depth of a point in a random tree over n points; equation 1."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (math.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n


@compiled
def scores(
    X: SingleArray,
    starts: IndexArray,
    feature: ByteArray,
    threshold: SingleArray,
    right: IndexArray,
    subsample: int,
) -> FloatArray:
    """As `Forest.score`, from its parts."""
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
