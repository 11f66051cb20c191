"""Exponential moving averages with a damped trend and a weekday profile."""

from typing import Final

import numpy as np

from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.weekday_profile import weekday_profile

_SPANS: Final = (3, 7, 14)
_DAMPING: Final = 0.8
_LEAST_FACTOR: Final = 0.1


def moving_average(values: Vector, *, span: int) -> float:
    """The last exponential moving average, ``2 / (span + 1)`` on the newest day, weights normalised to 1."""
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(len(values) - 1, -1, -1.0)
    return float(weights @ values / weights.sum())


def ema(series: DailySeries, horizon: int, season_length: int) -> Vector:
    """Mean of averages of several spans, continued with a damped trend, times the weekday.

    The slope is what separates the shortest span from the longest: an average of span `s` lags a line by
    ``(s - 1) / 2`` days. It is damped as in Gardner & McKenzie (1985).
    """
    values = series.filled(season_length=season_length)
    multiplicative = bool(series.nonnegative)
    profile = weekday_profile(values, season_length=season_length, multiplicative=multiplicative)
    past = profile[np.arange(-len(values), 0) % season_length]
    if multiplicative:
        # A weekday that hardly delivers tells nothing of the level.
        alive = past > _LEAST_FACTOR
        plain = values[alive] / past[alive]
    else:
        plain = values - past
    averages = [moving_average(plain, span=span) for span in _SPANS]
    lags = [(min(span, len(plain)) - 1) / 2 for span in _SPANS]
    gap = max(lags) - min(lags)
    slope = (averages[0] - averages[-1]) / gap if gap > 0 else 0.0
    trend = float(np.mean(averages)) + slope * np.cumsum(_DAMPING ** np.arange(1, horizon + 1))
    season = np.resize(profile, horizon)
    return np.asarray(trend * season if multiplicative else trend + season)
