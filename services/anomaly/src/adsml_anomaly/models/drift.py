"""Slow drift: a ratio that has moved over weeks, a little every day, so that no single day stands out.

The last two weeks are compared with two weeks that lie 30 days before, as ratios of sums: a change of a quarter up or a
fifth down that chance and the day-to-day unevenness do not make. It is a drift where the ratio moved the same way in
each of the four quarters of the time between, and a slope explains that better than a single step: a step was an alarm
of its own. (The wandering that a level's filter allows for, `local_level`, is no excuse here: who reads of a third less
in a month wants to know, whether or not the account has always been so.)

On simulated accounts on which nothing happens but the wandering of their rates, 1 entity in 100 drifts so at a time.
"""

import math
from dataclasses import dataclass
from typing import Final

from adsml_common.compiled import compiled
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.channels import CHANNELS, EXPOSURE, NUMERATOR, SCALE, SIGN, Days
from adsml_anomaly.models.local_level import Dynamics
from adsml_anomaly.models.stabilise import ANSCOMBE

WINDOW_DAYS: Final = 14
APART_DAYS: Final = 30
SPAN_DAYS: Final = WINDOW_DAYS + APART_DAYS
LEAST_CHANGE: Final = math.log(1.25)
LEAST_Z: Final = 4.0
_LEAST_COUNT: Final = 30.0
_LEAST_DAYS: Final = 10
_QUARTERS: Final = 4
_WATCHED: Final = (Metric.CPL, Metric.CONVERSION_RATE, Metric.CTR, Metric.CPC, Metric.CPM)


@dataclass(frozen=True, slots=True)
class Drift:
    """A ratio over the two windows, in its unit, and its change in standard deviations of chance and unevenness."""

    metric: Metric
    before: float
    now: float
    z: float


def drift_of(days: Days, dynamics: Dynamics, *, last: int) -> Drift | None:
    """The ratio that drifted most up to row `last`; None where none did."""
    first = last - SPAN_DAYS + 1
    if first < 0:
        return None
    rows = days.rows[first : last + 1]
    best: Drift | None = None
    for c in map(CHANNELS.index, _WATCHED):
        y, x = rows[:, NUMERATOR[c]], rows[:, EXPOSURE[c]]
        change, z = _change(y, x, float(dynamics.phi[c]))
        if z == 0.0 or (best is not None and abs(z) <= abs(best.z)):
            continue
        now = y[-WINDOW_DAYS:].sum() / x[-WINDOW_DAYS:].sum()
        ends = (now * math.exp(-change), now) if SIGN[c] > 0 else (math.exp(change) / now, 1.0 / now)
        best = Drift(CHANNELS[c], float(SCALE[c] * ends[0]), float(SCALE[c] * ends[1]), float(SIGN[c]) * z)
    return best


@compiled
def _change(y: FloatArray, x: FloatArray, phi: float) -> tuple[float, float]:
    """Logarithm of the late ratio over the early one and its z; 0 and 0 where it is no drift."""
    n = y.size
    early_y = early_x = late_y = late_x = 0.0
    early_days = late_days = 0
    for t in range(WINDOW_DAYS):
        s = n - WINDOW_DAYS + t
        early_y, early_x, early_days = early_y + y[t], early_x + x[t], early_days + (x[t] > 0.0)
        late_y, late_x, late_days = late_y + y[s], late_x + x[s], late_days + (x[s] > 0.0)
    if min(early_y, late_y) < _LEAST_COUNT or min(early_days, late_days) < _LEAST_DAYS:
        return 0.0, 0.0
    change = math.log(late_y / late_x) - math.log(early_y / early_x)
    z = change / math.sqrt(1.0 / early_y + 1.0 / late_y + 2.0 * phi / WINDOW_DAYS)
    if abs(change) < LEAST_CHANGE or abs(z) < LEAST_Z:
        return 0.0, 0.0
    before = 0.0
    for q in range(_QUARTERS):
        count = seen = 0.0
        for t in range(q * n // _QUARTERS, (q + 1) * n // _QUARTERS):
            count, seen = count + y[t], seen + x[t]
        if count <= 0.0 or seen <= 0.0:
            return 0.0, 0.0
        here = math.log(count / seen)
        if q > 0 and (here - before) * change <= 0.0:
            return 0.0, 0.0
        before = here
    return (0.0, 0.0) if _is_step(y, x) else (change, z)


@compiled
def _is_step(y: FloatArray, x: FloatArray) -> bool:
    """Whether one step leaves less of the ratio's way unexplained than a slope does; by weighted least squares."""
    total = at = mean = 0.0
    for t in range(y.size):
        if x[t] > 0.0:
            weight = y[t] + ANSCOMBE
            total += weight
            at += weight * t
            mean += weight * math.log(weight / x[t])
    at, mean = at / total, mean / total
    cross = spread = below = sums = gain = 0.0
    for t in range(y.size):
        if x[t] > 0.0:
            weight = y[t] + ANSCOMBE
            off = math.log(weight / x[t]) - mean
            cross += weight * off * (t - at)
            spread += weight * (t - at) ** 2
            below += weight
            sums += weight * off
            if below < total:
                gain = max(gain, sums * sums * total / (below * (total - below)))
    return gain > cross * cross / spread
