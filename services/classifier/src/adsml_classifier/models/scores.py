"""How good predicted tiers and their probabilities are."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_classifier.models.panel import BoolArray, FloatArray, IntArray
from adsml_classifier.models.rule import TIERS

# As in Guo et al. 2017.
_BINS: Final = 15
_SMALLEST: Final = 1e-6


def confusion(label: IntArray, predicted: IntArray) -> IntArray:
    """Counts, shape (4, 4): truth by row, prediction by column, from best to worst tier."""
    cells = np.bincount(label * len(TIERS) + predicted, minlength=len(TIERS) ** 2)
    return cells.reshape(len(TIERS), len(TIERS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class F1:
    """Mean of the tiers' F1: weighted by how often each is true, and plain over those that occur at all."""

    weighted: float
    macro: float


def f1(label: IntArray, predicted: IntArray) -> F1:
    """As scikit-learn's ``f1_score`` with ``average="weighted"`` and ``"macro"``; 0 where there are no samples."""
    counts = confusion(label, predicted)
    if not counts.sum():
        return F1(0.0, 0.0)
    hits, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    by_tier = 2.0 * hits / np.maximum(true + said, 1)
    return F1(
        weighted=float(by_tier @ true / true.sum()), macro=float(by_tier[(true > 0) | (said > 0)].mean())
    )


def log_loss(label: IntArray, probabilities: FloatArray) -> float:
    """Mean of -log of the probability given to the truth, held at 1e-6 from below."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(label)), label], _SMALLEST)).mean())


def ranked_probability_score(label: IntArray, probabilities: FloatArray) -> float:
    """Mean squared difference of cumulated probabilities and truth, over the tiers less one: 0 best, 1 worst.

    Epstein 1969, J. Appl. Meteor. 8; a call two tiers off costs more than one next to the truth, unlike in F1 and log
    loss. For calls without probabilities it is the mean distance in tiers, over 3.
    """
    truth = np.arange(len(TIERS)) >= label[:, None]
    squares = np.square(np.cumsum(probabilities, axis=1) - truth)[:, :-1]
    return float(squares.mean())


def reliability(right: BoolArray, confidence: FloatArray) -> list[dict[str, float]]:
    """``count``, mean ``confidence`` (0 to 1) and ``accuracy``, the share of right answers, in bins of equal width.

    Empty ones are left out.
    """
    place = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    kept = np.flatnonzero(count)
    mean_confidence = np.bincount(place, weights=confidence, minlength=_BINS)[kept] / count[kept]
    accuracy = np.bincount(place, weights=right.astype(np.float64), minlength=_BINS)[kept] / count[kept]
    columns = (count[kept].tolist(), mean_confidence.tolist(), accuracy.tolist())
    return [
        dict(zip(("count", "confidence", "accuracy"), one, strict=True)) for one in zip(*columns, strict=True)
    ]


def expected_calibration_error(right: BoolArray, confidence: FloatArray) -> float:
    """Mean gap between confidence and accuracy over bins, weighted by their samples (Guo et al. 2017, eq. 3)."""
    bins = reliability(right, confidence)
    return sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / max(len(right), 1)


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of a forecast of tiers on one set of samples; F1 and accuracy of the called tiers."""

    samples: int
    weighted_f1: float
    macro_f1: float
    ece: float
    log_loss: float
    rps: float
    accuracy: float


def of_probabilities(label: IntArray, probabilities: FloatArray) -> Scores:
    """Figures of a model that answers the most probable tier, on at least one sample."""
    predicted = probabilities.argmax(axis=1)
    right = predicted == label
    both = f1(label, predicted)
    return Scores(
        samples=len(label),
        weighted_f1=both.weighted,
        macro_f1=both.macro,
        ece=expected_calibration_error(right, probabilities.max(axis=1)),
        log_loss=log_loss(label, probabilities),
        rps=ranked_probability_score(label, probabilities),
        accuracy=float(right.mean()),
    )
