"""Volume below which a metric is not allowed to alarm."""

from typing import Final

import numpy as np
from adsml_common.compiled import compiled
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import CHANNELS
from adsml_anomaly.models.results import Gate

LEADS_NEEDED: Final = 10.0
IMPRESSIONS_NEEDED: Final = 1000.0
CLICKS_NEEDED: Final = 50.0
_CPL, _CTR, _CPC, _CPM, _CVR = (
    CHANNELS.index(m) for m in (Metric.CPL, Metric.CTR, Metric.CPC, Metric.CPM, Metric.CONVERSION_RATE)
)


@compiled
def gated(rows: FloatArray, mean: FloatArray) -> BoolArray:
    """Which metrics have too little volume to be believed, shape (T, channels), by rows and expected counts."""
    out = np.zeros(mean.shape, dtype=np.bool_)
    for t in range(rows.shape[0]):
        impressions, clicks, leads = rows[t, 1], rows[t, 2], rows[t, 3]
        # CPL is believed on enough leads, or on spend that usually buys so many; a NaN expectation is neither.
        out[t, _CPL] = not (leads >= LEADS_NEEDED or mean[t, _CPL] >= LEADS_NEEDED)
        out[t, _CTR] = out[t, _CPM] = impressions < IMPRESSIONS_NEEDED
        out[t, _CPC] = not (clicks >= CLICKS_NEEDED or mean[t, _CPC] >= CLICKS_NEEDED)
        out[t, _CVR] = clicks < CLICKS_NEEDED
    return out


def gate_of(metric: Metric) -> Gate:
    """What a gated metric has too little of."""
    match metric:
        case Metric.CPL:
            return Gate.FEW_LEADS
        case Metric.CTR | Metric.CPM:
            return Gate.FEW_IMPRESSIONS
        case _:
            return Gate.FEW_CLICKS
