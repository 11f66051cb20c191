"""How the days of the week differ from their mean."""

from typing import Final

import numpy as np

from adsml_forecasting.models.series import Vector

_WEEKS: Final = 8
_PRIOR_WEEKS: Final = 1.0


def weekday_profile(values: Vector, *, season_length: int = 7, multiplicative: bool) -> Vector:
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
