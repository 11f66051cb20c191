"""Slow drift: a ratio that has moved over a month, a little every day, so that no single day stands out.

The last two weeks are compared with two weeks that lie 30 days before, as ratios of sums::

    change = log(ratio late) - log(ratio early)

against what would come of chance, of the day-to-day unevenness, and of the wandering that this level of the account
has anyway (a random walk of step variance ``kappa phi``, `local_level`). A step on a single day is no drift: it was an
alarm of its own.

Source: Harvey 1989, section 2.3, for the variance of a local level over h steps.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.channels import CHANNELS, EXPOSURE, NUMERATOR, SCALE, SIGN, Days
from adsml_anomaly.models.local_level import Dynamics
from adsml_anomaly.models.stabilise import ANSCOMBE

FloatArray = npt.NDArray[np.float64]

WINDOW_DAYS: Final = 14
APART_DAYS: Final = 30
LEAST_CHANGE: Final = math.log(1.25)
"""A quarter up, or a fifth down."""
LEAST_Z: Final = 4.0
_LEAST_COUNT: Final = 30.0
_LEAST_DAYS: Final = 10
_WATCHED: Final = (Metric.CPL, Metric.CONVERSION_RATE, Metric.CTR, Metric.CPC, Metric.CPM)


@dataclass(frozen=True, slots=True)
class Drift:
    """A ratio that drifted.

    Attributes
    ----------
    metric
        Which.
    before, now
        In its unit, over the two windows.
    z
        The change in standard deviations, signed as the metric.
    """

    metric: Metric
    before: float
    now: float
    z: float

    @property
    def change(self) -> float:
        """Relative, e.g. -0.36."""
        return self.now / self.before - 1.0


def drift_of(days: Days, dynamics: Dynamics, *, last: int) -> Drift | None:
    """The ratio that drifted most up to row `last`; None where none did.

    CPL and conversion rate say one thing where clicks cost the same: the stronger one is named.
    """
    late = slice(last - WINDOW_DAYS + 1, last + 1)
    early = slice(last - APART_DAYS - WINDOW_DAYS + 1, last - APART_DAYS + 1)
    if early.start < 0:
        return None
    delivered = days.delivered
    if min(int(delivered[late].sum()), int(delivered[early].sum())) < _LEAST_DAYS:
        return None
    best: Drift | None = None
    for metric in _WATCHED:
        c = CHANNELS.index(metric)
        y, x = days.rows[:, NUMERATOR[c]], days.rows[:, EXPOSURE[c]]
        counts = y[early].sum(), y[late].sum()
        if min(counts) < _LEAST_COUNT or min(x[early].sum(), x[late].sum()) <= 0:
            continue
        before, now = counts[0] / x[early].sum(), counts[1] / x[late].sum()
        change = math.log(now / before)
        phi, kappa = float(dynamics.phi[c]), float(dynamics.kappa[c])
        variance = (
            1.0 / counts[0]
            + 1.0 / counts[1]
            + 2.0 * phi / WINDOW_DAYS
            + kappa * phi * (APART_DAYS + WINDOW_DAYS / 3.0)
        )
        z = change / math.sqrt(variance)
        if abs(change) < LEAST_CHANGE or abs(z) < LEAST_Z or _is_step(y, x, early.start, last):
            continue
        if best is None or abs(z) > abs(best.z):
            scale = float(SCALE[c])
            ends = (before, now) if SIGN[c] > 0 else (1.0 / before, 1.0 / now)
            best = Drift(metric, scale * ends[0], scale * ends[1], float(SIGN[c]) * z)
    return best


def _is_step(y: FloatArray, x: FloatArray, first: int, last: int) -> bool:
    """Whether one step explains the way from the early to the late window better than a slope."""
    span = np.arange(first, last + 1)
    use = x[span] > 0
    at = span[use].astype(np.float64)
    logs, weights = np.log((y[span][use] + ANSCOMBE) / x[span][use]), y[span][use] + ANSCOMBE
    if at.size < 2 * _LEAST_DAYS:
        return False
    total = weights.sum()
    middle = (weights * at).sum() / total
    mean = (weights * logs).sum() / total
    slope = (weights * (at - middle) * (logs - mean)).sum() / (weights * (at - middle) ** 2).sum()
    left_over = (weights * (logs - mean - slope * (at - middle)) ** 2).sum()
    cumulated, sums = np.cumsum(weights)[:-1], np.cumsum(weights * logs)[:-1]
    gain = (sums - cumulated * mean) ** 2 * total / (cumulated * (total - cumulated))
    after_step = (weights * (logs - mean) ** 2).sum() - gain.max()
    return bool(after_step < left_over)
