"""The simplest methods: the last value, the mean, the same weekday of last week."""

import numpy as np

from adsml_forecasting.models.series import DailySeries, Vector


def naive(series: DailySeries, horizon: int) -> Vector:
    """The last value, repeated."""
    return np.full(horizon, float(series.values[-1]))


def mean(series: DailySeries, horizon: int) -> Vector:
    """The mean of the known days, repeated."""
    return np.full(horizon, float(np.nanmean(series.values)))


def seasonal_naive(series: DailySeries, horizon: int) -> Vector:
    """The last season, repeated; a day missing there is taken from its neighbours (`DailySeries.filled`)."""
    return np.resize(series.filled()[-series.season_length :], horizon)
