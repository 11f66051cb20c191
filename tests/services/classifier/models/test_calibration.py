"""The maps undo what they are for, and are left out where they are for nothing."""

import numpy as np
import pytest
from adsml_classifier.models import calibration, scores
from adsml_classifier.models.panel import FloatArray, IntArray


def drawn(rows: int, *, seed: int, spread: float = 2.0) -> tuple[FloatArray, IntArray]:
    """Scores, and labels drawn from their softmax: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    z = spread * rng.standard_normal((rows, 4))
    label = (rng.random((rows, 1)) > calibration.softmax(z).cumsum(axis=1)).sum(axis=1)
    return z, label


def test_temperature_finds_how_far_scores_were_stretched() -> None:
    z, label = drawn(20_000, seed=0)
    found = calibration.fit(2.5 * z, label)
    assert found.scale == pytest.approx(1 / 2.5, rel=0.05)
    np.testing.assert_allclose(found(2.5 * z).sum(axis=1), 1.0)


def test_what_is_calibrated_is_left_as_it_is() -> None:
    choice = calibration.choose([drawn(2000, seed=seed) for seed in (2, 3, 4)])
    assert choice.calibration is calibration.IDENTITY


def test_overconfident_scores_get_a_temperature() -> None:
    folds = [(3 * z, label) for z, label in (drawn(2000, seed=seed) for seed in (5, 6, 7))]
    choice = calibration.choose(folds)
    assert choice.calibration.name == "temperature"
    z, label = drawn(5000, seed=8)
    before = scores.of_probabilities(label, calibration.softmax(3 * z)).ece
    assert scores.of_probabilities(label, choice.calibration(3 * z)).ece < 0.03 < before


def test_without_two_folds_nothing_is_chosen() -> None:
    assert calibration.choose([drawn(500, seed=0)]).calibration is calibration.IDENTITY


def test_a_tier_that_cannot_be_keeps_probability_zero() -> None:
    z, label = drawn(500, seed=9)
    z[:, 2] = -np.inf
    kept = label != 2
    found = calibration.fit(z[kept], label[kept])(z)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
