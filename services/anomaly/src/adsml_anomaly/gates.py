"""Volume below which a metric is not allowed to alarm."""

from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.metrics import Metric

from adsml_anomaly.channels import CHANNELS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LEADS_NEEDED: Final = 10.0
IMPRESSIONS_NEEDED: Final = 1000.0
CLICKS_NEEDED: Final = 50.0
_CPL, _CTR, _CPC, _CPM, _CVR = (
    CHANNELS.index(m) for m in (Metric.CPL, Metric.CTR, Metric.CPC, Metric.CPM, Metric.CONVERSION_RATE)
)


def gated(rows: FloatArray, mean: FloatArray) -> BoolArray:
    """Which metrics have too little volume to be believed, shape (T, channels).

    Parameters
    ----------
    rows
        Shape (T, 5): daily rows.
    mean
        Shape (T, channels): expected counts; for CPL the leads that the day's spend usually buys.
    """
    out = np.zeros(mean.shape, dtype=np.bool_)
    _, impressions, clicks, leads, _ = rows.T
    # CPL is believed on enough leads, or on spend that usually buys so many.
    out[:, _CPL] = ~((leads >= LEADS_NEEDED) | (np.nan_to_num(mean[:, _CPL]) >= LEADS_NEEDED))
    out[:, _CTR] = impressions < IMPRESSIONS_NEEDED
    out[:, _CPM] = impressions < IMPRESSIONS_NEEDED
    out[:, _CPC] = ~((clicks >= CLICKS_NEEDED) | (np.nan_to_num(mean[:, _CPC]) >= CLICKS_NEEDED))
    out[:, _CVR] = clicks < CLICKS_NEEDED
    return out


def reason(metric: Metric, rows: FloatArray) -> str:
    """Why a gated metric was not allowed to alarm on a day, e.g. ``3 leads; needs 10``."""
    _, impressions, clicks, leads, _ = rows
    match metric:
        case Metric.CPL:
            return f"{leads:g} leads; needs {LEADS_NEEDED:g}"
        case Metric.CTR | Metric.CPM:
            return f"{impressions:g} impressions; needs {IMPRESSIONS_NEEDED:g}"
        case _:
            return f"{clicks:g} clicks; needs {CLICKS_NEEDED:g}"
