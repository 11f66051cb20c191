"""Histories as Prophet prepares them for its model, without pandas once they are read.

Follows `Prophet.setup_dataframe`, `initialize_scales`, `set_changepoints`, `set_auto_seasonalities` and
`fourier_series` of `prophet/forecaster.py` to the last bit, so that both fit the same numbers; and
`single_cutoff_forecast` of `prophet/diagnostics.py` in what is decided once on the whole history (which
seasons there are) and what at every cutoff anew (scales, changepoints).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput, Violations

from adsml_forecasting.models.prophet.grid import Ahead, Priors
from adsml_forecasting.models.prophet.posterior import Design, Matrix, Vector
from adsml_forecasting.models.prophet.settings import AUTOMATIC, Combination, Seasons

Days = npt.NDArray[np.int64]

_YEAR, _YEAR_TERMS = 365.25, 10
_WEEK, _WEEK_TERMS = 7.0, 3
_TWO_YEARS, _TWO_WEEKS = 730, 14
_CHANGEPOINTS: Final = 25
_CHANGEPOINT_RANGE: Final = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One series' days with a value: since 1970-01-01, strictly ascending, and finite values, shape (n,) each."""

    days: Days
    y: Vector


def read_history(frame: pd.DataFrame, *, name: str = "series") -> History:
    """Take a series from a frame with columns ``ds`` and ``y``, in any order of rows.

    Rows with a missing ``y`` are days without a value and left out, as Prophet does. `InvalidInput` names a missing
    column, a date that is no date, has a time of day or a zone or is there twice, a value that is infinite;
    `InsufficientHistory` where fewer than two rows have one.
    """
    absent = [column for column in ("ds", "y") if column not in frame.columns]
    if absent:
        raise InvalidInput.at(name, f"has no column {', '.join(absent)}")
    try:
        stamps = pd.to_datetime(frame["ds"])
        values = frame["y"].to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InvalidInput.at(name, f"can't be read: {error}") from error
    found = Violations()
    if stamps.dt.tz is not None:
        raise InvalidInput.at(f"{name}.ds", "has a time zone; expected days")
    if stamps.isna().any():
        raise InvalidInput.at(f"{name}.ds", "has a missing date")
    times = stamps.to_numpy(dtype="datetime64[ns]")
    days = times.astype("datetime64[D]")
    if (days.astype("datetime64[ns]") != times).any():
        found.add(f"{name}.ds", "has a time of day; expected days")
    if np.isinf(values).any():
        found.add(f"{name}.y", "has an infinite value; leave the row out or make it missing")
    kept = np.flatnonzero(~np.isnan(values))
    order = kept[np.argsort(days[kept], kind="stable")]
    ordered = days[order].astype(np.int64)
    if (np.diff(ordered) == 0).any():
        twice = days[order][1:][np.diff(ordered) == 0][0]
        found.add(f"{name}.ds", f"has {twice} twice; expected one row per day")
    found.raise_if_any()
    if len(order) < 2:
        raise InsufficientHistory(name, had=len(order), needed=2)
    return History(ordered, values[order])


def priors(combinations: Sequence[Combination], *, columns: int) -> Priors:
    """The combinations as arrays, for so many seasonal columns."""
    tau = np.array([c.changepoint_prior_scale for c in combinations], np.float64)
    seasonal = np.array([[c.seasonality_prior_scale] * columns for c in combinations], np.float64)
    times = np.array([[c.seasonality_mode == "multiplicative"] * columns for c in combinations], bool)
    return Priors(tau, 1.0 / seasonal**2, (~times).astype(np.float64), times.astype(np.float64), True)


def _fourier_series(days: Days, *, period: float, terms: int) -> Matrix:
    """``sin`` and ``cos`` of the first multiples of ``2 pi days / period``, shape (n, 2 terms)."""
    angle = np.pi * 2 * days.astype(np.float64)
    out = np.empty((len(days), 2 * terms))
    for i in range(terms):
        out[:, 2 * i] = np.sin((i + 1) / period * angle)
        out[:, 2 * i + 1] = np.cos((i + 1) / period * angle)
    return out


def make_features(history: History, seasons: Seasons = AUTOMATIC) -> Matrix:
    """The seasons' columns on all days of a history, shape (n, K); they are the same for every cutoff."""
    days = history.days
    span = int(days[-1] - days[0])
    yearly, weekly = seasons.yearly, seasons.weekly
    if yearly is None:
        yearly = span >= _TWO_YEARS
    if weekly is None:
        weekly = span >= _TWO_WEEKS and int(np.diff(days).min()) < _WEEK
    return np.hstack(
        [
            _fourier_series(days, period=_YEAR, terms=_YEAR_TERMS if yearly else 0),
            _fourier_series(days, period=_WEEK, terms=_WEEK_TERMS if weekly else 0),
        ]
    )


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
