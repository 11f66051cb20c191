"""Prophet as a member: the compiled posterior's maximum, which is what `Prophet.predict` forecasts from.

Prophet's own package, fitted by Stan, is the reference that the kernel is held to: an extra
(`adsml-forecasting[stan]`), which a server forecasts without.
"""

from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pandas as pd
from adsml_common.domain.errors import FailedPrecondition

from adsml_forecasting.models.prophet.design import Days, History, make_features, make_fold
from adsml_forecasting.models.prophet.grid import fit_grid
from adsml_forecasting.models.prophet.settings import Backend, Combination, Seasons
from adsml_forecasting.models.series import DailySeries, Vector


def prophet(series: DailySeries, horizon: int, combination: Combination, backend: Backend) -> Vector:
    """Fit, and continue trend and seasons; by Prophet's own package where `backend` is `STAN`."""
    known = History.of(series)
    # What Prophet decides by the history must not be decided by the days to forecast too.
    seasons = Seasons.of(known.days)
    days = np.concatenate([known.days, series.last_day + np.arange(1, horizon + 1)])
    if backend is Backend.STAN:
        return _by_stan(days, known.y, seasons, combination)
    history = History(days, np.concatenate([known.y, np.zeros(horizon)]))
    fold = make_fold(history, make_features(days, seasons), rows=len(known.days), ahead=horizon)
    if fold.constant:
        return np.full(horizon, known.y[0])
    return np.asarray(fit_grid(fold.design, (combination,), fold.ahead).forecasts[0], dtype=np.float64)


def require_prophet() -> None:
    """Raise `FailedPrecondition` at once where Prophet is not installed."""
    if find_spec("prophet") is None:
        raise FailedPrecondition(
            "Prophet's package is not installed here; install adsml-forecasting[stan], or use the kernel"
        )


def _by_stan(days: Days, values: Vector, seasons: Seasons, combination: Combination) -> Vector:
    """Fit the first days, which have values, and forecast the others."""
    require_prophet()
    from prophet import Prophet  # noqa: PLC0415 - an extra, and its import takes seconds

    model = Prophet(
        yearly_seasonality=seasons.yearly,
        weekly_seasonality=seasons.weekly,
        daily_seasonality=False,
        uncertainty_samples=0,
        **asdict(combination),
    )
    dates = pd.to_datetime(days, unit="D")
    model.fit(pd.DataFrame({"ds": dates[: len(values)], "y": values}))
    ahead = model.predict(pd.DataFrame({"ds": dates[len(values) :]}))
    return np.asarray(ahead["yhat"], dtype=np.float64)
