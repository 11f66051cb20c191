"""From a booster's scores to probabilities that mean what they say.

Boosting with class weights is over- or under-confident. Three maps are weighed against doing nothing, each
learnt on predictions for days that the booster had not seen:

- ``temperature``: softmax(z / T), one number (Guo et al. 2017, section 4.2);
- ``vector``: softmax(a * z + b), a scale for all and an offset for each tier: undoes class weights;
- ``isotonic``: a monotone step function for each tier's probability, then normalised (Zadrozny & Elkan 2002).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from adsml_classifier import scores
from adsml_classifier.panel import FloatArray, IntArray
from adsml_classifier.rule import TIERS

_FLOOR: Final = 1e-4
# A more flexible map has to be better by this much (log loss, nats) on folds it was not fitted on.
_WORTH: Final = 0.002
_PENALTY: Final = 1e-3


def softmax(z: FloatArray) -> FloatArray:
    """Shape (rows, tiers); a score of minus infinity gives 0."""
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    total: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return total


class Calibration(Protocol):
    """A map from scores (log-odds up to a constant), shape (rows, tiers), to probabilities."""

    def __call__(self, z: FloatArray) -> FloatArray:
        """Probabilities that sum to 1 in each row."""
        ...

    def as_dict(self) -> dict[str, object]:
        """For JSON; `from_dict` reads it."""
        ...


@dataclass(frozen=True)
class Scaling:
    """softmax(scale * z + offset); ``temperature`` is the same without offsets, ``identity`` with scale 1."""

    name: str
    scale: float
    offset: tuple[float, ...]

    def __call__(self, z: FloatArray) -> FloatArray:
        return softmax(self.scale * z + np.asarray(self.offset))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"name": self.name, "scale": self.scale, "offset": list(self.offset)}


@dataclass(frozen=True)
class Isotonic:
    """A monotone function per tier, given by its knots, then normalised."""

    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    name: str = "isotonic"

    def __call__(self, z: FloatArray) -> FloatArray:
        raw = softmax(z)
        mapped = np.column_stack(
            [np.interp(raw[:, tier], x, y) for tier, (x, y) in enumerate(self.knots)]
        )
        # A tier that can't be (score minus infinity) stays so; the others never reach 0.
        mapped = np.where(raw > 0, np.maximum(mapped, _FLOOR), 0.0)
        total: FloatArray = mapped / mapped.sum(axis=1, keepdims=True)
        return total

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"name": self.name, "knots": [[list(x), list(y)] for x, y in self.knots]}


IDENTITY: Final = Scaling("identity", 1.0, (0.0,) * len(TIERS))


def from_dict(data: Mapping[str, object]) -> Calibration:
    """Read what `Calibration.as_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    if data["name"] == "isotonic":
        knots = tuple((tuple(map(float, x)), tuple(map(float, y))) for x, y in data["knots"])  # type: ignore[attr-defined]
        return Isotonic(knots)
    offset = tuple(float(value) for value in data["offset"])  # type: ignore[attr-defined]
    return Scaling(str(data["name"]), float(data["scale"]), offset)  # type: ignore[arg-type]


def fit(name: str, z: FloatArray, label: IntArray) -> Calibration:
    """Learn one of the maps from scores and truth.

    Tiers that never occur in `label` keep their offset at 0, so that they are not ruled out by a sample that
    happened not to have them.
    """
    if name == "identity":
        return IDENTITY
    if name == "isotonic":
        raw = softmax(z)
        return Isotonic(tuple(_isotonic(raw[:, tier], label == tier) for tier in range(len(TIERS))))
    seen = np.isin(np.arange(len(TIERS)), label) & np.isfinite(z).all(axis=0)

    def unpack(theta: FloatArray) -> Scaling:
        offset = np.zeros(len(TIERS))
        if name == "vector":
            offset[seen] = theta[1:]
        return Scaling(name, float(np.exp(theta[0])), tuple(offset))

    def loss(theta: FloatArray) -> float:
        return scores.log_loss(label, unpack(theta)(z)) + _PENALTY * float(theta @ theta)

    start = np.zeros(1 + (int(seen.sum()) if name == "vector" else 0))
    return unpack(minimize(loss, start, method="L-BFGS-B", bounds=[(-3.0, 3.0)] * len(start)).x)


def _isotonic(probability: FloatArray, hit: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> tuple[tuple[float, ...], tuple[float, ...]]:
    model = IsotonicRegression(out_of_bounds="clip").fit(probability, hit.astype(np.float64))
    return tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_))


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
    for name in ("identity", "temperature", "vector", "isotonic"):
        parts, weights = [], []
        for held, (z, label) in enumerate(folds):
            others = [fold for place, fold in enumerate(folds) if place != held]
            learnt = fit(name, np.concatenate([a for a, _ in others]), np.concatenate([b for _, b in others]))
            parts.append(scores.log_loss(label, learnt(z)))
            weights.append(len(label))
        losses[name] = float(np.average(parts, weights=weights))
    # In order of flexibility.
    best = "identity"
    for name in ("temperature", "vector", "isotonic"):
        if losses[name] < losses[best] - _WORTH:
            best = name
    z, label = np.concatenate([a for a, _ in folds]), np.concatenate([b for _, b in folds])
    return Choice(fit(best, z, label), best, losses)
