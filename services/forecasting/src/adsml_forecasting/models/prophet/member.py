"""Prophet as a member: the compiled posterior's maximum, which is what `Prophet.predict` forecasts from."""

from typing import Final

import numpy as np

from adsml_forecasting.models.prophet.design import History, make_features, make_fold, priors
from adsml_forecasting.models.prophet.grid import fit_grid, warm_starts
from adsml_forecasting.models.prophet.settings import Backend, Combination, Seasons
from adsml_forecasting.models.series import DailySeries, Vector

_TWO_YEARS: Final = 730
_TWO_WEEKS: Final = 14


def prophet(series: DailySeries, horizon: int, combination: Combination, backend: Backend) -> Vector:
    """Fit, and continue trend and seasons; by Prophet's own package where `backend` is `STAN`."""
    known = np.flatnonzero(np.isfinite(series.values))
    span = int(known[-1] - known[0])
    # What Prophet decides by the history must not be decided by the days to forecast too.
    seasons = Seasons(yearly=span >= _TWO_YEARS, weekly=span >= _TWO_WEEKS)
    days = series.first_day + np.concatenate([known, np.arange(len(series), len(series) + horizon)])
    values = series.values[known]
    if backend is Backend.STAN:
        # The reference brings Prophet's package, which a server need not have.
        from adsml_forecasting.models.prophet.stan import predict_by_stan  # noqa: PLC0415

        return predict_by_stan(days, values, seasons, combination)
    history = History(days, np.concatenate([values, np.zeros(horizon)]))
    features = make_features(history, seasons)
    fold = make_fold(history, features, rows=len(known), ahead=horizon)
    if fold.constant:
        return np.full(horizon, values[0])
    by = priors((combination,), columns=features.shape[1])
    fits = fit_grid(fold.design, by, fold.ahead, starts=warm_starts((combination,)))
    return np.asarray(fits.forecasts[0], dtype=np.float64)
