"""The simplest methods: the last value, the same weekday of last week, the mean."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector


@dataclass(slots=True, kw_only=True)
class Naive:
    """The last value repeated."""

    method: Method = Method.NAIVE
    minimum_days: int = MINIMUM_DAYS[Method.NAIVE]
    level_: float = field(default=np.nan, init=False)

    def fit(self, series: DailySeries) -> Self:
        """Keep the last value."""
        self.level_ = float(series.values[-1])
        return self

    def predict(self, horizon: int) -> Vector:
        """Repeat it."""
        return np.full(horizon, self.level_)


@dataclass(slots=True, kw_only=True)
class Mean:
    """The mean of the known days."""

    method: Method = Method.MEAN
    minimum_days: int = MINIMUM_DAYS[Method.MEAN]
    level_: float = field(default=np.nan, init=False)

    def fit(self, series: DailySeries) -> Self:
        """Take the mean."""
        self.level_ = float(np.nanmean(series.values))
        return self

    def predict(self, horizon: int) -> Vector:
        """Repeat it."""
        return np.full(horizon, self.level_)


@dataclass(slots=True, kw_only=True)
class SeasonalNaive:
    """The last season repeated; a day missing there is taken from its neighbours (`DailySeries.filled`)."""

    season_length: int
    method: Method = Method.SEASONAL_NAIVE
    minimum_days: int = MINIMUM_DAYS[Method.SEASONAL_NAIVE]
    season_: Vector = field(default_factory=lambda: np.empty(0), init=False)

    def fit(self, series: DailySeries) -> Self:
        """Keep the last season."""
        self.season_ = series.filled(season_length=self.season_length)[-self.season_length :]
        return self

    def predict(self, horizon: int) -> Vector:
        """Repeat it."""
        return np.resize(self.season_, horizon)
