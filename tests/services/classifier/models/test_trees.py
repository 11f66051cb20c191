"""Trees as arrays against the library that grew them."""

import numpy as np
import pytest
import xgboost
from adsml_classifier.models.calibration import IDENTITY
from adsml_classifier.models.features import NAMES
from adsml_classifier.models.linear import fit as fit_linear
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.trees import Trees


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


def test_a_model_is_warm_before_it_is_swapped_in() -> None:
    x = np.random.default_rng(5).normal(size=(100, len(NAMES))).astype(np.float32)
    data = xgboost.DMatrix(x, np.arange(100) % 4, feature_names=list(NAMES), nthread=1)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 4, "nthread": 1}, data, 2)
    model = TierModel(booster, IDENTITY, fit_linear(x, np.arange(100) % 4, np.ones(100), strength=0.01))
    assert "arrays" not in vars(model)
    model.warm()
    assert isinstance(vars(model)["arrays"], Trees)
    # One by one through the arrays, all at once through the library.
    assert np.allclose(np.concatenate([model.margins(row[None]) for row in x]), model.margins(x), rtol=1e-12)
