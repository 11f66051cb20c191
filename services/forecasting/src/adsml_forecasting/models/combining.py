"""How members become one forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from adsml_forecasting.models.method import Method
from adsml_forecasting.models.series import Vector

Matrix = npt.NDArray[np.float64]

CLASSIC_DAYS: Final = 14
"""The asked-for ensemble is weighted by MAPE on so many of the newest days."""
ANCHOR: Final = 0.5
"""Share of the anchor, where there is one."""
_LEAST_SHRINKAGE: Final = 1e-10
_NO_ERROR: Final = 1e-6  # a member that hit every day exactly must not divide by zero


class Combiner(StrEnum):
    """How members are combined; named as in the contract."""

    INVERSE_MAPE = "INVERSE_MAPE"
    MEDIAN = "MEDIAN"
    STACKED = "STACKED"
    MEAN = "MEAN"


@dataclass(frozen=True, slots=True)
class Weights:
    """What each member counts: not negative, summing to 1; 0 where pruned. With the median, equal for those kept.

    `calibrated`: they rest on measured errors; if not they are equal. The `anchor`, the member with the least
    error by itself, makes up half of the forecast beside what the combiner makes of all; None for no such half.
    """

    combiner: Combiner
    weights: Mapping[Method, float]
    calibrated: bool = True
    anchor: Method | None = None

    @classmethod
    def equal(cls, combiner: Combiner, members: Sequence[Method]) -> "Weights":
        """Uncalibrated: all the same."""
        return cls(combiner, dict.fromkeys(members, 1.0 / len(members)), calibrated=False)

    @property
    def kept(self) -> tuple[Method, ...]:
        """Members that count."""
        return tuple(m for m, weight in self.weights.items() if weight > 0 or m is self.anchor)


def combine(weights: Weights, forecasts: Mapping[Method, Vector]) -> tuple[Vector, dict[Method, float]]:
    """One forecast from those members that gave one (at least one), shape (..., horizon) each, and what each counted.

    Weights of members that failed go to the others in proportion. Where all that count have failed, pruned
    ones answer with equal weights.
    """
    used = {
        method: weight for method, weight in weights.weights.items() if method in forecasts and weight > 0
    }
    if not used:
        used = dict.fromkeys(forecasts, 1.0)
    total = sum(used.values())
    used = {method: weight / total for method, weight in used.items()}
    stacked = np.stack([forecasts[method] for method in used])
    if weights.combiner is Combiner.MEDIAN:
        used = dict.fromkeys(used, 1.0 / len(used))
        out = np.median(stacked, axis=0)
    else:
        out = np.tensordot(np.array(list(used.values())), stacked, axes=1)
    if weights.anchor is None or weights.anchor not in forecasts:
        return out, used
    used = {method: (1 - ANCHOR) * weight for method, weight in used.items()}
    used[weights.anchor] = used.get(weights.anchor, 0.0) + ANCHOR
    return (1 - ANCHOR) * out + ANCHOR * forecasts[weights.anchor], used


def inverse_mape(actual: Vector, forecasts: Mapping[Method, Vector]) -> Weights:
    """Weights in inverse proportion to MAPE over the days with a value above 0; equal ones where no such day is known.

    `actual` has shape (d,), NaN where missing; `forecasts` are what members said of those days from the days before.
    """
    used = np.isfinite(actual) & (actual > 0)
    if not used.any():
        return Weights.equal(Combiner.INVERSE_MAPE, list(forecasts))
    errors = {
        method: max(float(np.mean(np.abs(actual[used] - values[used]) / actual[used])), _NO_ERROR)
        for method, values in forecasts.items()
    }
    inverse = {method: 1.0 / error for method, error in errors.items()}
    total = sum(inverse.values())
    return Weights(Combiner.INVERSE_MAPE, {method: value / total for method, value in inverse.items()})


def stacking_weights(errors: Matrix, *, shrinkage: float = 0.1) -> Vector:
    """Weights on the simplex with the least mean squared error of the combination, drawn to equal ones, shape (M,).

    `errors` are scaled ones of the M members on the same days, finite, shape (days, M). Minimises
    ``w' S w + shrinkage * trace(S) / M * |w - 1/M|^2`` with ``S`` their second moments. For weights that sum to 1 the
    combination's error is the combination of the errors (Bates & Granger 1969).

    Exact: for weights that sum to 1 what is minimised is ``w' A w`` but for a constant, A = S + shrinkage *
    trace(S) / M * I. Its optimality conditions are, but for w's size, those of ``v' A v / 2 - sum(v)`` over v
    not negative, which is a least squares problem with the Cholesky factor of A (Lawson & Hanson 1974).
    """
    members = errors.shape[1]
    moments = errors.T @ errors / max(len(errors), 1)
    size = float(np.trace(moments)) / members
    if not size > 0:
        return np.full(members, 1.0 / members)
    # Members that always err alike have no best weights of their own: the least drawing to equal ones gives them.
    root = np.linalg.cholesky(moments / size + max(shrinkage, _LEAST_SHRINKAGE) * np.eye(members))
    found, _ = nnls(root.T, solve_triangular(root, np.ones(members), lower=True))
    return np.asarray(found / found.sum(), dtype=np.float64)
