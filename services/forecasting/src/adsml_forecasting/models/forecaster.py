"""The interface that every method keeps, and what they share."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Vector

_DEAD_WEEKS: Final = 8
_LEAST_WEEKS: Final = 2
_NEVER_BY_CHANCE: Final = 7.0
"""So many leads expected on days that had none (1 in 1,100 by chance) make a weekday a dead one."""
_ON_THE_CALENDAR: Final = (Method.PROPHET, Method.POOLED_REGRESSION)


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


def dead_days(values: Vector, *, season_length: int) -> npt.NDArray[np.bool_]:
    """Places of the season on which nothing has come for weeks, by index modulo `season_length`.

    Every known day of the place within the last eight seasons (two at least) is 0, and that is no chance: so
    many zeros were not to be expected of counts that small.
    """
    out = np.zeros(season_length, dtype=bool)
    newest = values[-_DEAD_WEEKS * season_length :]
    known = np.isfinite(newest)
    if season_length < 2 or known.sum() < _LEAST_WEEKS * season_length or not np.nansum(newest) > 0:
        return out
    if (newest[known] < 0).any():
        return out
    counts = bool((newest[known] == np.round(newest[known])).all())
    level = float(np.nansum(newest)) / int(known.sum())
    places = (len(values) - len(newest) + np.arange(len(newest))) % season_length
    for place in range(season_length):
        mine = newest[(places == place) & known]
        if len(mine) >= _LEAST_WEEKS and not mine.any():
            out[place] = not counts or level * len(mine) > _NEVER_BY_CHANCE
    return out if not out.all() else np.zeros(season_length, dtype=bool)


def forecast(forecaster: Forecaster, series: DailySeries, horizon: int, *, season_length: int = 7) -> Vector:
    """Fit and predict, with what holds for all methods.

    A constant history is continued by every method. Nothing below 0 is forecast where the metric has no such
    values. A weekday that never delivers is none of a method's days: it is left out of the calendar, and 0.

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
    if known.min() == known.max():
        return np.full(horizon, known[0])
    dead = dead_days(series.values, season_length=season_length)
    ahead = dead[(len(series) + np.arange(horizon)) % season_length]
    try:
        out = np.zeros(horizon)
        if not dead.any():
            out = np.asarray(forecaster.fit(series).predict(horizon), dtype=np.float64)
        elif not ahead.all():
            live, short = _without_dead(forecaster, series, dead)
            steps = horizon if live is forecaster else int((~ahead).sum())
            given = np.asarray(live.fit(short).predict(steps), dtype=np.float64)
            out[~ahead] = given[~ahead] if live is forecaster else given
    except Exception as error:
        # Numerical libraries raise whatever they like; one member must never take the others down.
        raise MethodFailed(f"{forecaster.method} failed: {type(error).__name__}: {error}") from error
    if out.shape != (horizon,) or not np.isfinite(out).all():
        raise MethodFailed(f"{forecaster.method} gave values that are not finite")
    return np.maximum(out, 0.0) if series.nonnegative else out


def _without_dead(
    forecaster: Forecaster, series: DailySeries, dead: npt.NDArray[np.bool_]
) -> tuple[Forecaster, DailySeries]:
    """The method for a calendar of the other days alone, and the series on it.

    Methods that need true dates keep them, and take the dead days as missing; the same forecaster comes back.
    """
    gone = dead[np.arange(len(series)) % len(dead)]
    if forecaster.method in _ON_THE_CALENDAR:
        # The last day stays known, so that the forecast still begins after it.
        gone[-1] = False
        return forecaster, replace(series, values=np.where(gone, np.nan, series.values))
    short = replace(series, values=series.values[~gone])
    if is_dataclass(forecaster) and "season_length" in {one.name for one in fields(forecaster)}:
        # A copy for the shorter week; `replace` runs the constructor, which keeps settings only.
        return cast(Forecaster, replace(cast(Any, forecaster), season_length=int((~dead).sum()))), short
    return cast(Forecaster, replace(cast(Any, forecaster))), short


def minimum_days(method: Method) -> int:
    """Least days of history of a method."""
    return MINIMUM_DAYS[method]
