"""The interface that every method keeps, and what they share."""

from typing import Protocol, Self

import numpy as np

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector


class Forecaster(Protocol):
    """A way to forecast one series.

    The constructor keeps settings; `fit` learns from a series, `predict` says what comes after it.
    """

    @property
    def method(self) -> Method:
        """Its name."""
        ...

    @property
    def minimum_days(self) -> int:
        """Least days of history, from the first known day to the last."""
        ...

    def fit(self, series: DailySeries) -> Self:
        """Learn from a series of at least `minimum_days` days."""
        ...

    def predict(self, horizon: int) -> Vector:
        """The days after the series' last one, shape (horizon,)."""
        ...


class MethodFailed(Exception):
    """A method gave nothing usable for one series; the text says why, for a person to read."""


def forecast(forecaster: Forecaster, series: DailySeries, horizon: int) -> Vector:
    """Fit and predict, with what holds for all methods.

    A constant history is continued by every method. Nothing below 0 is forecast where the metric has no such
    values.

    Returns
    -------
    array of shape (horizon,)
        Finite.

    Raises
    ------
    MethodFailed
        The history is too short, the method raised, or it gave something that is not finite.
    """
    if len(series) < forecaster.minimum_days:
        raise MethodFailed(
            f"{forecaster.method} needs {forecaster.minimum_days} days of history and has {len(series)}"
        )
    known = series.values[np.isfinite(series.values)]
    if series.budget is None and known.min() == known.max():
        return np.full(horizon, known[0])
    try:
        out = np.asarray(forecaster.fit(series).predict(horizon), dtype=np.float64)
    except Exception as error:
        # Numerical libraries raise whatever they like; one member must never take the others down.
        raise MethodFailed(f"{forecaster.method} failed: {type(error).__name__}: {error}") from error
    if out.shape != (horizon,) or not np.isfinite(out).all():
        raise MethodFailed(f"{forecaster.method} gave values that are not finite")
    return np.maximum(out, 0.0) if series.nonnegative else out


def minimum_days(method: Method) -> int:
    """Least days of history of a method."""
    return MINIMUM_DAYS[method]
