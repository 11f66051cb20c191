"""From a model's margins to probabilities that mean what they say.

Boosting with class weights can be over- or under-confident. One map is weighed against doing nothing, learnt on
predictions for days that the model had not seen: ``temperature``, softmax(a * z) with one number (Guo et al. 2017,
"On calibration of modern neural networks", 4.2).

Vector scaling (an offset for each tier) and isotonic regression were measured too and lost to doing nothing on later
days: both follow the days they saw (docs/classifier.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize

from adsml_classifier.models import scores
from adsml_classifier.models.panel import FloatArray, IntArray

# What the map has to be better by (log loss, nats) on folds it was not fitted on.
_WORTH: Final = 0.002
_PENALTY: Final = 1e-3


def softmax(z: FloatArray) -> FloatArray:
    """Shape (rows, tiers); a score of minus infinity gives 0."""
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    total: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return total


@dataclass(frozen=True, slots=True)
class Calibration:
    """softmax(scale * z); 1 changes nothing."""

    scale: float

    def __call__(self, z: FloatArray) -> FloatArray:
        """Probabilities that sum to 1, from scores (log-odds up to a constant), both of shape (rows, tiers)."""
        return softmax(self.scale * z)

    @property
    def name(self) -> str:
        """``identity`` or ``temperature``."""
        return "identity" if self.scale == 1.0 else "temperature"


IDENTITY: Final = Calibration(1.0)


def fit(z: FloatArray, label: IntArray) -> Calibration:
    """Learn the temperature from scores and truth."""

    def loss(theta: FloatArray) -> float:
        return scores.log_loss(label, softmax(np.exp(theta[0]) * z)) + _PENALTY * float(theta @ theta)

    found = minimize(loss, np.zeros(1), method="L-BFGS-B", bounds=[(-3.0, 3.0)]).x
    return Calibration(float(np.exp(found[0])))


@dataclass(frozen=True)
class Choice:
    """The map that was chosen, and the log loss of each on folds it was not fitted on."""

    calibration: Calibration
    log_loss: dict[str, float]


def choose(folds: Sequence[tuple[FloatArray, IntArray]]) -> Choice:
    """Weigh the temperature against nothing by cross-validation over folds, and fit what wins to all.

    `folds` are scores and truth of days that the model had not seen; with fewer than two nothing can be chosen.
    """
    if len(folds) < 2:
        return Choice(IDENTITY, {})
    weights = [len(label) for _, label in folds]
    losses = {"identity": [scores.log_loss(label, softmax(z)) for z, label in folds], "temperature": []}
    for held, (z, label) in enumerate(folds):
        learnt = fit(*_joined([fold for place, fold in enumerate(folds) if place != held]))
        losses["temperature"].append(scores.log_loss(label, learnt(z)))
    mean = {name: float(np.average(parts, weights=weights)) for name, parts in losses.items()}
    better = mean["temperature"] < mean["identity"] - _WORTH
    return Choice(fit(*_joined(folds)) if better else IDENTITY, mean)


def _joined(folds: Sequence[tuple[FloatArray, IntArray]]) -> tuple[FloatArray, IntArray]:
    return np.concatenate([z for z, _ in folds]), np.concatenate([label for _, label in folds])
