"""Statistical methods by statsforecast, every argument named.

Their own intervals are not used: those of some models explode; ours are measured (`conformal`).
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from adsml_forecasting.models.method import Method
from adsml_forecasting.models.series import DailySeries, Vector

_LONGEST: Final = 1095
"""Days of history that these methods look back at most: three years."""


@cache
def _makers() -> dict[Method, Callable[[int], Any]]:
    """How each model is made for a season length. Loaded when first needed: the import takes seconds."""
    from statsforecast import models  # noqa: PLC0415

    return {
        Method.AUTO_ETS: lambda season: models.AutoETS(season_length=season, model="ZZZ", damped=True),
        Method.AUTO_CES: lambda season: models.AutoCES(season_length=season, model="Z"),
        Method.DYNAMIC_OPTIMIZED_THETA: lambda season: models.DynamicOptimizedTheta(
            season_length=season, decomposition_type="additive"
        ),
        Method.AUTO_ARIMA: lambda season: models.AutoARIMA(season_length=season, approximation=True),
        Method.TSB: lambda _: models.TSB(alpha_d=0.1, alpha_p=0.1),
        Method.CROSTON_SBA: lambda _: models.CrostonSBA(),
        Method.IMAPA: lambda _: models.IMAPA(),
    }


def statistical(method: Method, series: DailySeries, horizon: int, season_length: int) -> Vector:
    """One of statsforecast's models; the intermittent-demand methods know no season."""
    values = series.filled(season_length=season_length)[-_LONGEST:]
    # Two whole seasons are the least a season can be told from.
    model = _makers()[method](season_length if len(values) > 2 * season_length else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(model.forecast(y=values, h=horizon)["mean"], dtype=np.float64)
