"""Three scores, one verdict: evidence of a day as its most telling score.

Every component - each metric's absolute z, the Mahalanobis distance, the forest's score - is first turned into
its own p-value; the evidence is the largest of ``-log10 p + log10 weight``. With weights that sum to 1 that is the
weighted Bonferroni rule (C. R. Genovese, K. Roeder, L. Wasserman, "False discovery control with p-value
weighting", Biometrika 2006): they say how the alarms a person puts up with are shared out. Most go to
what costs money: leads that part from spend and clicks. Components depend on each other, so evidence is
calibrated itself afterwards (`survival`).
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.channels import BASE, CHANNELS
from adsml_anomaly.models.survival import Survival

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

METRIC_WEIGHTS: Final[dict[Metric, float]] = {
    Metric.SPEND: 0.10,
    Metric.IMPRESSIONS: 0.05,
    Metric.CLICKS: 0.05,
    Metric.LEADS: 0.12,
    Metric.CPL: 0.27,
    Metric.CTR: 0.07,
    Metric.CPC: 0.04,
    Metric.CPM: 0.05,
    Metric.CONVERSION_RATE: 0.11,
    Metric.FREQUENCY: 0.02,
}
DISTANCE_WEIGHT: Final = 0.10
FOREST_WEIGHT: Final = 0.02

DISTANCE: Final = len(CHANNELS)
FOREST: Final = len(CHANNELS) + 1
COMPONENTS: Final = len(CHANNELS) + 2
WEIGHTS: Final = np.array([*(METRIC_WEIGHTS[m] for m in CHANNELS), DISTANCE_WEIGHT, FOREST_WEIGHT])


def components(
    z: FloatArray, distance: FloatArray, forest: FloatArray | None, gated: BoolArray
) -> FloatArray:
    """Component scores, shape (T, components): absolute z by channel, distance, forest.

    Parameters
    ----------
    z
        Shape (T, channels).
    distance, forest
        Shape (T,); no forest leaves its component NaN.
    gated
        Shape (T, channels): metrics with too little volume to be believed; they become NaN.
    """
    out = np.empty((len(z), COMPONENTS))
    fill_components(z, distance, np.full(len(z), np.nan) if forest is None else forest, gated, out)
    return out


@compiled
def fill_components(
    z: FloatArray, distance: FloatArray, forest: FloatArray, gated: BoolArray, out: FloatArray
) -> None:
    """As `components`, into an array that is there already; without a forest its scores are NaN."""
    channels = z.shape[1]
    for t in range(z.shape[0]):
        # A day on which no count can be judged can't be judged at all.
        blind = True
        for c in range(BASE):
            blind = blind and np.isnan(z[t, c])
        for c in range(channels):
            out[t, c] = np.nan if blind or gated[t, c] else abs(z[t, c])
        out[t, DISTANCE] = np.nan if blind else distance[t]
        out[t, FOREST] = np.nan if blind else forest[t]


def component_log_p(scores: FloatArray, curves: list[Survival]) -> FloatArray:
    """Log10 p of every component score, shape (T, components); NaN where the score is."""
    out = np.empty(scores.shape)
    for k, curve in enumerate(curves):
        curve.log_p_into(scores[:, k], out[:, k])
    return out


def combine(log_p: FloatArray, *, chosen: BoolArray | None = None) -> FloatArray:
    """Evidence, shape (T,); NaN where no component is known.

    Parameters
    ----------
    log_p
        Shape (T, components).
    chosen
        Shape (components,): components to look at; the weights of the others are shared out among them.
    """
    weights = WEIGHTS if chosen is None else np.where(chosen, WEIGHTS, 0.0)
    out = np.empty(len(log_p))
    fill_evidence(log_p, _logs(weights), out)
    return out


def _logs(weights: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(weights / weights.sum()))


LOG_WEIGHTS: Final = _logs(WEIGHTS)


@compiled
def fill_evidence(log_p: FloatArray, log_weights: FloatArray, out: FloatArray) -> None:
    """As `combine`, into an array that is there already."""
    for t in range(log_p.shape[0]):
        best = -np.inf
        for k in range(log_p.shape[1]):
            if not np.isnan(log_p[t, k]):
                best = max(best, log_weights[k] - log_p[t, k])
        out[t] = best if np.isfinite(best) else np.nan
