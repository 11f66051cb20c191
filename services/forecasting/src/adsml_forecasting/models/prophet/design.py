"""Histories as Prophet prepares them for its model, without pandas.

Follows `Prophet.setup_dataframe`, `initialize_scales`, `set_changepoints`, `set_auto_seasonalities` and
`fourier_series` of `prophet/forecaster.py` to the last bit, so that both fit the same numbers; and
`single_cutoff_forecast` of `prophet/diagnostics.py` in what is decided once on the whole history (which
seasons there are) and what at every cutoff anew (scales, changepoints).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.prophet.grid import Ahead
from adsml_forecasting.models.prophet.posterior import Design
from adsml_forecasting.models.prophet.settings import Seasons
from adsml_forecasting.models.series import DailySeries, Matrix, Vector

Days = npt.NDArray[np.int64]

_YEAR, _YEAR_TERMS = 365.25, 10
_WEEK, _WEEK_TERMS = 7.0, 3
_CHANGEPOINTS: Final = 25
_CHANGEPOINT_RANGE: Final = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One series' days with a value: since 1970-01-01, strictly ascending, and finite values, shape (n,) each."""

    days: Days
    y: Vector

    @classmethod
    def of(cls, series: DailySeries) -> "History":
        """Its known days: Prophet leaves the others out."""
        known = np.flatnonzero(np.isfinite(series.values))
        return cls(series.first_day + known, series.values[known])


def _fourier_series(days: Days, *, period: float, terms: int) -> Matrix:
    """``sin`` and ``cos`` of the first multiples of ``2 pi days / period``, shape (n, 2 terms)."""
    angle = np.pi * 2 * days.astype(np.float64)
    out = np.empty((len(days), 2 * terms))
    for i in range(terms):
        out[:, 2 * i] = np.sin((i + 1) / period * angle)
        out[:, 2 * i + 1] = np.cos((i + 1) / period * angle)
    return out


def make_features(days: Days, seasons: Seasons) -> Matrix:
    """The seasons' columns on all days of a history, shape (n, K); they are the same for every cutoff."""
    yearly = _fourier_series(days, period=_YEAR, terms=_YEAR_TERMS if seasons.yearly else 0)
    weekly = _fourier_series(days, period=_WEEK, terms=_WEEK_TERMS if seasons.weekly else 0)
    return np.hstack([yearly, weekly])


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One cutoff: what is fitted (rows up to it), the rows to forecast, and their unscaled values, shape (h,).

    `constant`: all values up to the cutoff are the same; Prophet fits nothing then and repeats them.
    """

    design: Design
    ahead: Ahead
    actual: Vector
    constant: bool


def _changepoint_rows(rows: int) -> npt.NDArray[np.int64]:
    """Rows with a changepoint: evenly over the first share of the rows, fewer where rows are few."""
    eligible = int(np.floor(rows * _CHANGEPOINT_RANGE))
    count = min(_CHANGEPOINTS, eligible - 1)
    if count <= 0:
        return np.empty(0, np.int64)
    return np.linspace(0, eligible - 1, count + 1).round().astype(np.int64)[1:]


def make_fold(history: History, features: Matrix, *, rows: int, ahead: int) -> Fold:
    """The design of the first `rows` rows (at least 2), and the `ahead` rows after them."""
    end = rows + ahead
    days = history.days[:end]
    t = (days - days[0]) / (days[rows - 1] - days[0])
    y = history.y[:rows]
    scale = float(np.abs(y).max()) or 1.0
    at = _changepoint_rows(rows)
    # Without changepoints Prophet's model has one at the start, the same as the base rate.
    knots, starts = (t[at], at) if len(at) else (np.zeros(1), np.zeros(1, np.int64))
    design = Design(y / scale, t[:rows], knots, starts, features[:rows])
    ahead_rows = Ahead(t[rows:], features[rows:end], scale)
    return Fold(design, ahead_rows, history.y[rows:end], bool(y.min() == y.max()))
