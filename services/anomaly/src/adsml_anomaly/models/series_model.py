"""What is known of one series after training: enough to judge its days."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import BoolArray, FloatArray, IntArray
from adsml_anomaly.models.channels import BASE, Days, unit_price
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.covariance import distances, precision
from adsml_anomaly.models.evidence import COMPONENTS, LOG_WEIGHTS, combine, components, gated
from adsml_anomaly.models.forest import Forest, Trees, scores
from adsml_anomaly.models.local_level import Dynamics, Innovations, counts, run
from adsml_anomaly.models.survival import log_p_of

_NO_TREES: Final[Trees] = (
    np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.float32), np.empty(0, np.int32), 0,
)  # fmt: skip


@dataclass(frozen=True)
class SeriesModel:
    """A trained model: an entity's own, or the pooled one of a level or an account."""

    dynamics: Dynamics
    moments: FloatArray  # Shape (4, 4): second moments of the counts' innovations
    forest: Forest | None  # Over all channels' innovations; None in a pooled model
    # Shape (components + 1, 33): curves (`survival`) of p-values of the components and, last, of the evidence
    curves: FloatArray

    @cached_property
    def precision(self) -> FloatArray:
        """Shape (4, 4): inverse of the moments."""
        return precision(self.moments)

    def for_series(self, days: Days) -> "SeriesModel":
        """A pooled model as it applies to one entity: with what an impression costs that entity."""
        own = unit_price(days.rows)
        return replace(self, dynamics=replace(self.dynamics, unit_price=own)) if np.isfinite(own) else self


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of T days; see `evidence.components` for what is NaN."""

    innovations: Innovations
    gated: BoolArray  # Shape (T, channels): metrics with too little volume
    components: FloatArray  # Shape (T, components)
    log_p: FloatArray  # Same shape: log10 of each component's own p-value
    combined: FloatArray  # Shape (T,): log10 of the p-value of the evidence of all components


def score(
    model: SeriesModel,
    days: Days,
    *,
    start: int,
    barred: BoolArray,
    changed: BoolArray,
    complete: Completeness,
) -> Scores:
    """Score T days from row `start` on, by an entity's own model or a pooled one by `for_series`.

    The rows before serve as history. `barred` and `changed`, shape (T,), are days that must not teach and days of known
    changes (see `local_level`).
    """
    dynamics, trees = model.dynamics, _NO_TREES if model.forest is None else model.forest.trees
    z, mean, stretch, shifted, few, parts, log_p, combined = _score(
        days.rows, days.first_day.weekday(), dynamics.unit_price, start, barred, changed,
        complete.factor, complete.slack, complete.filling,
        dynamics.weekdays, dynamics.phi, dynamics.kappa, model.precision, trees, model.curves,
    )  # fmt: skip
    return Scores(Innovations(z, mean, stretch, shifted), few, parts, log_p, combined)


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
    trees: Trees,
    curves: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, BoolArray, FloatArray, FloatArray, FloatArray]:
    """All scores of one series in one call: from Python each of the steps costs more than its work."""
    y, x = counts(rows, unit)
    x *= factor
    z, mean, stretch, shifted = run(
        y, x, slack, weekday, profiles, phi, kappa, barred | filling, changed, True
    )
    T, channels = rows.shape[0], y.shape[0]
    for t in range(start, T):
        if filling[t]:
            # Of a day that grows still, only what is too much already can be told.
            for c in range(channels):
                z[c, t] = max(z[c, t], 0.0) if c < BASE and not np.isnan(z[c, t]) else np.nan
    few, late = gated(rows, mean.T), z.T[start:]
    distance, strange = distances(late[:, :BASE], precision), np.full(T - start, np.nan)
    if trees[0].size > 0:
        points = np.empty((T - start, channels), dtype=np.float32)
        for t in range(T - start):
            for c in range(channels):
                points[t, c] = 0.0 if np.isnan(late[t, c]) else late[t, c]
        strange = scores(points, trees)
    for t in range(start, T):
        if filling[t]:
            distance[t - start] = strange[t - start] = np.nan
    parts, log_p = np.full((T, COMPONENTS), np.nan), np.full((T, COMPONENTS), np.nan)
    parts[start:] = components(late, distance, strange, few[start:])
    for k in range(COMPONENTS):
        log_p[start:, k] = log_p_of(parts[start:, k], curves[k])
    combined = np.full(T, np.nan)
    combined[start:] = log_p_of(combine(log_p[start:], LOG_WEIGHTS), curves[COMPONENTS])
    return z.T, mean.T, stretch.T, shifted.T, few, parts, log_p, combined
