"""Prophet's own package, fitted by Stan: the reference that the kernel is held to.

An extra (`adsml-forecasting[stan]`): a server forecasts without it.
"""

from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from adsml_common.domain.errors import FailedPrecondition

from adsml_forecasting.models.prophet.design import Days
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, Seasons
from adsml_forecasting.models.series import Vector


def require_prophet() -> None:
    """Raise `FailedPrecondition` at once where Prophet is not installed."""
    if find_spec("prophet") is None:
        raise FailedPrecondition(
            "Prophet's package is not installed here; install adsml-forecasting[stan], or use the kernel"
        )


def prophet_model(
    seasons: Seasons, combination: Combination = DEFAULTS, *, kind: type[Any] | None = None
) -> Any:
    """An unfitted Prophet (or a `kind` of it) for point forecasts."""
    require_prophet()
    from prophet import Prophet  # noqa: PLC0415 - an extra, and its import takes seconds

    return (kind or Prophet)(
        yearly_seasonality="auto" if seasons.yearly is None else seasons.yearly,
        weekly_seasonality="auto" if seasons.weekly is None else seasons.weekly,
        daily_seasonality=False,
        uncertainty_samples=0,
        **asdict(combination),
    )


def predict_by_stan(days: Days, values: Vector, seasons: Seasons, combination: Combination) -> Vector:
    """Fit the first days, which have values, and forecast the others."""
    dates = pd.to_datetime(days, unit="D")
    model = prophet_model(seasons, combination)
    model.fit(pd.DataFrame({"ds": dates[: len(values)], "y": values}))
    ahead = model.predict(pd.DataFrame({"ds": dates[len(values) :]}))
    return np.asarray(ahead["yhat"], dtype=np.float64)
