"""A booster with one wrong byte is refused before XGBoost sees it: there it ended the process."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost
from adsml_classifier import artifacts
from adsml_classifier.models import boosters

FEATURES, CLASSES = 5, 4


@pytest.fixture(scope="module")
def booster() -> xgboost.Booster:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200, FEATURES))
    matrix = xgboost.DMatrix(x, label=rng.integers(0, CLASSES, 200))
    return xgboost.train({"objective": "multi:softprob", "num_class": CLASSES, "max_depth": 3}, matrix, 3)


@pytest.fixture(scope="module")
def good(booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


def test_what_xgboost_writes_passes(good):
    boosters.check(good, features=FEATURES)


def test_a_booster_of_other_features_is_refused(good):
    with pytest.raises(ValueError, match="does not take 6 features"):
        boosters.check(good, features=6)


def changed(booster, change) -> bytes:
    """The booster with one thing changed in its JSON, as UBJSON again, by a writer of our own."""
    model = json.loads(bytes(booster.save_raw("json")))
    change(model["learner"])
    return written(model)


def written(value) -> bytes:
    def size(count):
        return b"L" + count.to_bytes(8, "big", signed=True)

    match value:
        case dict():
            return b"{" + b"".join(size(len(k)) + k.encode() + written(v) for k, v in value.items()) + b"}"
        case list():
            return b"[#" + size(len(value)) + b"".join(map(written, value))
        case str():
            return b"S" + size(len(value)) + value.encode()
        case int():
            return size(value)
        case float():
            return b"D" + np.array(value, ">f8").tobytes()
    raise TypeError(value)


def tree(learner):
    return learner["gradient_booster"]["model"]["trees"][0]


def put(path, value):
    def change(learner):
        *way, last = path
        for step in way:
            learner = learner[step]
        learner[last] = value

    return change


TREE = ("gradient_booster", "model", "trees", 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put((*TREE, "left_children", 0), 10_000), "children"),
        (put((*TREE, "left_children", 0), 0), "children"),
        (put((*TREE, "right_children", 0), -5), "children"),
        (put((*TREE, "parents", 1), 2), "children"),
        (put((*TREE, "split_indices", 0), FEATURES), "feature that there is not"),
        (put((*TREE, "split_indices", 0), -1), "feature that there is not"),
        (put((*TREE, "split_type", 0), 1), "categories"),
        (put((*TREE, "id"), 7), "order"),
        (put((*TREE, "split_conditions", 0), float("nan")), "not finite"),
        (put((*TREE, "base_weights"), []), "not as long"),
        (put((*TREE, "tree_param", "num_nodes"), "2147483647"), "num_nodes"),
        (put((*TREE, "tree_param", "size_leaf_vector"), "9999"), "size_leaf_vector"),
        (put(("learner_model_param", "num_class"), "1000000000"), "num_class"),
        (put(("learner_model_param", "num_target"), "100000"), "num_target"),
        (put(("learner_model_param", "base_score"), "[nan]"), "base score"),
        (put(("gradient_booster", "model", "gbtree_model_param", "num_trees"), "11"), "as many trees"),
        (put(("gradient_booster", "model", "tree_info", 0), CLASSES), "class that there is not"),
        (put(("gradient_booster", "model", "iteration_indptr", 1), 99), "rounds"),
        (put(("gradient_booster", "name"), "dart"), "another kind"),
        (put(("gradient_booster", "model", "trees"), {}), "as many trees"),
    ],
)
def test_one_wrong_value_is_named(booster, change, told):
    boosters.check(changed(booster, lambda learner: None), features=FEATURES)
    with pytest.raises(ValueError, match=told):
        boosters.check(changed(booster, change), features=FEATURES)


def test_sizes_that_nothing_fills_take_no_memory():
    for kind in (b"[$D#", b"[#", b"S"):
        with pytest.raises(ValueError, match="not filled|ends early"):
            boosters.check(
                b"{L" + (1).to_bytes(8, "big") + b"a" + kind + b"L" + (2**62).to_bytes(8, "big"), features=1
            )
    with pytest.raises(ValueError, match="nested too deep"):
        boosters.check(b"{" + b"U\x01a{" * 100, features=1)


def test_a_model_is_checked_before_xgboost_reads_it(good, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(xgboost, "Booster", lambda: pytest.fail("XGBoost was asked first"))
    with pytest.raises(ValueError, match="does not take"):
        artifacts._booster(good)


LOAD = """
import sys, numpy, xgboost
x = xgboost.DMatrix(numpy.zeros((2, 5)))
data = open(sys.argv[1], "rb").read()
size = int(sys.argv[2])
for at in range(0, len(data), size):
    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(data[at : at + size]))
        booster.predict(x)
    except xgboost.core.XGBoostError:
        pass
"""


def test_what_passes_with_a_flipped_byte_ends_no_process(good, tmp_path: Path):
    chance, passed = random.Random(3), []  # noqa: S311 - to be the same each time
    for _ in range(3000):
        data = bytearray(good)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            boosters.check(bytes(data), features=FEATURES)
        except ValueError:
            continue
        passed.append(bytes(data))
    assert 0 < len(passed) < 3000
    (tmp_path / "passed").write_bytes(b"".join(passed))
    done = subprocess.run([sys.executable, "-c", LOAD, tmp_path / "passed", str(len(good))], check=False)
    assert done.returncode == 0
