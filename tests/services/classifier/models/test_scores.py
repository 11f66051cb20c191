"""Figures, against scikit-learn and by hand."""

import numpy as np
import pytest
from adsml_classifier.models import scores
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.metrics import log_loss as sklearn_log_loss

TIERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(TIERS)
def test_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    label, predicted = np.array(pairs).T
    found = scores.f1(label, predicted)
    assert found.weighted == pytest.approx(f1_score(label, predicted, average="weighted", zero_division=0))
    assert found.macro == pytest.approx(f1_score(label, predicted, average="macro", zero_division=0))


@given(TIERS)
def test_the_confusion_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    label, predicted = np.array(pairs).T
    expected = confusion_matrix(label, predicted, labels=range(4))
    np.testing.assert_array_equal(scores.confusion(label, predicted), expected)


def test_log_loss_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 50)
    label = rng.integers(0, 4, 50)
    expected = sklearn_log_loss(label, probabilities, labels=range(4))
    assert scores.log_loss(label, probabilities) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    """Two bins: 4 answers at 0.9 of which 3 are right, 6 at 0.5 of which 3 are: 0.4 * 0.15 + 0.6 * 0."""
    confidence = np.array([0.9] * 4 + [0.5] * 6)
    right = np.array([True] * 3 + [False] + [True] * 3 + [False] * 3)
    assert scores.expected_calibration_error(right, confidence) == pytest.approx(0.06)
    bins = scores.reliability(right, confidence)
    assert [(one["count"], one["accuracy"]) for one in bins] == [(6, 0.5), (4, 0.75)]


def test_answers_drawn_from_their_probabilities_are_calibrated() -> None:
    """With 200,000 draws the error is noise of the size of a binomial's deviation in 15 bins, below 0.01."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), 200_000)
    label = (rng.random((200_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert scores.of_probabilities(label, probabilities).ece < 0.01


def test_ranked_probability_score_grows_with_the_distance_in_tiers() -> None:
    """By hand: a sure call one, two, three tiers off costs a third each; doubt between neighbours a twelfth."""
    calls = np.eye(4)
    for off in range(4):
        found = scores.ranked_probability_score(np.array([0]), calls[[off]])
        assert found == pytest.approx(off / 3)
    doubt = np.array([[0.5, 0.5, 0.0, 0.0]])
    assert scores.ranked_probability_score(np.array([0]), doubt) == pytest.approx(0.25 / 3)
