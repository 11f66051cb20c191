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
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import BASE, CHANNELS
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
_IMPRESSIONS: Final = CHANNELS.index(Metric.IMPRESSIONS)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one entity, as filtered by `local_level`; shape (channels,) each, NaN of z counts as ordinary."""

    z: FloatArray
    count: FloatArray
    mean: FloatArray
    phi: FloatArray
    stretch: FloatArray


def shares(day: Day, precision: FloatArray, *, usable: BoolArray) -> FloatArray:
    """Each channel's share in a day's strangeness, shape (channels,), of sum 1.

    `precision`, shape (4, 4), is the inverse of the counts' second moments; what is not `usable` gets no share.
    """
    z = np.nan_to_num(day.z)
    pull = precision @ z[:BASE]
    ratios = np.empty(len(CHANNELS))
    for c, metric in enumerate(CHANNELS):
        if metric is Metric.FREQUENCY:
            # Reach is not among the counts: frequency answers for what impressions leave unexplained.
            ratios[c] = (z[c] * _unexplained(day, c)) ** 2
            continue
        ratios[c] = _SECOND.get(metric, 1.0) * max(
            _ratio(_direction(day, moved), pull, precision) for moved in HYPOTHESES[metric]
        )
    ratios[~usable] = -np.inf
    weights = np.exp((ratios - ratios.max()) / 2.0)
    return np.asarray(weights / weights.sum())


def _shift(day: Day, c: int) -> float:
    """Log of what came over what was expected; 0 where nothing was."""
    if not np.isfinite(day.mean[c]):
        return 0.0
    return math.log((day.count[c] + ANSCOMBE) / (day.mean[c] + ANSCOMBE))


def _unexplained(day: Day, frequency: int) -> float:
    """Share of a shift in frequency that a shift in impressions does not explain, between 0 and 1."""
    shift = _shift(day, frequency)
    if shift == 0.0:
        return 1.0
    return min(max(1.0 - _shift(day, _IMPRESSIONS) / shift, 0.0), 1.0)


def _ratio(v: FloatArray, pull: FloatArray, precision: FloatArray) -> float:
    scale = float(v @ precision @ v)
    return float((v @ pull) ** 2) / scale if scale > 0 else 0.0


def _direction(day: Day, moved: tuple[bool, ...]) -> FloatArray:
    """Innovations that a common factor on some counts would make: that of the first of them, as observed."""
    v = np.zeros(BASE)
    first = moved.index(True)
    if not np.isfinite(day.mean[first]):
        return v
    shift = _shift(day, first)
    shift = math.copysign(max(abs(shift), _LEAST_SHIFT), shift)
    for j in range(BASE):
        if moved[j] and np.isfinite(day.mean[j]):
            v[j] = difference(day.mean[j] * math.exp(shift), day.mean[j], day.phi[j]) / day.stretch[j]
    return v
