"""What each metric should have been on each day, from the days before it: a local level with a weekday profile.

For a channel with count ``y_t`` and exposure ``x_t``::

    mean_t  = x_t exp(level_t + weekday_t)
    level_t = level_{t-1} + w_t,   Var w_t = kappa phi

filtered by Kalman's recursion in logs, where an observation has variance ``phi + 1 / mean_t`` (unevenness and
chance). The standardised innovation is the stabilised difference of count and mean (`stabilise`) over its
predictive standard deviation: about standard normal and without memory on ordinary days.

Beyond the textbook (A. C. Harvey, "Forecasting, structural time series models and the Kalman filter", 1989,
sections 2 and 4.3):

- innovations are clipped before they move the level, so that one strange day does not make the next one strange;
- three clipped days in a row to one side are a new level, and it is taken over; should the metric come back to
  where it was before, within two weeks, the old level is, too;
- where alarms are raised, days at a new level go on being measured against the old one for a week, and for two
  weeks while less than 15% of it comes: a fault that lasts is no less of a fault, and a change that lasts
  becomes the new normal;
- a day may be barred from moving the level (holidays);
- from the day of a known change on the level is free to move.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import BoolArray, FloatArray, IntArray
from adsml_anomaly.models.channels import EXPOSURE, NUMERATOR, Days
from adsml_anomaly.models.stabilise import ANSCOMBE, difference

CLIP: Final = 3.0
SHIFT_DAYS: Final = 3
RETURN_DAYS: Final = 14
SETTLE_DAYS: Final = 7
"""Days at a new level before it is the normal one."""
COLLAPSE_SHARE: Final = 0.15
"""Of what was usual: so little is a fault and no level, for `RETURN_DAYS`."""
CHANGE_VARIANCE: Final = 0.25
"""Variance in logs that a known change adds to the level: budgets are halved and doubled."""
START_VARIANCE: Final = 0.1
WARM_UP_DAYS: Final = 7
"""Delivered days before an innovation is worth looking at: each weekday once."""


@dataclass(frozen=True, slots=True)
class Dynamics:
    """How a series moves, by channel."""

    phi: FloatArray  # Shape (channels,): variance in logs from day to day beside chance
    kappa: FloatArray  # Shape (channels,): variance of the level's steps, in units of `phi`
    weekdays: FloatArray  # Shape (channels, 7): profile in logs, Monday first, mean 0
    unit_price: float  # Spend that counts as 1: the usual price of an impression


@dataclass(frozen=True, slots=True)
class Innovations:
    """What was expected and what came, shape (T, channels) each; NaN where nothing can be said."""

    # Standardised innovation of the count, so that a cost per something has the opposite sign
    z: FloatArray
    mean: FloatArray  # Expected count (spend in units of the usual price of an impression)
    stretch: FloatArray  # Predictive standard deviation over that of a day with known level: at least 1
    # Row on which the level that was last taken over began; -1 where none was, or it went back
    shifted: IntArray


def innovations(
    days: Days, dynamics: Dynamics, *, counted: tuple[FloatArray, FloatArray] | None = None
) -> Innovations:
    """Filter all channels of one entity; `counted` is what `counts` gave, for who filters the same days often."""
    y, x = counts(days.rows, dynamics.unit_price) if counted is None else counted
    none, weekday = np.zeros(len(days.rows), dtype=np.bool_), days.first_day.weekday()
    z, mean, stretch, shifted = run(
        y, x, np.zeros_like(y), weekday, dynamics.weekdays, dynamics.phi, dynamics.kappa, none, none, False
    )
    return Innovations(z.T, mean.T, stretch.T, shifted.T)


@compiled
def counts(rows: FloatArray, unit: float) -> tuple[FloatArray, FloatArray]:
    """Counts and exposures, shape (channels, T) each; exposure 0 where the channel is blind that day."""
    y, x = np.empty((NUMERATOR.size, rows.shape[0])), np.empty((NUMERATOR.size, rows.shape[0]))
    for t in range(rows.shape[0]):
        delivered = rows[t, 0] > 0.0 or rows[t, 1] > 0.0
        for c in range(y.shape[0]):
            count = rows[t, NUMERATOR[c]]
            seen = rows[t, EXPOSURE[c]] if EXPOSURE[c] >= 0 else 1.0
            y[c, t] = 0.0 if np.isnan(count) else count
            x[c, t] = 0.0 if np.isnan(seen) or not delivered else seen
        y[0, t] /= unit if unit > 0.0 else 1.0
    return y, x


@compiled
def run(  # noqa: PLR0912, PLR0915  # one recursion: a branch per thing that can happen on a day
    y: FloatArray,
    x: FloatArray,
    slack: FloatArray,
    weekday: int,
    profiles: FloatArray,
    phi: FloatArray,
    kappa: FloatArray,
    barred: BoolArray,
    changed: BoolArray,
    hold: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Filter each channel: z, mean, stretch and shifted, shape (channels, T) each.

    `weekday` is day 0's, Monday 0; `slack` is variance in logs that a day has beside the usual (it is not complete
    yet). On days that are `barred` the level must not move; on days `changed` a known change came into force; `hold`:
    measure days at a new level against the old one until it has settled.
    """
    z, mean, stretch = np.full(y.shape, np.nan), np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    shifted = np.empty(y.shape, dtype=np.int64)
    for c in range(y.shape[0]):
        drift = kappa[c] * phi[c]
        level, variance, seen = 0.0, 0.0, 0
        old_level, old_variance, old_days, before, before_variance = 0.0, 0.0, 0, 0.0, 0.0
        streak, side, streak_start, since, old_since = 0, 0, -1, -1, -1
        for t in range(y.shape[1]):
            shifted[c, t] = since
            if seen:
                variance += drift
            if old_days > 0:
                old_days -= 1
                old_variance += drift
            if x[c, t] <= 0.0:
                continue
            season = profiles[c, (weekday + t) % 7]
            here = math.log((y[c, t] + ANSCOMBE) / x[c, t]) - season
            if not seen:
                if not barred[t]:
                    level, variance, seen = here, START_VARIANCE + phi[c] + 1.0 / (y[c, t] + ANSCOMBE), 1
                continue
            expected = x[c, t] * math.exp(level + season)
            noise = phi[c] + slack[c, t] + 1.0 / (expected + ANSCOMBE)
            total = variance + noise
            innovation = difference(y[c, t], expected, phi[c]) * _scale(expected, phi[c], total)
            held = False
            if old_days > 0:
                again = x[c, t] * math.exp(old_level + season)
                old_noise = phi[c] + slack[c, t] + 1.0 / (again + ANSCOMBE)
                other = difference(y[c, t], again, phi[c])
                if abs(innovation) > CLIP and abs(other) < CLIP:
                    level, expected, noise = old_level, again, old_noise
                    variance, old_days, since = noise, 0, old_since
                    total = variance + noise
                    innovation = other * _scale(again, phi[c], total)
                    shifted[c, t] = since
                elif hold and (t - since < SETTLE_DAYS or y[c, t] < COLLAPSE_SHARE * again):
                    held = True
                    old_total = old_variance + old_noise
                    if seen >= WARM_UP_DAYS:
                        z[c, t], mean[c, t] = other * _scale(again, phi[c], old_total), again
                        stretch[c, t] = 1.0 / _scale(again, phi[c], old_total)
            if seen >= WARM_UP_DAYS and not held:
                z[c, t], mean[c, t] = innovation, expected
                stretch[c, t] = 1.0 / _scale(expected, phi[c], total)
            if barred[t]:
                continue
            seen += 1
            if changed[t]:
                variance += CHANGE_VARIANCE
                total = variance + noise
            now = 1 if innovation > CLIP else (-1 if innovation < -CLIP else 0)
            streak = streak + 1 if now != 0 and now == side else abs(now)
            side = now
            if streak == 1:
                before, before_variance, streak_start = level, variance, t
            if streak >= SHIFT_DAYS and not changed[t]:
                # A second step before the first has settled: the level before both was the good one.
                if old_days == 0 or not hold or streak_start - since >= SETTLE_DAYS:
                    old_level, old_variance, old_days, old_since = before, before_variance, RETURN_DAYS, since
                    since = streak_start
                level, variance, streak, side = here, phi[c] + 1.0 / (y[c, t] + ANSCOMBE), 0, 0
                shifted[c, t] = since
                continue
            gain = variance / total
            if changed[t]:
                step = here - level
            else:
                step = min(max(innovation, -CLIP), CLIP) * math.sqrt(total)
            level += gain * step
            variance *= 1.0 - gain
    return z, mean, stretch, shifted


@compiled
def _scale(expected: float, phi: float, total: float) -> float:
    """Standard deviation of a day with known level and nothing beside, over the predictive one: at most 1."""
    return math.sqrt((phi + 1.0 / (expected + ANSCOMBE)) / total)
