"""Statistical methods by statsforecast, every argument named.

Their own intervals are not used: those of some models explode; ours are measured (`intervals`).
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import numpy as np

from adsml_forecasting.models.method import INTERMITTENT, Method
from adsml_forecasting.models.series import DailySeries, Vector

_LONGEST: Final = 1095
"""Days of history that these methods look back at most: three years."""


@cache
def _makers() -> dict[Method, Callable[..., Any]]:
    """What makes each model. Loaded when first needed: the import takes seconds."""
    from statsforecast import models  # noqa: PLC0415

    return {
        Method.AUTO_ETS: partial(models.AutoETS, model="ZZZ", damped=True),
        Method.AUTO_CES: partial(models.AutoCES, model="Z"),
        Method.DYNAMIC_OPTIMIZED_THETA: partial(models.DynamicOptimizedTheta, decomposition_type="additive"),
        Method.AUTO_ARIMA: partial(models.AutoARIMA, approximation=True),
        Method.TSB: partial(models.TSB, alpha_d=0.1, alpha_p=0.1),
        Method.CROSTON_SBA: models.CrostonSBA,
        Method.IMAPA: models.IMAPA,
    }


def statistical(method: Method, series: DailySeries, horizon: int) -> Vector:
    """One of statsforecast's models; the intermittent-demand methods know no season."""
    values, season = series.filled()[-_LONGEST:], series.season_length
    # Two whole seasons are the least a season can be told from.
    seasonal = {} if method in INTERMITTENT else {"season_length": season if len(values) > 2 * season else 1}
    model = _makers()[method](**seasonal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(model.forecast(y=values, h=horizon)["mean"], dtype=np.float64)
