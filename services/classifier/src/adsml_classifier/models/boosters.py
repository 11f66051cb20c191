"""Boosters as bytes, checked before XGBoost sees them: its own reader trusts every index and size in a file.

`check` reads the UBJSON (https://ubjson.org) that XGBoost writes and refuses what is not the structure of a model:
arrays of other lengths than the tree has nodes, children that are none, features that there are not, sizes that
nothing fills. What it lets through, XGBoost can walk through.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

_DEPTH: Final = 12
_MOST_TREES: Final = 20_000
_MOST_NODES: Final = 1 << 16
_MOST_CLASSES: Final = 16
_FORMATS: Final = {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"}
_FLOATS: Final = (b"d", b"D")
_COLUMNS: Final = (
    "left_children", "right_children", "parents", "split_indices", "split_type", "default_left",
    "base_weights", "loss_changes", "split_conditions", "sum_hessian",
)  # fmt: skip
_CATEGORIES: Final = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check(data: bytes, *, features: int) -> dict[str, Any]:
    """The learner that the bytes hold.

    Refuses what is not a multi-class booster of trees over so many features; ValueError says what is wrong.
    """
    try:
        learner: dict[str, Any] = _Reader(data).document()["learner"]
        _check_learner(learner, features)
    except (KeyError, TypeError, struct.error) as error:
        raise ValueError(f"the booster lacks a part ({error})") from None
    return learner


def _check_learner(learner: Mapping[str, Any], features: int) -> None:
    parameters = learner["learner_model_param"]
    classes = _count(parameters, "num_class", most=_MOST_CLASSES)
    if _count(parameters, "num_feature", most=1 << 20) != features:
        raise ValueError(f"the booster does not take {features} features")
    _count(parameters, "num_target", most=1)
    scores = [float(one) for one in parameters["base_score"].strip("[]").split(",")]
    if len(scores) not in (1, classes) or not np.isfinite(scores).all():
        raise ValueError("the booster's base score is not one number for each class")
    if any(len(learner[name]) not in (0, features) for name in ("feature_names", "feature_types")):
        raise ValueError("the booster names other features than it takes")
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree" or learner["objective"]["name"] != "multi:softprob":
        raise ValueError("the booster is of another kind")
    trees = booster["model"]
    count = _count(trees["gbtree_model_param"], "num_trees", most=_MOST_TREES)
    of_class, rounds = np.asarray(trees["tree_info"]), np.asarray(trees["iteration_indptr"])
    if len(trees["trees"]) != count or len(of_class) != count:
        raise ValueError("the booster has not as many trees as it says")
    if count and not (of_class.min() >= 0 and of_class.max() < max(classes, 1)):
        raise ValueError("a tree is of a class that there is not")
    if not rounds.size or rounds[0] != 0 or rounds[-1] != count or (np.diff(rounds) < 0).any():
        raise ValueError("the booster's rounds do not cover its trees")
    if any(len(part) for part in trees.get("cats", {}).values()):
        raise ValueError("the booster has categories")
    for index, tree in enumerate(trees["trees"]):
        # It is put at the place that it names.
        if tree["id"] != index:
            raise ValueError("the booster's trees are not in their order")
        _check_tree(tree, features)


def _check_tree(tree: Mapping[str, Any], features: int) -> None:
    parameters = tree["tree_param"]
    nodes = _count(parameters, "num_nodes", most=_MOST_NODES)
    deleted = _count(parameters, "num_deleted", most=0)
    if nodes < 1 or deleted or _count(parameters, "size_leaf_vector", most=1) > 1:
        raise ValueError("a tree has no nodes, deleted ones, or leaves that are vectors")
    # Plain lists: most trees have some tens of nodes, for which numpy costs more than it saves.
    columns = {name: _listed(tree[name]) for name in _COLUMNS}
    if any(len(column) != nodes for column in columns.values()):
        raise ValueError("a tree's arrays are not as long as it has nodes")
    if any(len(tree[name]) for name in _CATEGORIES) or any(columns["split_type"]):
        raise ValueError("a tree splits on categories")
    if not all(0 <= split < features for split in columns["split_indices"]):
        raise ValueError("a tree splits on a feature that there is not")
    if not all(map(math.isfinite, columns["split_conditions"])):
        raise ValueError("a tree's thresholds or leaves are not finite")
    parents, seen = columns["parents"], bytearray(nodes)
    for node, children in enumerate(zip(columns["left_children"], columns["right_children"], strict=True)):
        if children == (-1, -1):
            continue
        for child in children:
            # Each node but the root is the child of one node before it: so the tree is one, and has no circle.
            if not node < child < nodes or seen[child] or parents[child] != node:
                raise ValueError("a tree's children are not its nodes")
            seen[child] = 1
    if sum(seen) != nodes - 1:
        raise ValueError("a tree's children are not its nodes")


def _listed(column: Any) -> list[Any]:
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    return values


def _count(parameters: Mapping[str, str], name: str, *, most: int) -> int:
    text = parameters[name]
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise ValueError(f"{name} is {text[:20]!r}; expected 0 to {most}")
    return int(text)


class _Reader:
    """Reads UBJSON; arrays of numbers as arrays. Nothing is larger than the bytes that fill it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def document(self) -> dict[str, Any]:
        """The one object that the bytes are."""
        value = self._value(self._take(1), _DEPTH)
        if not isinstance(value, dict) or self._at != len(self._data):
            raise ValueError("the booster is not one UBJSON object")
        return value

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise ValueError("the booster ends early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _number(self, kind: bytes) -> Any:
        form = f">{_FORMATS[kind]}"
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _size(self) -> int:
        kind = self._take(1)
        if kind in _FLOATS:
            raise ValueError("a size in the booster is no whole number")
        size = self._number(kind)
        if not 0 <= size <= len(self._data) - self._at:
            raise ValueError("a size in the booster is not filled")
        return int(size)

    def _text(self) -> str:
        return self._take(self._size()).decode()

    def _value(self, kind: bytes, depth: int) -> Any:
        if depth == 0:
            raise ValueError("the booster is nested too deep")
        match kind:
            case b"{":
                return self._object(depth - 1)
            case b"[":
                return self._array(depth - 1)
            case b"S":
                return self._text()
            case b"T" | b"F":
                return kind == b"T"
            case _ if kind in _FORMATS:
                return self._number(kind)
            case _:
                raise ValueError("the booster holds a value of no known kind")

    def _object(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while self._data[self._at : self._at + 1] != b"}":
            name = self._text()
            out[name] = self._value(self._take(1), depth)
        self._take(1)
        return out

    def _array(self, depth: int) -> Any:
        mark = self._take(1)
        if mark == b"$":
            dtype = np.dtype(f">{_FORMATS[self._take(1)]}")
            if self._take(1) != b"#":
                raise ValueError("an array of the booster has a kind and no size")
            return np.frombuffer(self._take(self._size() * dtype.itemsize), dtype)
        if mark != b"#":
            raise ValueError("an array of the booster has no size")
        return [self._value(self._take(1), depth) for _ in range(self._size())]
