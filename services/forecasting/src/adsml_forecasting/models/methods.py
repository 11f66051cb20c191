"""Every method as a function of a series, and what holds for all of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.ema import ema
from adsml_forecasting.models.linear import linear_trend
from adsml_forecasting.models.method import INTERMITTENT, MINIMUM_DAYS, STATISTICAL, Method
from adsml_forecasting.models.naive import mean, naive, seasonal_naive
from adsml_forecasting.models.pooled_regression import PooledRegression
from adsml_forecasting.models.prophet.member import prophet
from adsml_forecasting.models.prophet.settings import DEFAULTS, Backend, Combination
from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.statistical import statistical

_DEAD_WEEKS: Final = 8
_LEAST_WEEKS: Final = 2
_NEVER_BY_CHANCE: Final = 7.0
"""So many leads expected on days that had none (1 in 1,100 by chance) make a weekday a dead one."""
_ON_THE_CALENDAR: Final = (Method.PROPHET, Method.POOLED_REGRESSION)


@dataclass(frozen=True, slots=True, eq=False)
class MethodOptions:
    """What methods need beside the series: Prophet's hyperparameters and fit, and what many series taught."""

    combination: Combination = DEFAULTS
    pooled: PooledRegression | None = None
    backend: Backend = Backend.KERNEL


USUAL: Final = MethodOptions()


class MethodFailed(Exception):
    """A method gave nothing usable for one series; the text says why, for a person to read."""


METHODS: Final[dict[Method, Callable[[DailySeries, int], Vector]]] = {
    Method.EMA: ema,
    Method.LINEAR: linear_trend,
    Method.SEASONAL_NAIVE: seasonal_naive,
    Method.NAIVE: naive,
    Method.MEAN: mean,
    **{method: partial(statistical, method) for method in (*STATISTICAL, Method.AUTO_ARIMA, *INTERMITTENT)},
}
"""Those that need nothing but the series."""


def forecast(method: Method, series: DailySeries, horizon: int, *, options: MethodOptions = USUAL) -> Vector:
    """The days after a series' last one, finite, shape (horizon,).

    A constant history is continued by every method. Nothing below 0 is forecast where the metric has no such
    values. A weekday that never delivers is none of a method's days: it is left out of the calendar, and 0.
    `MethodFailed` where the history is too short, the method raised, or it gave something that is not finite.
    """
    run = METHODS.get(method, partial(prophet, combination=options.combination, backend=options.backend))
    if method is Method.POOLED_REGRESSION:
        if options.pooled is None:
            raise MethodFailed(f"{method} has no registered model; `adsml train ensemble-weights` learns it")
        run = options.pooled.predict
    if len(series) < MINIMUM_DAYS[method]:
        raise MethodFailed(f"{method} needs {MINIMUM_DAYS[method]} days of history and has {len(series)}")
    known = series.values[np.isfinite(series.values)]
    if known.min() == known.max():
        return np.full(horizon, known[0])
    dead = _dead_days(series.values, season_length=series.season_length)
    ahead = dead[(len(series) + np.arange(horizon)) % len(dead)]
    gone = dead[np.arange(len(series)) % len(dead)]
    out = np.zeros(horizon)
    try:
        if not dead.any():
            out = np.asarray(run(series, horizon), dtype=np.float64)
        elif method in _ON_THE_CALENDAR:
            # They need true dates. The last day stays known, so that the forecast still begins after it.
            gone[-1] = False
            left = replace(series, values=np.where(gone, np.nan, series.values))
            out[~ahead] = run(left, horizon)[~ahead]
        elif not ahead.all():
            left = replace(series, values=series.values[~gone], season_length=int((~dead).sum()))
            out[~ahead] = run(left, int((~ahead).sum()))
    except Exception as error:
        # Numerical libraries raise whatever they like; one member must never take the others down.
        raise MethodFailed(f"{method} failed: {type(error).__name__}: {error}") from error
    if out.shape != (horizon,) or not np.isfinite(out).all():
        raise MethodFailed(f"{method} gave values that are not finite")
    return np.maximum(out, 0.0) if series.nonnegative else out


def _dead_days(values: Vector, *, season_length: int) -> npt.NDArray[np.bool_]:
    """Places of the season on which nothing has come for weeks, by index modulo `season_length`.

    Every known day of the place within the last eight seasons (two at least) is 0, and that is no chance: so
    many zeros were not to be expected of counts that small.
    """
    out = np.zeros(season_length, dtype=bool)
    newest = values[-_DEAD_WEEKS * season_length :]
    known = np.isfinite(newest)
    too_few = season_length < 2 or known.sum() < _LEAST_WEEKS * season_length
    if too_few or not np.nansum(newest) > 0 or (newest[known] < 0).any():
        return out
    counts = bool((newest[known] == np.round(newest[known])).all())
    level = float(np.nansum(newest)) / int(known.sum())
    places = (len(values) - len(newest) + np.arange(len(newest))) % season_length
    for place in range(season_length):
        mine = newest[(places == place) & known]
        if len(mine) >= _LEAST_WEEKS and not mine.any():
            out[place] = not counts or level * len(mine) > _NEVER_BY_CHANCE
    return out if not out.all() else np.zeros(season_length, dtype=bool)
