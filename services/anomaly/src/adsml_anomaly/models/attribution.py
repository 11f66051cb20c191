"""Which metric is to blame: the one whose own change explains the day best.

A spike of spend moves CPC, CPM and CPL as well, and these may stand out more, being steadier. So each metric is a
hypothesis of what moved: one of the four counts alone, or several by the same factor. It gives a direction ``v``
in the space of the counts' innovations ``z`` with second moments ``S``; its evidence is the likelihood ratio
against "nothing moved" ::

    L(v) = (v' P z)^2 / (v' P v),    P = inverse(S)

(the generalised likelihood ratio for a shift along v of unknown size; A. S. Willsky, H. L. Jones, IEEE Trans.
Automatic Control 1976). Shares are the hypotheses' posterior probabilities under equal priors.
"""

import math
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import BASE, CHANNELS, FREQUENCY, IMPRESSIONS
from adsml_anomaly.models.local_level import Innovations
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.models.stabilise import ANSCOMBE, difference

# Which of spend, impressions, clicks and leads move by the same factor.
HYPOTHESES: Final[dict[Metric, tuple[tuple[bool, ...], ...]]] = {
    Metric.SPEND: (
        (True, False, False, False),  # money alone
        (True, True, True, True),  # more money, and all that it buys
    ),
    Metric.IMPRESSIONS: ((False, True, False, False),),
    Metric.CLICKS: ((False, False, True, False),),
    Metric.LEADS: ((False, False, False, True),),
    Metric.CTR: ((False, False, True, True),),  # clicks, and the leads they bring
    Metric.CPM: ((False, True, True, True),),  # the same money buys less of everything
    Metric.CPC: ((True, True, False, False),),  # more shown and paid, no more clicked
    Metric.CPL: ((True, True, True, False),),  # everything but leads
    Metric.CONVERSION_RATE: ((False, False, False, True),),  # seen from the clicks; leads come first
}
_SECOND: Final = {Metric.CONVERSION_RATE: 0.9, Metric.CTR: 0.95}
"""A ratio that the data can hardly tell from one of its counts yields to it."""
_LEAST_SHIFT: Final = 0.05


def shares(
    innovations: Innovations, t: int, count: FloatArray, model: SeriesModel, *, usable: BoolArray
) -> FloatArray:
    """Each channel's share in the strangeness of day `t`, shape (channels,), of sum 1; NaN of z counts as ordinary.

    `count`, shape (channels,), is what came; what is not `usable` gets no share.
    """
    mean, stretch = innovations.mean[t], innovations.stretch[t]
    phi, precision = model.dynamics.phi, model.precision
    z, known = np.nan_to_num(innovations.z[t]), np.isfinite(mean)
    pull = precision @ z[:BASE]
    # Logs of what came over what was expected; 0 where nothing was.
    shifts = [
        math.log((count[c] + ANSCOMBE) / (mean[c] + ANSCOMBE)) if known[c] else 0.0
        for c in range(len(CHANNELS))
    ]

    def ratio(moved: tuple[bool, ...]) -> float:
        """Of the innovations that a common factor on some counts makes: that of the first of them, as observed."""
        v, first = np.zeros(BASE), moved.index(True)
        if known[first]:
            shift = math.copysign(max(abs(shifts[first]), _LEAST_SHIFT), shifts[first])
            for j in np.flatnonzero(known[:BASE] & moved):
                v[j] = difference(mean[j] * math.exp(shift), mean[j], phi[j]) / stretch[j]
        scale = float(v @ precision @ v)
        return float((v @ pull) ** 2) / scale if scale > 0 else 0.0

    ratios = np.full(len(CHANNELS), -np.inf)
    for metric, hypotheses in HYPOTHESES.items():
        ratios[CHANNELS.index(metric)] = _SECOND.get(metric, 1.0) * max(map(ratio, hypotheses))
    # Reach is not among the counts: frequency answers for what impressions leave unexplained.
    shift = shifts[FREQUENCY]
    unexplained = 1.0 if shift == 0.0 else min(max(1.0 - shifts[IMPRESSIONS] / shift, 0.0), 1.0)
    ratios[FREQUENCY] = (z[FREQUENCY] * unexplained) ** 2
    ratios[~usable] = -np.inf
    weights = np.exp((ratios - ratios.max()) / 2.0)
    return np.asarray(weights / weights.sum())
