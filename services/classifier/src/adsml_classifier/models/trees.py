"""A booster's trees as arrays, for a few rows at a time.

The library's prediction costs about a quarter of a millisecond before it looks at the first tree: arguments become
JSON, arrays are described to C, a parallel region is opened. One row through a few hundred small trees is worth less
than that. Here all trees of all rows take their next step together, in a handful of numpy calls; sums are taken in
the library's own order and precision, so that the scores are the same to the last bit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost

from adsml_classifier.models import boosters

FEW_ROWS: Final = 24
"""Up to so many rows this is faster than the library (benchmarks/bench_serving.py)."""

_CHECKED_ROWS: Final = 64
_LOWEST: Final = np.float32(-np.inf)

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trees:
    """Decision trees side by side; the children of a leaf are the leaf itself.

    `column` says what a node looks at: the features, with what is missing below everything; the features again, with
    what is missing above everything; a column that is below everything. A node takes the first where it sends missing
    values left, the second where it sends them right; a leaf takes the last.
    """

    roots: npt.NDArray[np.intp]  # shape (rounds * groups,), the groups of a round together
    column: npt.NDArray[np.intp]
    threshold: Float32Array  # left below it, right at or above it; infinite at leaves
    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    value: Float32Array  # of leaves; 0 at others
    depth: int
    base: Float32Array  # scores before the first tree, shape (groups,)

    def margins(self, x: Float32Array) -> Float32Array:
        """Scores in log-odds, shape (rows, groups), of features of shape (rows, features), NaN where missing."""
        rows, features = x.shape
        seen = np.empty((rows, 2 * features + 1), dtype=np.float32)
        # Of a number and NaN these take the number.
        np.fmax(x, _LOWEST, out=seen[:, :features])
        np.fmin(x, -_LOWEST, out=seen[:, features:-1])
        seen[:, -1] = _LOWEST
        at = self.roots
        if rows == 1:
            # All nodes at once: they are few, and three long calls are quicker than several short ones at each step.
            follows = np.where(seen.take(self.column) >= self.threshold, self.right, self.left)
            for _ in range(self.depth):
                at = follows.take(at)
        else:
            at = np.broadcast_to(at, (rows, len(at)))
            begins = np.arange(0, seen.size, seen.shape[1])[:, None]
            for _ in range(self.depth):
                above = seen.take(self.column.take(at) + begins) >= self.threshold.take(at)
                at = np.where(above, self.right.take(at), self.left.take(at))
        leaves = self.value.take(at).reshape(rows, -1, len(self.base))
        leaves[:, :1] += self.base
        out = np.empty((rows, len(self.base)), dtype=np.float32)
        for row in range(rows):
            # Reducing over the first axis adds row to row, one rounding each, as the library does.
            np.add.reduce(leaves[row], axis=0, out=out[row])
        return out

    @classmethod
    def of(cls, booster: xgboost.Booster) -> "Trees | None":
        """The trees of a booster; None where it holds anything but plain trees, or where the scores differ.

        It is put to the test on random rows here, at loading: a library version that writes or adds otherwise is
        noticed, and costs speed, not truth.
        """
        features = booster.num_features()
        try:
            trees = cls._read(boosters.check(bytes(booster.save_raw("ubj")), features=features), features)
        except ValueError:
            return None
        rng = np.random.default_rng(0)
        # Thresholds themselves are among the values, since that is where a wrong comparison shows.
        values = np.append(trees.threshold[np.isfinite(trees.threshold)], np.float32(np.nan))
        x = rng.choice(values, (_CHECKED_ROWS, features))
        theirs = booster.inplace_predict(x, predict_type="margin").reshape(_CHECKED_ROWS, -1)
        ours = trees.margins(x)
        return trees if theirs.shape == ours.shape and np.array_equal(theirs, ours) else None

    @classmethod
    def _read(cls, learner: Mapping[str, Any], features: int) -> "Trees":
        forest, parameters = learner["gradient_booster"]["model"], learner["learner_model_param"]
        groups, trees = max(int(parameters["num_class"]), 1), forest["trees"]
        if list(forest["tree_info"]) != [tree % groups for tree in range(len(trees))]:
            raise ValueError("the trees of a round are not one of each group in turn")
        sizes = [len(tree["left_children"]) for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]], dtype=np.intp)

        def joined(name: str, dtype: type) -> npt.NDArray[Any]:
            return np.concatenate([np.asarray(tree[name]) for tree in trees]).astype(dtype)

        left, right = joined("left_children", np.intp), joined("right_children", np.intp)
        leaf, own, start = left < 0, np.arange(len(left)), np.repeat(roots, sizes)
        left, right = (np.where(leaf, own, start + child) for child in (left, right))
        condition, feature = joined("split_conditions", np.float32), joined("split_indices", np.intp)
        column = np.where(joined("default_left", np.bool_), feature, feature + features)
        depth, level = 0, roots
        while (level := level[~leaf[level]]).size:
            depth, level = depth + 1, np.concatenate([left[level], right[level]])
        return cls(
            roots=roots,
            column=np.where(leaf, 2 * features, column),
            threshold=np.where(leaf, np.float32(np.inf), condition),
            left=left,
            right=right,
            value=np.where(leaf, condition, np.float32(0)),
            depth=depth,
            base=np.broadcast_to(json.loads(parameters["base_score"]), (groups,)).astype(np.float32),
        )
