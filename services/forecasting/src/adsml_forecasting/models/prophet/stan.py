"""Prophet's own package, fitted by Stan: the reference that the kernel is held to.

An extra (`adsml-forecasting[stan]`): a server forecasts without it.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from adsml_common.domain.errors import FailedPrecondition

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, ProphetSettings
from adsml_forecasting.models.series import DailySeries, Vector

_TWO_YEARS: Final = 730
_TWO_WEEKS: Final = 14


def require_prophet() -> None:
    """Refuse at once where Prophet is not installed.

    Raises
    ------
    FailedPrecondition
    """
    if find_spec("prophet") is None:
        raise FailedPrecondition(
            "Prophet's package is not installed here; install adsml-forecasting[stan], or use the kernel"
        )


def prophet_model(settings: ProphetSettings, combination: Combination = DEFAULTS) -> Any:
    """An unfitted Prophet with the given settings and hyperparameters, for point forecasts.

    Raises
    ------
    FailedPrecondition
        Prophet is not installed here.
    """
    require_prophet()
    from prophet import Prophet  # noqa: PLC0415 - an extra, and its import takes seconds

    model = Prophet(
        growth=settings.growth,
        n_changepoints=settings.n_changepoints,
        changepoint_range=settings.changepoint_range,
        yearly_seasonality=settings.yearly_seasonality,
        weekly_seasonality=settings.weekly_seasonality,
        daily_seasonality=False,
        holidays=None if settings.holidays is None else settings.holidays.copy(),
        holidays_prior_scale=settings.holidays_prior_scale,
        holidays_mode=settings.holidays_mode,
        scaling=settings.scaling,
        seasonality_mode=combination.seasonality_mode,
        seasonality_prior_scale=combination.seasonality_prior_scale,
        changepoint_prior_scale=combination.changepoint_prior_scale,
        uncertainty_samples=0,
    )
    for regressor in settings.regressors:
        model.add_regressor(
            regressor.name,
            prior_scale=regressor.prior_scale,
            standardize=regressor.standardize,
            mode=regressor.mode,
        )
    return model


@dataclass(slots=True, kw_only=True)
class StanMember:
    """Prophet as its package fits it.

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
        """Keep the series; fitting and forecasting are one step."""
        self.series_ = series
        return self

    def predict(self, horizon: int) -> Vector:
        """Fit by Stan, and continue trend and seasons."""
        series = self.series_
        if series is None:
            raise ValueError("fit before predict")
        known = np.flatnonzero(np.isfinite(series.values))
        span = int(known[-1] - known[0])
        settings = ProphetSettings(
            yearly_seasonality=span >= _TWO_YEARS, weekly_seasonality=span >= _TWO_WEEKS
        )
        days = pd.to_datetime(series.first_day + np.arange(len(series) + horizon), unit="D")
        model = prophet_model(settings, self.combination)
        model.fit(pd.DataFrame({"ds": days[known], "y": series.values[known]}))
        ahead = model.predict(pd.DataFrame({"ds": days[len(series) :]}))
        return np.asarray(ahead["yhat"], dtype=np.float64)
