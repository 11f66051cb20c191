"""From a model's margins to probabilities that mean what they say.

Boosting with class weights can be over- or under-confident. One map is weighed against doing nothing, learnt on
predictions for days that the model had not seen: ``temperature``, softmax(a * z) with one number (Guo et al. 2017, "On
calibration of modern neural networks", 4.2).

Vector scaling (an offset for each tier) and isotonic regression were measured too and lost to doing nothing on later
days: both follow the days they saw (docs/classifier.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.optimize import minimize

from adsml_classifier import scores
from adsml_classifier.panel import FloatArray, IntArray
from adsml_classifier.rule import TIERS

# What the map has to be better by (log loss, nats) on folds it was not fitted on.
_WORTH: Final = 0.002
_PENALTY: Final = 1e-3


def softmax(z: FloatArray) -> FloatArray:
    """Shape (rows, tiers); a score of minus infinity gives 0."""
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    total: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return total


@dataclass(frozen=True)
class Calibration:
    """softmax(scale * z + offset); ``temperature`` has no offsets, ``identity`` neither offsets nor scale."""

    name: str
    scale: float
    offset: tuple[float, ...]

    def __call__(self, z: FloatArray) -> FloatArray:
        """Probabilities that sum to 1, from scores (log-odds up to a constant), both of shape (rows, tiers)."""
        return softmax(self.scale * z + self._offsets)

    @cached_property
    def _offsets(self) -> FloatArray:
        return np.asarray(self.offset)

    def as_dict(self) -> dict[str, object]:
        """For JSON; `from_dict` reads it."""
        return {"name": self.name, "scale": self.scale, "offset": list(self.offset)}


IDENTITY: Final = Calibration("identity", 1.0, (0.0,) * len(TIERS))


def from_dict(data: Mapping[str, object]) -> Calibration:
    """Read what `Calibration.as_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    offset = tuple(float(value) for value in data["offset"])  # type: ignore[attr-defined]
    return Calibration(str(data["name"]), float(data["scale"]), offset)  # type: ignore[arg-type]


def fit(name: str, z: FloatArray, label: IntArray) -> Calibration:
    """Learn one of the maps from scores and truth.

    Tiers that never occur in `label` keep their offset at 0, so that they are not ruled out by a sample that
    happened not to have them.
    """
    if name == "identity":
        return IDENTITY
    seen = np.isin(np.arange(len(TIERS)), label) & np.isfinite(z).all(axis=0)

    def unpack(theta: FloatArray) -> Calibration:
        offset = np.zeros(len(TIERS))
        if name == "vector":
            offset[seen] = theta[1:]
        return Calibration(name, float(np.exp(theta[0])), tuple(offset))

    def loss(theta: FloatArray) -> float:
        return scores.log_loss(label, unpack(theta)(z)) + _PENALTY * float(theta @ theta)

    start = np.zeros(1 + (int(seen.sum()) if name == "vector" else 0))
    return unpack(minimize(loss, start, method="L-BFGS-B", bounds=[(-3.0, 3.0)] * len(start)).x)


@dataclass(frozen=True)
class Choice:
    """The map that was chosen, and the log loss of each on folds it was not fitted on."""

    calibration: Calibration
    name: str
    log_loss: dict[str, float]


def choose(folds: Sequence[tuple[FloatArray, IntArray]]) -> Choice:
    """Choose a map by cross-validation over folds and fit it to all.

    Parameters
    ----------
    folds
        Scores and truth of days that the booster had not seen, a fold per stretch of days. With fewer than two
        nothing can be chosen and the scores stay as they are.
    """
    if len(folds) < 2:
        return Choice(IDENTITY, "identity", {})
    losses: dict[str, float] = {}
    for name in ("identity", *_WORTH):
        parts, weights = [], []
        for held, (z, label) in enumerate(folds):
            others = [fold for place, fold in enumerate(folds) if place != held]
            learnt = fit(name, np.concatenate([a for a, _ in others]), np.concatenate([b for _, b in others]))
            parts.append(scores.log_loss(label, learnt(z)))
            weights.append(len(label))
        losses[name] = float(np.average(parts, weights=weights))
    best = "identity"
    for name, worth in _WORTH.items():
        if losses[name] < losses[best] - worth:
            best = name
    z, label = np.concatenate([a for a, _ in folds]), np.concatenate([b for _, b in folds])
    return Choice(fit(best, z, label), best, losses)
