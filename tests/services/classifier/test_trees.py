"""Trees as arrays against the library that grew them."""

import numpy as np
import pytest
import xgboost
from adsml_classifier.trees import Trees


def grown(*, depth: int, rounds: int, missing: bool) -> tuple[xgboost.Booster, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    label = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] + x[:, 2] > 0.3)
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
    settings = {"objective": "multi:softprob", "num_class": 4, "max_depth": depth, "eta": 0.3, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(x, label, nthread=1), rounds), x


@pytest.mark.parametrize(("depth", "rounds"), [(1, 1), (2, 30), (6, 15)])
@pytest.mark.parametrize("missing", [False, True])
def test_scores_are_the_librarys_to_the_last_bit(depth: int, rounds: int, missing: bool) -> None:
    booster, x = grown(depth=depth, rounds=rounds, missing=missing)
    trees = Trees.of(booster)
    assert trees is not None
    assert np.array_equal(trees.margins(x[:100]), booster.inplace_predict(x[:100], predict_type="margin"))


def test_boosters_of_another_kind_are_left_to_the_library() -> None:
    _, x = grown(depth=2, rounds=1, missing=False)
    label = np.arange(len(x)) % 2
    data = xgboost.DMatrix(x, label, nthread=1)
    for settings in ({"booster": "gblinear"}, {"booster": "dart"}):
        assert Trees.of(xgboost.train({**settings, "objective": "binary:logistic"}, data, 2)) is None
