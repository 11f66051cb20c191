"""Prophet as a member: the compiled posterior's maximum, without Prophet's frames around it."""

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.prophet.design import History, make_features, make_fold
from adsml_forecasting.models.prophet.grid import first_guess, fit_grid, warm_starts
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, ProphetSettings
from adsml_forecasting.models.series import DailySeries, Vector

_TWO_YEARS: Final = 730
_TWO_WEEKS: Final = 14


@dataclass(slots=True, kw_only=True)
class ProphetMember:
    """Prophet at its posterior's maximum, which is what `Prophet.predict` forecasts from.

    Parameters
    ----------
    combination
        Tuned hyperparameters, or Prophet's defaults.
    """

    combination: Combination = DEFAULTS
    method: Method = Method.PROPHET
    minimum_days: int = MINIMUM_DAYS[Method.PROPHET]
    series_: DailySeries | None = field(default=None, init=False)

    def fit(self, series: DailySeries) -> Self:
        """Keep the series; fitting and forecasting share one compiled call."""
        self.series_ = series
        return self

    def predict(self, horizon: int) -> Vector:
        """Fit, and continue trend and seasons."""
        series = self.series_
        if series is None:
            raise ValueError("fit before predict")
        known = np.flatnonzero(np.isfinite(series.values))
        rows = len(known)
        at = np.concatenate([known, np.arange(len(series), len(series) + horizon)])
        span = int(known[-1] - known[0])
        # What Prophet decides by the history must not be decided by the days to forecast too.
        settings = ProphetSettings(
            yearly_seasonality=span >= _TWO_YEARS, weekly_seasonality=span >= _TWO_WEEKS
        )
        values = np.concatenate([series.values[known], np.zeros(horizon)])
        history = History(at + series.first_day, values, np.empty((len(at), 0)))
        features = make_features(history, settings)
        fold = make_fold(history, features, settings, rows=rows, ahead=horizon)
        if fold.constant:
            return np.full(horizon, values[0])
        combinations = (self.combination,)
        out = np.empty((1, horizon))
        fit_grid(
            fold.design,
            features.priors(combinations, linear=True),
            warm_starts(combinations),
            first_guess(fold.design, linear=True)[None],
            fold.ahead,
            out,
            np.empty(1),
            np.empty(1),
            np.empty(1, np.int64),
            np.empty(1, np.int64),
        )
        return np.asarray(out[0], dtype=np.float64)
