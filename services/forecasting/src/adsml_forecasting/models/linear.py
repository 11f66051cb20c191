"""Linear trend with a weekday profile."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector


@dataclass(slots=True, kw_only=True)
class LinearTrend:
    """Least squares on a line and one addend per weekday, over the newest days.

    Parameters
    ----------
    season_length
        Days per season.
    window
        So many of the newest days are fitted.
    """

    season_length: int
    window: int = 56
    method: Method = Method.LINEAR
    minimum_days: int = MINIMUM_DAYS[Method.LINEAR]
    coefficients_: Vector = field(default_factory=lambda: np.empty(0), init=False)
    rows_: int = field(default=0, init=False)

    def _columns(self, at: Vector) -> Vector:
        days = np.arange(self.season_length)
        # Sum-to-zero weekdays: the line stays the level, and a weekday never seen is an average one.
        season = (np.mod(at[:, None], self.season_length) == days) - 1.0 / self.season_length
        return np.hstack([np.ones((len(at), 1)), at[:, None] / self.window, season])

    def fit(self, series: DailySeries) -> Self:
        """Solve the least squares of the known days; the smallest solution where weekdays are missing."""
        rows = min(len(series), self.window)
        y = series.values[-rows:]
        at = np.arange(1.0 - rows, 1.0)
        known = np.isfinite(y)
        columns = self._columns(at)
        self.coefficients_ = np.asarray(
            np.linalg.lstsq(columns[known], y[known], rcond=1e-8)[0], dtype=np.float64
        )
        self.rows_ = rows
        return self

    def predict(self, horizon: int) -> Vector:
        """The line and the weekdays, continued."""
        return np.asarray(self._columns(np.arange(1.0, horizon + 1)) @ self.coefficients_)
