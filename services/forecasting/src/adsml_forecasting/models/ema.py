"""Exponential moving averages with a damped trend and a weekday profile."""

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.weekday_profile import weekday_profile

_LEAST_FACTOR: Final = 0.1


def moving_average(values: Vector, *, span: int) -> float:
    """The last exponential moving average with weight ``2 / (span + 1)`` on the newest day.

    Weights are normalised over the days there are, so that a short series is not drawn to its first day.
    """
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(len(values) - 1, -1, -1.0)
    return float(weights @ values / weights.sum())


@dataclass(slots=True, kw_only=True)
class Ema:
    """Mean of exponential moving averages of several spans, continued with a damped trend, times the weekday.

    The slope is what separates the shortest span from the longest: an average of span `s` lags a line by
    ``(s - 1) / 2`` days. It is damped as in Gardner & McKenzie (1985), so that the trend adds at most
    ``slope * damping / (1 - damping)`` in the end.

    Parameters
    ----------
    season_length
        Days per season.
    spans
        Spans of the averages in days.
    damping
        Share of the slope that is left from one day to the next.
    """

    season_length: int
    spans: tuple[int, ...] = (3, 7, 14)
    damping: float = 0.8
    method: Method = Method.EMA
    minimum_days: int = MINIMUM_DAYS[Method.EMA]
    level_: float = field(default=np.nan, init=False)
    slope_: float = field(default=np.nan, init=False)
    profile_: Vector = field(default_factory=lambda: np.empty(0), init=False)
    multiplicative_: bool = field(default=True, init=False)

    def fit(self, series: DailySeries) -> Self:
        """Learn profile, level and slope."""
        values = series.filled(season_length=self.season_length)
        self.multiplicative_ = bool(series.nonnegative)
        self.profile_ = weekday_profile(
            values, season_length=self.season_length, multiplicative=self.multiplicative_
        )
        past = self.profile_[np.arange(-len(values), 0) % self.season_length]
        if self.multiplicative_:
            # A weekday that hardly delivers tells nothing of the level.
            alive = past > _LEAST_FACTOR
            plain = values[alive] / past[alive]
        else:
            plain = values - past
        averages = [moving_average(plain, span=span) for span in self.spans]
        lags = [(min(span, len(plain)) - 1) / 2 for span in self.spans]
        self.level_ = float(np.mean(averages))
        gap = max(lags) - min(lags)
        self.slope_ = (averages[0] - averages[-1]) / gap if gap > 0 else 0.0
        return self

    def predict(self, horizon: int) -> Vector:
        """Level, damped trend and weekday."""
        steps = np.cumsum(self.damping ** np.arange(1, horizon + 1))
        trend = self.level_ + self.slope_ * steps
        season = np.resize(self.profile_, horizon)
        return np.asarray(trend * season if self.multiplicative_ else trend + season)
