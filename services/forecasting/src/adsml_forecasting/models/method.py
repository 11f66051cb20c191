"""The ways to forecast, how many days each needs, and which are the default ensemble's."""

from enum import StrEnum
from typing import Final


class Method(StrEnum):
    """A way to forecast one series; named as in the contract."""

    PROPHET = "PROPHET"
    EMA = "EMA"
    LINEAR = "LINEAR"
    SEASONAL_NAIVE = "SEASONAL_NAIVE"
    AUTO_ETS = "AUTO_ETS"
    AUTO_CES = "AUTO_CES"
    DYNAMIC_OPTIMIZED_THETA = "DYNAMIC_OPTIMIZED_THETA"
    AUTO_ARIMA = "AUTO_ARIMA"
    TSB = "TSB"
    CROSTON_SBA = "CROSTON_SBA"
    IMAPA = "IMAPA"
    ENSEMBLE = "ENSEMBLE"
    NAIVE = "NAIVE"
    MEAN = "MEAN"
    TRANSFER = "TRANSFER"
    POOLED_REGRESSION = "POOLED_REGRESSION"


MINIMUM_DAYS: Final[dict[Method, int]] = {
    Method.PROPHET: 14,
    Method.EMA: 3,
    Method.LINEAR: 7,
    Method.SEASONAL_NAIVE: 7,
    Method.AUTO_ETS: 14,
    Method.AUTO_CES: 14,
    Method.DYNAMIC_OPTIMIZED_THETA: 14,
    Method.AUTO_ARIMA: 21,
    Method.TSB: 7,
    Method.CROSTON_SBA: 7,
    Method.IMAPA: 7,
    Method.NAIVE: 1,
    Method.MEAN: 2,
    Method.POOLED_REGRESSION: 14,
}
"""Least days from the first known one to the last, as promised in the contract."""

CLASSIC: Final[tuple[Method, ...]] = (Method.PROPHET, Method.EMA, Method.LINEAR)
"""The members of the asked-for ensemble."""

FALLBACKS: Final[tuple[Method, ...]] = (Method.SEASONAL_NAIVE, Method.EMA, Method.MEAN, Method.NAIVE)
"""What answers, first that can, where nothing that was asked for could."""

STATISTICAL: Final = (Method.AUTO_ETS, Method.AUTO_CES, Method.DYNAMIC_OPTIMIZED_THETA)
"""Those of statsforecast for series of any kind, AutoARIMA apart."""

MEMBERS: Final[tuple[Method, ...]] = (
    *STATISTICAL,
    Method.PROPHET,
    Method.EMA,
    Method.LINEAR,
    Method.SEASONAL_NAIVE,
    Method.NAIVE,
    Method.POOLED_REGRESSION,
)
"""What the default ensemble chooses from: all but AutoARIMA, whose fits take a hundred times the others'
time, and the methods for intermittent series, which join where days without any are common."""
INTERMITTENT: Final[tuple[Method, ...]] = (Method.TSB, Method.CROSTON_SBA, Method.IMAPA)
