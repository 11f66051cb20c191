"""Scikit-learn's isolation forest in our flat arrays: the reference that scorer and growth are held to."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from adsml_anomaly.models.forest import LEAF, Forest

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest  # type: ignore[import-untyped]  # scikit-learn has no stubs


def from_sklearn(fitted: "IsolationForest") -> Forest:
    """The same trees.

    Thresholds are double there and values single: rounding a threshold down to single precision changes no
    comparison.

    Raises
    ------
    ValueError
        If trees see only some of the features each (``max_features`` below 1), or there are more than 127.
    """
    features = int(fitted.n_features_in_)
    if features > 127:
        raise ValueError(f"{features} features; at most 127 fit")
    starts: list[int] = []
    parts: list[tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int32]]] = []
    used = 0
    for estimator, columns in zip(fitted.estimators_, fitted.estimators_features_, strict=True):
        if len(columns) != features:
            raise ValueError("each tree must see all features (max_features=1.0)")
        tree = estimator.tree_
        leaf = tree.children_left < 0
        preorder = np.arange(tree.node_count)
        if not np.array_equal(tree.children_left[~leaf], preorder[~leaf] + 1):
            raise ValueError("the tree's nodes are not in preorder")
        starts.append(used)
        feature = np.where(leaf, LEAF, np.asarray(columns)[np.maximum(tree.feature, 0)]).astype(np.int8)
        right = np.where(leaf, tree.n_node_samples, tree.children_right + used).astype(np.int32)
        parts.append((feature, _round_down(np.where(leaf, 0.0, tree.threshold)), right))
        used += tree.node_count
    feature, threshold, right = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Forest(np.array(starts, dtype=np.int32), feature, threshold, right, int(fitted.max_samples_))


def _round_down(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    single = values.astype(np.float32)
    return np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single).astype(np.float32)
