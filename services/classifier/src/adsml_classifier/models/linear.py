"""The part of a model that is linear: what little data can still tell.

A booster of an account of few entities learns steps where the truth is a slope, and entities by heart. A penalised
multinomial logit on a handful of transformed features (Hastie, Tibshirani & Friedman 2009, section 4.4) has little to
learn by heart with; the mean of both margins is better than either on every account tried (docs/classifier.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_classifier.models import features
from adsml_classifier.models.panel import FloatArray, IntArray
from adsml_classifier.models.rule import TIERS

_FARTHEST: Final = 4.0
_MOST_STEPS: Final = 50
_SMALLEST_STEP: Final = 1e-6
# Nats, over all samples: half of it is what is left to gain.
_CLOSE: Final = 1e-9
_PLAIN: Final = (
    "margin_high_7", "margin_moderate_7", "margin_low_7", "margin_high_28", "margin_moderate_28", "margin_low_28",
    "tier_month", "lead_days_7", "lead_days_28",
)  # fmt: skip
_RATIOS: Final = (
    "lead_index_3", "lead_index_7", "lead_index_14", "lead_index_28", "family_lead_index_28",
    "siblings_lead_index_28", "relative_ctr_7", "change_spend",
)  # fmt: skip
_SIZES: Final = ("expected_leads_7", "expected_leads_28")
_TIER_FEATURES: Final = ("tier_week", "tier_week_before")
_HOT: Final = np.tile(np.arange(len(TIERS), dtype=np.float64), len(_TIER_FEATURES))
# The feature that each column of the design is made of: one-hot tiers last.
_ORIGIN: Final = np.array(
    [
        *(features.NAMES.index(name) for name in (*_PLAIN, *_RATIOS, *_SIZES)),
        *(features.NAMES.index(name) for name in _TIER_FEATURES for _ in TIERS),
    ]
)
_OF_RATIOS: Final = slice(len(_PLAIN), len(_PLAIN) + len(_RATIOS))
_OF_SIZES: Final = slice(_OF_RATIOS.stop, _OF_RATIOS.stop + len(_SIZES))


def design(x: npt.NDArray[np.float32]) -> FloatArray:
    """The columns that the logit is linear in, shape (rows, columns); NaN where a feature is missing."""
    # One array worked on in place: for one row, each call of numpy costs more than all of its arithmetic.
    out: FloatArray = x.take(_ORIGIN, axis=1).astype(np.float64)
    logs = out[:, _OF_RATIOS.start : _OF_SIZES.stop]
    np.maximum(logs, 0.0, out=logs)
    ratios, sizes, tiers = out[:, _OF_RATIOS], out[:, _OF_SIZES], out[:, _OF_SIZES.stop :]
    ratios += 0.1
    np.log(ratios, out=ratios)
    np.log1p(sizes, out=sizes)
    np.equal(tiers, _HOT, out=tiers)
    return out


@dataclass(frozen=True)
class Linear:
    """A multinomial logit on columns standardised by `mean` and `spread`; a missing value counts as the mean."""

    mean: FloatArray
    spread: FloatArray
    slope: FloatArray  # shape (columns, 4)
    offset: FloatArray  # shape (4,)
    strength: float  # of the data against the penalty, as it was fitted

    def margins(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Log-odds up to a constant, shape (rows, 4)."""
        out: FloatArray = self._standard(x) @ self.slope + self.offset
        return out

    def contributions(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Shapley values, shape (rows, 4, features + 1), the last the base value; they sum to the margins.

        Those of a linear function are slope times distance from the mean (Lundberg & Lee 2017, corollary 1).
        """
        out = np.zeros((len(x), len(TIERS), len(features.NAMES) + 1))
        parts = self._standard(x)[:, None, :] * self.slope.T
        for column, feature in enumerate(_ORIGIN):
            out[:, :, feature] += parts[:, :, column]
        out[:, :, -1] = self.offset
        return out

    def as_dict(self) -> dict[str, object]:
        """For JSON; `from_dict` reads it."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "spread", "slope", "offset")}
        return {**arrays, "strength": self.strength}

    def _standard(self, x: npt.NDArray[np.float32]) -> FloatArray:
        z = design(x)
        z -= self.mean
        z /= self.spread
        # Beyond anything it learnt from a line says nothing; it stays where it last knew.
        np.minimum(np.maximum(z, -_FARTHEST, out=z), _FARTHEST, out=z)
        z[np.isnan(z)] = 0.0
        return z


def from_dict(data: Mapping[str, object]) -> Linear:
    """Read what `Linear.as_dict` wrote; KeyError, TypeError or ValueError where it is something else."""
    count = len(_ORIGIN)
    shapes = {"mean": (count,), "spread": (count,), "slope": (count, len(TIERS)), "offset": (len(TIERS),)}
    arrays = {name: np.array(data[name], dtype=np.float64) for name in shapes}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: expected finite numbers of shape {shape}")
    return Linear(**arrays, strength=float(data["strength"]))  # type: ignore[arg-type]


def fit(x: npt.NDArray[np.float32], label: IntArray, weight: FloatArray, *, strength: float) -> Linear:
    """Minimise ``strength * sum(weight * log loss) + |slope|^2 / 2`` over at least one sample."""
    columns = design(x)
    known = ~np.isnan(columns)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, columns, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, np.square(columns - mean), 0.0).sum(axis=0) / count)
    start = Linear(mean, np.where(spread > 1e-6, spread, 1.0), np.zeros(()), np.zeros(()), strength)
    z = start._standard(x)
    slope = _newton(np.column_stack([z, np.ones(len(z))]), np.eye(len(TIERS))[label], strength * weight)
    return Linear(start.mean, start.spread, np.ascontiguousarray(slope[:-1]), slope[-1].copy(), strength)


def _newton(z: FloatArray, truth: FloatArray, weight: FloatArray) -> FloatArray:
    """Minimise ``sum(weight * log loss) + |slope|^2 / 2``; shape (columns, tiers).

    Newton's method with step halving (Boyd & Vandenberghe 2004, section 9.5): a handful of steps where a method of
    gradients takes a hundred, and the minimum to the last digits, so that a model does not depend on when it stopped.
    """
    count, tiers = z.shape[1], truth.shape[1]
    slope = np.zeros((count, tiers))
    value, odds = _penalised(z, truth, weight, slope)
    for _ in range(_MOST_STEPS):
        gradient = z.T @ ((odds - truth) * weight[:, None]) + slope
        curvature = np.zeros((tiers, count, tiers, count))
        for one in range(tiers):
            for other in range(one):
                # Tiers' probabilities sum to 1: what lies beside the diagonal sums to what lies on it.
                block = (z * (weight * odds[:, one] * odds[:, other])[:, None]).T @ z
                curvature[one, :, other] -= block
                curvature[other, :, one] -= block
                curvature[one, :, one] += block
                curvature[other, :, other] += block
        square = curvature.reshape(count * tiers, -1)
        square[np.diag_indices_from(square)] += 1.0
        step = np.linalg.solve(square, gradient.T.ravel()).reshape(tiers, count).T
        decrement = float((gradient * step).sum())
        size = 1.0
        while True:
            tried = slope - size * step
            new, odds = _penalised(z, truth, weight, tried)
            if new <= value - 0.25 * size * decrement or size < _SMALLEST_STEP:
                break
            size /= 2
        slope, value = tried, new
        if decrement < _CLOSE:
            break
    return slope


def _penalised(
    z: FloatArray, truth: FloatArray, weight: FloatArray, slope: FloatArray
) -> tuple[float, FloatArray]:
    """What is to be made small, and the probabilities."""
    margin = z @ slope
    margin -= margin.max(axis=1, keepdims=True)
    odds = np.exp(margin)
    total = odds.sum(axis=1)
    logs = (margin * truth).sum(axis=1) - np.log(total)
    return float(np.square(slope).sum()) / 2 - float(weight @ logs), odds / total[:, None]
