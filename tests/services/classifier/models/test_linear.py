"""The linear part: what it learns, and that its reasons add up."""

import json

import numpy as np
import pytest
from adsml_classifier.models import calibration, features, linear

MARGIN = features.NAMES.index("margin_low_7")


def rows(count: int, *, seed: int) -> np.ndarray:
    """Feature rows with a tenth of the values missing."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.standard_normal((count, len(features.NAMES))))
    x[:, MARGIN] = rng.standard_normal(count)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x.astype(np.float32)


def fitted(strength: float, *, count: int = 4000) -> tuple[linear.Linear, np.ndarray, np.ndarray]:
    """A logit of tiers 0 and 3, told apart by one margin alone: the log-odds are twice the margin."""
    x = rows(count, seed=0)
    margin = np.nan_to_num(x[:, MARGIN])
    truth = 1 / (1 + np.exp(-2.0 * margin))
    label = np.where(np.random.default_rng(1).random(count) < truth, 0, 3)
    return linear.fit(x, label, np.ones(count), strength=strength), x, truth


def test_it_finds_the_probabilities_that_made_the_labels() -> None:
    model, x, truth = fitted(0.3)
    found = calibration.softmax(model.margins(x))
    assert np.abs(found[:, 0] - truth).mean() < 0.03
    assert found[:, 1:3].max() < 0.02


def test_less_strength_holds_it_back() -> None:
    slopes = [np.abs(fitted(strength)[0].slope).sum() for strength in (0.003, 0.03, 0.3)]
    assert slopes == sorted(slopes)


def test_reasons_sum_to_the_margins() -> None:
    model, x, _ = fitted(0.03)
    np.testing.assert_allclose(model.contributions(x).sum(axis=2), model.margins(x), atol=1e-9)


def test_missing_counts_as_the_mean_and_far_values_as_the_farthest_known() -> None:
    model, x, _ = fitted(0.3)
    nothing = np.full((1, x.shape[1]), np.nan, dtype=np.float32)
    reasons = model.contributions(nothing)[0, :, MARGIN]
    np.testing.assert_array_equal(reasons, np.zeros(4))
    far = np.repeat(x[:1], 2, axis=0)
    far[:, MARGIN] = 1e6, 1e9
    np.testing.assert_array_equal(*model.margins(far))


def test_it_survives_json_and_nonsense_does_not() -> None:
    model, x, _ = fitted(0.03, count=200)
    told = json.loads(json.dumps(model.as_dict()))
    np.testing.assert_array_equal(linear.from_dict(told).margins(x), model.margins(x))
    with pytest.raises(ValueError, match="offset"):
        linear.from_dict({**told, "offset": [1.0]})
    with pytest.raises(ValueError, match="slope"):
        linear.from_dict({**told, "slope": (np.array(told["slope"]) * np.nan).tolist()})
