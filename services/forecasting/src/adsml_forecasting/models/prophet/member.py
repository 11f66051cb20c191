"""Prophet as a member: the compiled posterior's maximum, which is what `Prophet.predict` forecasts from."""

from typing import Final

import numpy as np

from adsml_forecasting.models.prophet.design import History, make_features, make_fold
from adsml_forecasting.models.prophet.grid import first_guess, fit_grid, warm_starts
from adsml_forecasting.models.prophet.settings import Backend, Combination, ProphetSettings
from adsml_forecasting.models.series import DailySeries, Vector

_TWO_YEARS: Final = 730
_TWO_WEEKS: Final = 14


def prophet(series: DailySeries, horizon: int, combination: Combination, backend: Backend) -> Vector:
    """Fit, and continue trend and seasons; by Prophet's own package where `backend` is `STAN`."""
    known = np.flatnonzero(np.isfinite(series.values))
    span = int(known[-1] - known[0])
    # What Prophet decides by the history must not be decided by the days to forecast too.
    settings = ProphetSettings(yearly_seasonality=span >= _TWO_YEARS, weekly_seasonality=span >= _TWO_WEEKS)
    days = series.first_day + np.concatenate([known, np.arange(len(series), len(series) + horizon)])
    values = series.values[known]
    if backend is Backend.STAN:
        # The reference brings Prophet's package, which a server need not have.
        from adsml_forecasting.models.prophet.stan import predict_by_stan  # noqa: PLC0415

        return predict_by_stan(days, values, settings, combination)
    values = np.concatenate([values, np.zeros(horizon)])
    history = History(days, values, np.empty((len(days), 0)))
    features = make_features(history, settings)
    fold = make_fold(history, features, settings, rows=len(known), ahead=horizon)
    if fold.constant:
        return np.full(horizon, values[0])
    combinations = (combination,)
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
