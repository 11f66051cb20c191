"""Statistical methods by statsforecast, every argument named.

Their own intervals are not used: those of some models explode; ours are measured (`conformal`).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector

LONGEST: Final = 1095
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


@dataclass(slots=True, kw_only=True)
class Statistical:
    """One of statsforecast's models.

    Parameters
    ----------
    method
        Which.
    season_length
        Days per season; the intermittent-demand methods know no season.
    """

    method: Method
    season_length: int
    values_: Vector = field(default_factory=lambda: np.empty(0), init=False)

    @property
    def minimum_days(self) -> int:
        """As in the contract."""
        return MINIMUM_DAYS[self.method]

    def fit(self, series: DailySeries) -> Self:
        """Keep the values without gaps; statsforecast fits and predicts in one call."""
        self.values_ = series.filled(season_length=self.season_length)[-LONGEST:]
        return self

    def predict(self, horizon: int) -> Vector:
        """The model's mean."""
        # Two whole seasons are the least a season can be told from.
        season = self.season_length if len(self.values_) > 2 * self.season_length else 1
        model = _makers()[self.method](season)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(model.forecast(y=self.values_, h=horizon)["mean"], dtype=np.float64)
