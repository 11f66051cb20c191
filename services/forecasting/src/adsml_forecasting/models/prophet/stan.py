"""Prophet's own package, fitted by Stan: the reference that the kernel is held to.

An extra (`adsml-forecasting[stan]`): a server forecasts without it.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from adsml_common.domain.errors import FailedPrecondition

from adsml_forecasting.models.prophet.design import Days
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, ProphetSettings
from adsml_forecasting.models.series import Vector


def require_prophet() -> None:
    """Raise `FailedPrecondition` at once where Prophet is not installed."""
    if find_spec("prophet") is None:
        raise FailedPrecondition(
            "Prophet's package is not installed here; install adsml-forecasting[stan], or use the kernel"
        )


def prophet_model(
    settings: ProphetSettings, combination: Combination = DEFAULTS, *, kind: type[Any] | None = None
) -> Any:
    """An unfitted Prophet (or a `kind` of it) with the given settings and hyperparameters, for point forecasts."""
    require_prophet()
    from prophet import Prophet  # noqa: PLC0415 - an extra, and its import takes seconds

    model = (kind or Prophet)(
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


def predict_by_stan(
    days: Days, values: Vector, settings: ProphetSettings, combination: Combination
) -> Vector:
    """Fit the first days, which have values, and forecast the others."""
    dates = pd.to_datetime(days, unit="D")
    model = prophet_model(settings, combination)
    model.fit(pd.DataFrame({"ds": dates[: len(values)], "y": values}))
    ahead = model.predict(pd.DataFrame({"ds": dates[len(values) :]}))
    return np.asarray(ahead["yhat"], dtype=np.float64)
