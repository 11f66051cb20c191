"""A booster's trees as arrays, for a few rows at a time.

The library's prediction costs about a quarter of a millisecond before it looks at the first tree: arguments become
JSON, arrays are described to C, a parallel region is opened. One row through a few hundred small trees is worth less
than that. Here all trees of all rows take their next step together, in a handful of numpy calls; sums are taken in
the library's own order and precision, so that the scores are the same to the last bit.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost

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
        try:
            parsed = _parse(json.loads(booster.save_raw("json").decode()))
        except (KeyError, TypeError, ValueError, IndexError):
            return None
        if parsed is None:
            return None
        rng = np.random.default_rng(0)
        # Thresholds themselves are among the values, since that is where a wrong comparison shows.
        values = np.append(parsed.threshold[np.isfinite(parsed.threshold)], np.float32(np.nan))
        x = rng.choice(values, (_CHECKED_ROWS, booster.num_features()))
        theirs = booster.inplace_predict(x, predict_type="margin").reshape(_CHECKED_ROWS, -1)
        ours = parsed.margins(x)
        return parsed if theirs.shape == ours.shape and np.array_equal(theirs, ours) else None


def _parse(model: dict[str, Any]) -> Trees | None:
    learner = model["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        return None
    forest = learner["gradient_booster"]["model"]
    parameters = learner["learner_model_param"]
    groups, features = max(int(parameters["num_class"]), 1), int(parameters["num_feature"])
    base = np.atleast_1d(np.asarray(json.loads(parameters["base_score"]), dtype=np.float32))
    if base.size not in (1, groups) or forest["tree_info"] != [
        tree % groups for tree in range(len(forest["trees"]))
    ]:
        return None
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    roots: list[int] = []
    depth, start = 0, 0
    for tree in forest["trees"]:
        left = np.asarray(tree["left_children"], dtype=np.intp)
        right = np.asarray(tree["right_children"], dtype=np.intp)
        if any(tree["split_type"]) or tree["categories"] or int(tree["tree_param"]["size_leaf_vector"]) > 1:
            return None
        leaf, own = left < 0, np.arange(len(left))
        condition = np.asarray(tree["split_conditions"], dtype=np.float32)
        feature = np.asarray(tree["split_indices"], dtype=np.intp)
        column = np.where(np.asarray(tree["default_left"], dtype=bool), feature, feature + features)
        parts.append(
            (
                np.where(leaf, 2 * features, column),
                np.where(leaf, np.float32(np.inf), condition),
                start + np.where(leaf, own, left),
                start + np.where(leaf, own, right),
                np.where(leaf, condition, np.float32(0)),
            )
        )
        roots.append(start)
        depth = max(depth, _depth(left, right))
        start += len(left)
    column, threshold, left, right, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    base = np.broadcast_to(base, (groups,)).astype(np.float32)
    return Trees(np.array(roots, dtype=np.intp), column, threshold, left, right, value, depth, base)


def _depth(left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> int:
    level, depth = [0], -1
    while level:
        depth += 1
        level = [child for node in level for child in (left[node], right[node]) if child >= 0]
    return depth
