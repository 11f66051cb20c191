"""Three scores, one verdict: evidence of a day as its most telling score.

Every component - each metric's absolute z, the Mahalanobis distance, the forest's score - is first turned into
its own p-value; the evidence is the largest of ``-log10 p + log10 weight``. With weights that sum to 1 that is the
weighted Bonferroni rule (C. R. Genovese, K. Roeder, L. Wasserman, "False discovery control with p-value
weighting", Biometrika 2006): they say how the alarms a person puts up with are shared out. Most go to
what costs money: leads that part from spend and clicks. Components depend on each other, so evidence is
calibrated itself afterwards (`survival`). A metric with too little volume is no component.
"""

from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import BASE, CHANNELS, CONVERSION, CPC, CPL, CPM, CTR

LEADS_NEEDED: Final = 10.0
IMPRESSIONS_NEEDED: Final = 1000.0
CLICKS_NEEDED: Final = 50.0
DISTANCE: Final = len(CHANNELS)
FOREST: Final = len(CHANNELS) + 1
COMPONENTS: Final = len(CHANNELS) + 2
WEIGHTS: Final = np.array([0.10, 0.05, 0.05, 0.12, 0.27, 0.07, 0.04, 0.05, 0.11, 0.02, 0.10, 0.02])
"""Of the channels' z in their order, of the distance and of the forest's score."""


@compiled
def gated(rows: FloatArray, mean: FloatArray) -> BoolArray:
    """Which metrics have too little volume to be believed, shape (T, channels), by rows and expected counts."""
    out = np.zeros(mean.shape, dtype=np.bool_)
    for t in range(rows.shape[0]):
        impressions, clicks, leads = rows[t, 1], rows[t, 2], rows[t, 3]
        # CPL is believed on enough leads, or on spend that usually buys so many; a NaN expectation is neither.
        out[t, CPL] = not (leads >= LEADS_NEEDED or mean[t, CPL] >= LEADS_NEEDED)
        out[t, CTR] = out[t, CPM] = impressions < IMPRESSIONS_NEEDED
        out[t, CPC] = not (clicks >= CLICKS_NEEDED or mean[t, CPC] >= CLICKS_NEEDED)
        out[t, CONVERSION] = clicks < CLICKS_NEEDED
    return out


@compiled
def components(z: FloatArray, distance: FloatArray, forest: FloatArray, gated: BoolArray) -> FloatArray:
    """Component scores, shape (T, components): absolute z by channel, distance, forest.

    `z` and `gated` are of shape (T, channels), the others (T,); metrics that are gated become NaN.
    """
    channels = z.shape[1]
    out = np.empty((z.shape[0], COMPONENTS))
    for t in range(z.shape[0]):
        # A day on which no count can be judged can't be judged at all.
        blind = True
        for c in range(BASE):
            blind = blind and np.isnan(z[t, c])
        for c in range(channels):
            out[t, c] = np.nan if blind or gated[t, c] else abs(z[t, c])
        out[t, DISTANCE] = np.nan if blind else distance[t]
        out[t, FOREST] = np.nan if blind else forest[t]
    return out


def log_weights(chosen: BoolArray) -> FloatArray:
    """Logarithms of the weights, shape (components,); those of others than the chosen are shared out among them."""
    weights = np.where(chosen, WEIGHTS, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(weights / weights.sum()))


LOG_WEIGHTS: Final = log_weights(np.ones(COMPONENTS, dtype=np.bool_))


@compiled
def combine(log_p: FloatArray, weights: FloatArray) -> FloatArray:
    """Evidence, shape (T,), of log10 p of shape (T, components), by `log_weights`; NaN where no component is known."""
    out = np.empty(log_p.shape[0])
    for t in range(log_p.shape[0]):
        best = -np.inf
        for k in range(log_p.shape[1]):
            if not np.isnan(log_p[t, k]):
                best = max(best, weights[k] - log_p[t, k])
        out[t] = best if np.isfinite(best) else np.nan
    return out
