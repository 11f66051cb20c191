"""What is known of one series after training: enough to judge its days."""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models import covariance, evidence
from adsml_anomaly.models.channels import BASE, CHANNELS, EXPOSURE, NUMERATOR, Days, IntArray, unit_price
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.covariance import fill_distances
from adsml_anomaly.models.evidence import COMPONENTS, LOG_WEIGHTS, fill_components, fill_evidence
from adsml_anomaly.models.forest import (
    ByteArray,
    Forest,
    IndexArray,
    SingleArray,
    fill_scores,
    mean_path_length,
)
from adsml_anomaly.models.gates import fill_gated
from adsml_anomaly.models.local_level import Dynamics, Innovations, fill_counts, run_all
from adsml_anomaly.models.survival import LOG_P, Survival, fill_log_p

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_C: Final = len(CHANNELS)
_K: Final = COMPONENTS
_NO_TREES: Final = (
    np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.float32), np.empty(0, np.int32), 0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesModel:
    """A trained model: an entity's own, or the pooled one of a level or an account.

    Attributes
    ----------
    dynamics
        How the series moves.
    moments
        Shape (4, 4): second moments of the counts' innovations.
    forest
        Over all channels' innovations; None in a pooled model.
    curves
        One per component (`evidence`): p-values of the single scores.
    combined
        P-values of the evidence.
    precision
        Shape (4, 4): inverse of the moments, by `covariance.precision`.
    grids
        Shape (components, 33): the scores of the curves.
    """

    dynamics: Dynamics
    moments: FloatArray
    forest: Forest | None
    curves: tuple[Survival, ...]
    combined: Survival
    precision: FloatArray = field(init=False, repr=False, compare=False)
    grids: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Worked out once for a model, not once for every day that it judges.
        object.__setattr__(self, "precision", covariance.precision(self.moments))
        object.__setattr__(self, "grids", np.stack([curve.scores for curve in self.curves]))

    def for_series(self, days: Days) -> "SeriesModel":
        """A pooled model as it applies to one entity: with what an impression costs that entity."""
        own = unit_price(days.rows)
        return replace(self, dynamics=replace(self.dynamics, unit_price=own)) if np.isfinite(own) else self


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of T days; see `evidence.components` for what is NaN.

    Attributes
    ----------
    innovations
        Of all channels.
    gated
        Shape (T, channels): metrics with too little volume.
    components
        Shape (T, components).
    log_p
        Same shape: log10 of each component's own p-value.
    combined
        Shape (T,): log10 of the p-value of the evidence of all components.
    """

    innovations: Innovations
    gated: BoolArray
    components: FloatArray
    log_p: FloatArray
    combined: FloatArray


def component_scores(
    found: Innovations,
    gated: BoolArray,
    rows: slice | BoolArray,
    *,
    moments: FloatArray,
    forest: Forest | None,
) -> FloatArray:
    """Component scores, shape (T, components); NaN but for the chosen rows."""
    z = found.z[rows]
    distance = covariance.distances(z[:, :BASE], covariance.precision(moments))
    strange = None if forest is None else forest.score(np.nan_to_num(z))
    out = np.full((len(found.z), evidence.COMPONENTS), np.nan)
    out[rows] = evidence.components(z, distance, strange, gated[rows])
    return out


def score(
    model: SeriesModel,
    days: Days,
    *,
    start: int = 0,
    barred: BoolArray | None = None,
    changed: BoolArray | None = None,
    completeness: Completeness | None = None,
) -> Scores:
    """Score days from row `start` on; the rows before serve as history.

    Parameters
    ----------
    model
        An entity's own, or a pooled one by `SeriesModel.for_series`.
    days
        T days.
    barred, changed
        Shape (T,): days that must not teach, days of known changes; see `local_level`.
    completeness
        Of the T days; None: complete.
    """
    dynamics, forest = model.dynamics, model.forest
    T = len(days.rows)
    none = np.zeros(T, dtype=np.bool_)
    if completeness is None:
        completeness = Completeness(np.ones((_C, T)), np.zeros((_C, T)), none)
    trees = (
        _NO_TREES
        if forest is None
        else (forest.starts, forest.feature, forest.threshold, forest.right, forest.subsample)
    )
    z, mean, stretch, shifted, gated, parts, log_p, combined = _score(
        days.rows, days.first_day.weekday(), dynamics.unit_price, start,
        none if barred is None else barred, none if changed is None else changed,
        completeness.factor, completeness.slack, completeness.filling,
        dynamics.weekdays, dynamics.phi, dynamics.kappa, model.precision, *trees,
        model.grids, model.combined.scores, LOG_P, LOG_WEIGHTS, NUMERATOR, EXPOSURE,
    )  # fmt: skip
    return Scores(Innovations(z, mean, stretch, shifted), gated, parts, log_p, combined)


@compiled
def _score(
    rows: FloatArray,
    weekday: int,
    unit: float,
    start: int,
    barred: BoolArray,
    changed: BoolArray,
    factor: FloatArray,
    slack: FloatArray,
    filling: BoolArray,
    profiles: FloatArray,
    phi: FloatArray,
    kappa: FloatArray,
    precision: FloatArray,
    starts: IndexArray,
    feature: ByteArray,
    threshold: SingleArray,
    right: IndexArray,
    subsample: int,
    grids: FloatArray,
    combined_grid: FloatArray,
    log_p_grid: FloatArray,
    log_weights: FloatArray,
    numerator: IntArray,
    exposure: IntArray,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, BoolArray, FloatArray, FloatArray, FloatArray]:
    """All scores of one series in one call: from Python each of the steps costs more than its work."""
    T, channels, components = rows.shape[0], _C, _K
    y, x = np.empty((channels, T)), np.empty((channels, T))
    fill_counts(rows, unit if unit > 0.0 else 1.0, numerator, exposure, y, x)
    x *= factor
    z, mean, stretch = np.empty((channels, T)), np.empty((channels, T)), np.empty((channels, T))
    shifted = np.empty((channels, T), dtype=np.int64)
    run_all(
        y, x, slack, weekday, profiles, phi, kappa, barred | filling, changed, True, z, mean, stretch, shifted
    )
    for t in range(start, T):
        if filling[t]:
            # Of a day that grows still, only what is too much already can be told.
            for c in range(channels):
                z[c, t] = max(z[c, t], 0.0) if c < BASE and not np.isnan(z[c, t]) else np.nan
    gated = np.zeros((T, channels), dtype=np.bool_)
    fill_gated(rows, mean.T, gated)
    n = T - start
    distance, strange = np.empty(n), np.full(n, np.nan)
    late = z.T[start:]
    fill_distances(late[:, :BASE], precision, distance)
    if starts.size > 0:
        points = np.empty((n, channels), dtype=np.float32)
        for t in range(n):
            for c in range(channels):
                points[t, c] = 0.0 if np.isnan(late[t, c]) else late[t, c]
        fill_scores(points, starts, feature, threshold, right, mean_path_length(subsample), strange)
    for t in range(start, T):
        if filling[t]:
            distance[t - start] = strange[t - start] = np.nan
    parts, log_p = np.full((T, components), np.nan), np.full((T, components), np.nan)
    fill_components(late, distance, strange, gated[start:], parts[start:])
    for k in range(components):
        fill_log_p(parts[start:, k], grids[k], log_p_grid, log_p[start:, k])
    combined = np.full(T, np.nan)
    found = np.empty(n)
    fill_evidence(log_p[start:], log_weights, found)
    fill_log_p(found, combined_grid, log_p_grid, combined[start:])
    return z.T, mean.T, stretch.T, shifted.T, gated, parts, log_p, combined
