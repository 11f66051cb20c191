"""Histories as Prophet prepares them for its model, without pandas once they are read.

Follows `Prophet.setup_dataframe`, `initialize_scales`, `set_changepoints`, `set_auto_seasonalities` and
`fourier_series` of `prophet/forecaster.py` to the last bit, so that both fit the same numbers; and
`single_cutoff_forecast` of `prophet/diagnostics.py` in what is decided once on the whole history (which
seasons there are) and what at every cutoff anew (scales, changepoints). One deliberate difference: Prophet
forgets `scaling` when it copies a model for its folds, here it is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput, Violations

from adsml_forecasting.models.prophet.grid import Ahead, Priors
from adsml_forecasting.models.prophet.posterior import Design, Matrix, Vector
from adsml_forecasting.models.prophet.settings import Combination, ProphetSettings, Regressor

Days = npt.NDArray[np.int64]

_YEAR, _YEAR_TERMS = 365.25, 10
_WEEK, _WEEK_TERMS = 7.0, 3
_TWO_YEARS, _TWO_WEEKS = 730, 14
_ADDITIVE, _MULTIPLICATIVE, _FOLLOWS_SEASONALITY = 0, 1, 2
_MODE: Final = {"additive": _ADDITIVE, "multiplicative": _MULTIPLICATIVE, None: _FOLLOWS_SEASONALITY}


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One series' days with a value: since 1970-01-01, strictly ascending, shape (n,); finite values, shape (n,).

    `regressors` are extra columns in the order of the settings, shape (n, r).
    """

    days: Days
    y: Vector
    regressors: Matrix


def read_history(frame: pd.DataFrame, settings: ProphetSettings, *, name: str = "series") -> History:
    """Take a series from a frame with columns ``ds``, ``y`` and the settings' regressors, in any order of rows.

    Rows with a missing ``y`` are days without a value and left out, as Prophet does. `InvalidInput` names a
    missing column, a date that is no date, has a time of day or a zone or is there twice, a value that is
    infinite, a regressor that is not finite where there is a value; `InsufficientHistory` where fewer than two
    rows have one.
    """
    wanted = ["ds", "y", *(regressor.name for regressor in settings.regressors)]
    absent = [column for column in wanted if column not in frame.columns]
    if absent:
        raise InvalidInput.at(name, f"has no column {', '.join(absent)}")
    try:
        stamps = pd.to_datetime(frame["ds"])
        values = frame["y"].to_numpy(dtype=np.float64, na_value=np.nan)
        columns = frame[wanted[2:]].to_numpy(dtype=np.float64, na_value=np.nan)
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
    for regressor, column in zip(settings.regressors, columns[kept].T, strict=True):
        if not np.isfinite(column).all():
            found.add(f"{name}.{regressor.name}", "is missing or infinite on a day with a value")
    order = kept[np.argsort(days[kept], kind="stable")]
    ordered = days[order].astype(np.int64)
    if (np.diff(ordered) == 0).any():
        twice = days[order][1:][np.diff(ordered) == 0][0]
        found.add(f"{name}.ds", f"has {twice} twice; expected one row per day")
    found.raise_if_any()
    if len(order) < 2:
        raise InsufficientHistory(name, had=len(order), needed=2)
    return History(ordered, values[order], np.ascontiguousarray(columns[order]))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Columns of the model's regressors on every day of a history, shape (n, K), not yet scaled.

    `prior_scale` of each column's coefficient is NaN where it is `seasonality_prior_scale`; `mode` is 0 additive,
    1 multiplicative, 2 as `seasonality_mode` says; shape (K,) each.
    """

    x: Matrix
    prior_scale: Vector
    mode: npt.NDArray[np.int64]

    def priors(self, combinations: Sequence[Combination], *, linear: bool) -> Priors:
        """The combinations as arrays."""
        tau = np.array([c.changepoint_prior_scale for c in combinations], np.float64)
        seasonal = np.array([[c.seasonality_prior_scale] for c in combinations], np.float64)
        scale = np.where(np.isnan(self.prior_scale), seasonal, self.prior_scale)
        times = np.array([[c.seasonality_mode == "multiplicative"] for c in combinations])
        mode = np.where(self.mode == _FOLLOWS_SEASONALITY, times, self.mode == _MULTIPLICATIVE)
        return Priors(tau, 1.0 / scale**2, (~mode).astype(np.float64), mode.astype(np.float64), linear)


def fourier_series(days: Days, *, period: float, terms: int) -> Matrix:
    """``sin`` and ``cos`` of the first multiples of ``2 pi days / period``, shape (n, 2 terms)."""
    angle = np.pi * 2 * days.astype(np.float64)
    out = np.empty((len(days), 2 * terms))
    for i in range(terms):
        out[:, 2 * i] = np.sin((i + 1) / period * angle)
        out[:, 2 * i + 1] = np.cos((i + 1) / period * angle)
    return out


def _terms(wanted: Literal["auto"] | bool | int, *, usual: int, automatic: bool) -> int:
    if wanted == "auto":
        return usual if automatic else 0
    if isinstance(wanted, bool):
        return usual if wanted else 0
    return int(wanted)


def _holiday_features(days: Days, settings: ProphetSettings) -> tuple[Matrix, Vector]:
    from prophet import Prophet  # noqa: PLC0415  # slow to import, and only holidays need it

    model = Prophet(holidays=settings.holidays, holidays_prior_scale=settings.holidays_prior_scale)
    dates = pd.Series(pd.to_datetime(days, unit="D"), name="ds")
    try:
        columns, scales, _ = model.make_holiday_features(dates, model.construct_holiday_dataframe(dates))
    except ValueError as error:
        raise InvalidInput.at("holidays", str(error)) from error
    return columns.to_numpy(np.float64), np.array(scales, np.float64)


def make_features(history: History, settings: ProphetSettings) -> Features:
    """The regressors' columns on all days of a history; they are the same for every cutoff."""
    days = history.days
    span = int(days[-1] - days[0])
    yearly = _terms(settings.yearly_seasonality, usual=_YEAR_TERMS, automatic=span >= _TWO_YEARS)
    weekly = _terms(
        settings.weekly_seasonality,
        usual=_WEEK_TERMS,
        automatic=span >= _TWO_WEEKS and int(np.diff(days).min()) < _WEEK,
    )
    blocks = [np.empty((len(days), 0))]
    scales: list[float] = []
    modes: list[int] = []
    for period, terms in ((_YEAR, yearly), (_WEEK, weekly)):
        blocks.append(fourier_series(days, period=period, terms=terms))
        scales += [np.nan] * (2 * terms)
        modes += [_FOLLOWS_SEASONALITY] * (2 * terms)
    if settings.holidays is not None and len(settings.holidays) > 0:
        columns, holiday_scales = _holiday_features(days, settings)
        blocks.append(columns)
        scales += list(holiday_scales)
        modes += [_MODE[settings.holidays_mode]] * columns.shape[1]
    blocks.append(history.regressors)
    scales += [regressor.prior_scale for regressor in settings.regressors]
    modes += [_MODE[regressor.mode] for regressor in settings.regressors]
    return Features(np.hstack(blocks), np.array(scales, np.float64), np.array(modes, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One cutoff: what is fitted (rows up to it), the rows to forecast, and their unscaled values, shape (h,).

    `constant`: all values up to the cutoff are the same; Prophet fits nothing then and repeats them.
    """

    design: Design
    ahead: Ahead
    actual: Vector
    constant: bool


def changepoint_rows(rows: int, *, n_changepoints: int, changepoint_range: float) -> npt.NDArray[np.int64]:
    """Rows with a changepoint: evenly over the first share of the rows, fewer where rows are few."""
    eligible = int(np.floor(rows * changepoint_range))
    count = min(n_changepoints, eligible - 1)
    if count <= 0:
        return np.empty(0, np.int64)
    return np.linspace(0, eligible - 1, count + 1).round().astype(np.int64)[1:]


def make_fold(
    history: History, features: Features, settings: ProphetSettings, *, rows: int, ahead: int
) -> Fold:
    """The design of the first `rows` rows (at least 2), and the `ahead` rows after them."""
    end = rows + ahead
    days = history.days[:end]
    t = (days - days[0]) / (days[rows - 1] - days[0])
    y = history.y[:rows]
    floor = 0.0 if settings.scaling == "absmax" else float(y.min())
    scale = float(np.abs(y).max() if settings.scaling == "absmax" else y.max() - floor) or 1.0
    at = changepoint_rows(
        rows, n_changepoints=settings.n_changepoints, changepoint_range=settings.changepoint_range
    )
    # Without changepoints Prophet's model has one at the start, the same as the base rate.
    knots, starts = (t[at], at) if len(at) else (np.zeros(1), np.zeros(1, np.int64))
    x = features.x[:end]
    if settings.regressors:
        x = _standardised(x, history.regressors, settings.regressors, rows=rows)
    design = Design((y - floor) / scale, t[:rows], knots, starts, x[:rows])
    ahead_rows = Ahead(t[rows:], x[rows:], scale, floor)
    return Fold(design, ahead_rows, history.y[rows:end], bool(y.min() == y.max()))


def _standardised(x: Matrix, whole: Matrix, regressors: Sequence[Regressor], *, rows: int) -> Matrix:
    out = x.copy()
    first = x.shape[1] - len(regressors)
    for r, regressor in enumerate(regressors):
        # What a fold can't scale by itself it scales as the whole history: so do Prophet's copies of a model.
        centre, spread = (
            _centre_and_spread(whole[:rows, r], regressor)
            or _centre_and_spread(whole[:, r], regressor)
            or (0.0, 1.0)
        )
        out[:, first + r] = (out[:, first + r] - centre) / spread
    return out


def _centre_and_spread(column: Vector, regressor: Regressor) -> tuple[float, float] | None:
    values = np.unique(column)
    if len(values) < 2 or regressor.standardize is False:
        return None
    if regressor.standardize == "auto" and np.array_equal(values, [0.0, 1.0]):
        return None
    return float(column.mean()), float(column.std(ddof=1))
