"""Forecasters by name."""

from adsml_forecasting.models.ema import Ema
from adsml_forecasting.models.forecaster import Forecaster, MethodFailed
from adsml_forecasting.models.linear import LinearTrend
from adsml_forecasting.models.method import SINGLE, Method
from adsml_forecasting.models.naive import Mean, Naive, SeasonalNaive
from adsml_forecasting.models.pooled_regression import Pooled, PooledRegression
from adsml_forecasting.models.prophet.member import ProphetMember
from adsml_forecasting.models.prophet.settings import DEFAULTS, Backend, Combination
from adsml_forecasting.models.statistical import Statistical


def make(
    method: Method,
    *,
    season_length: int,
    combination: Combination = DEFAULTS,
    pooled: PooledRegression | None = None,
    backend: Backend = Backend.KERNEL,
) -> Forecaster:
    """An unfitted forecaster.

    Parameters
    ----------
    combination
        Prophet's hyperparameters; the others have none that are tuned.
    backend
        What fits Prophet.
    pooled
        What was learnt from many series; without it `POOLED_REGRESSION` cannot be made.

    Raises
    ------
    MethodFailed
        No pooled regression was given.
    ValueError
        If the method doesn't forecast on its own (`ENSEMBLE`, `TRANSFER`).
    """
    match method:
        case Method.PROPHET:
            if backend is Backend.STAN:
                # The reference brings Prophet's package, which a server need not have.
                from adsml_forecasting.models.prophet.stan import StanMember  # noqa: PLC0415

                return StanMember(combination=combination)
            return ProphetMember(combination=combination)
        case Method.EMA:
            return Ema(season_length=season_length)
        case Method.LINEAR:
            return LinearTrend(season_length=season_length)
        case Method.SEASONAL_NAIVE:
            return SeasonalNaive(season_length=season_length)
        case Method.NAIVE:
            return Naive()
        case Method.MEAN:
            return Mean()
        case Method.POOLED_REGRESSION:
            if pooled is None:
                raise MethodFailed(
                    f"{method} has no registered model; `adsml train ensemble-weights` learns it"
                )
            return Pooled(model=pooled)
    if method not in SINGLE:
        raise ValueError(f"{method} is no method of its own")
    return Statistical(method=method, season_length=season_length)
