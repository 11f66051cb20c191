"""Exponential moving averages with a damped trend and a weekday profile."""

from typing import Final

import numpy as np

from adsml_forecasting.models.series import DailySeries, Vector

_SPANS: Final = (3, 7, 14)
_DAMPING: Final = 0.8
_LEAST_FACTOR: Final = 0.1
_WEEKS: Final = 8
_PRIOR_WEEKS: Final = 1.0


def moving_average(values: Vector, *, span: int) -> float:
    """The last exponential moving average, ``2 / (span + 1)`` on the newest day, weights normalised to 1."""
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(len(values) - 1, -1, -1.0)
    return float(weights @ values / weights.sum())


def ema(series: DailySeries, horizon: int) -> Vector:
    """Mean of averages of several spans, continued with a damped trend, times the weekday.

    The slope is what separates the shortest span from the longest: an average of span `s` lags a line by
    ``(s - 1) / 2`` days. It is damped as in Gardner & McKenzie (1985).
    """
    values, season_length = series.filled(), series.season_length
    multiplicative = series.nonnegative
    profile = _weekday_profile(values, season_length=season_length, multiplicative=multiplicative)
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


def _weekday_profile(values: Vector, *, season_length: int, multiplicative: bool) -> Vector:
    """Factor (or addend) of each day of the season, shape (season_length,); entry 0 is the day after the last value.

    From the last eight whole seasons of values without gaps; each day's mean against the mean of all, shrunk
    by n / (n + 1) with n seasons. Ones (or zeros) with less than two seasons, or with a mean of 0.
    """
    count = min(len(values) // season_length, _WEEKS)
    neutral = np.ones(season_length) if multiplicative else np.zeros(season_length)
    if count < 2:
        return neutral
    table = values[-count * season_length :].reshape(count, season_length)
    level = table.mean()
    # A trend rises through the week too: the line through the weeks' means goes first.
    weeks_at = np.arange(count) - (count - 1) / 2
    slope = float(weeks_at @ table.mean(axis=1) / (weeks_at @ weeks_at)) / season_length
    at = np.arange(count * season_length) - (count * season_length - 1) / 2
    table = table - slope * at.reshape(count, season_length)
    weight = count / (count + _PRIOR_WEEKS)
    by_day = table.mean(axis=0)
    if not multiplicative:
        return np.asarray(weight * (by_day - level))
    if level <= 0:
        return neutral
    return np.asarray(1.0 + weight * (by_day / level - 1.0))
