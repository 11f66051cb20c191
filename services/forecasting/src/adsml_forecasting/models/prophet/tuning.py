"""Prophet's hyperparameters by rolling-origin cross-validation, many series at once.

Every combination is fitted at every cutoff of every series, on the posterior of `posterior`, and forecasts the
days after it; the combination with the smallest error over all of them is used if it beats Prophet's defaults.
Cutoffs, scales, changepoints and error are Prophet's own (`prophet.diagnostics`), so the answer is the one that a
patient search with `cross_validation` would give where Stan finds the maximum.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput, Violations

from adsml_forecasting.models.origins import cores
from adsml_forecasting.models.prophet.design import (
    Days,
    History,
    make_features,
    make_fold,
    priors,
    read_history,
)
from adsml_forecasting.models.prophet.grid import fit_grid, warm_starts
from adsml_forecasting.models.prophet.newton import ITERATION_LIMIT
from adsml_forecasting.models.prophet.posterior import Matrix, Vector
from adsml_forecasting.models.prophet.settings import AUTOMATIC, DEFAULTS, GRID, Combination, Seasons
from adsml_forecasting.models.rolling_origin import RollingOrigin

_NO_PERCENTAGE: Final = 1e-8  # below it Prophet's `performance_metrics` leaves MAPE out
_FOLDS: Final = RollingOrigin()
_TIE: Final = 1e-9  # relative; combinations that differ by rounding only are the same


class ErrorMetric(StrEnum):
    """What is compared: MAPE (mean of ``|y - yhat| / |y|`` over all rows forecast), or wMAPE where a ``y`` is 0."""

    MAPE = "mape"
    WMAPE = "wmape"


class TuningOutcome(StrEnum):
    """Why a combination is the one to use; all but `TUNED` say the defaults."""

    TUNED = "tuned"
    DEFAULTS_BEST = "defaults_best"
    TOO_FEW_DATA = "too_few_data"
    ERROR_UNDEFINED = "error_undefined"


@dataclass(frozen=True, slots=True, eq=False)
class FoldForecasts:
    """Forecasts of C combinations over the n rows that follow F cutoffs; days since 1970-01-01.

    `cutoffs` (last day each model saw) leave out those with less than two rows before or none after. Each row has
    the index of its cutoff (`fold`), its day and value. `forecasts` have shape (C, n), `log_posterior` at each fit's
    maximum (C, F): NaN where all values up to the cutoff are the same and nothing is fitted. `not_converged` is how
    many fits hit the limit of iterations.
    """

    combinations: tuple[Combination, ...]
    cutoffs: Days
    fold: npt.NDArray[np.int64]
    days: Days
    actual: Vector
    forecasts: Matrix
    log_posterior: Matrix
    not_converged: int


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """One cutoff's part of `FoldForecasts`."""

    cutoff: int
    rows: slice
    forecasts: Matrix
    log_posterior: Vector
    not_converged: int


def _forecast_fold(
    history: History, features: Matrix, combinations: Sequence[Combination], cutoff: int, horizon: int
) -> _Fold | None:
    rows, end = np.searchsorted(history.days, [cutoff, cutoff + horizon], "right").tolist()
    if rows < 2 or end == rows:
        return None
    fold = make_fold(history, features, rows=rows, ahead=end - rows)
    if fold.constant:
        size = len(combinations)
        same = np.full((size, end - rows), history.y[0])
        return _Fold(cutoff, slice(rows, end), same, np.full(size, np.nan), 0)
    by = priors(combinations, columns=features.shape[1])
    fits = fit_grid(fold.design, by, fold.ahead, starts=warm_starts(combinations))
    not_converged = int((fits.status == ITERATION_LIMIT).sum())
    return _Fold(cutoff, slice(rows, end), fits.forecasts, fits.log_posterior, not_converged)


def _joined(
    history: History, combinations: Sequence[Combination], folds: Sequence[_Fold | None]
) -> FoldForecasts:
    used = [one for one in folds if one is not None]
    at = np.concatenate([np.empty(0, np.int64), *(np.arange(one.rows.start, one.rows.stop) for one in used)])
    nothing = np.empty((len(combinations), 0))
    return FoldForecasts(
        combinations=tuple(combinations),
        cutoffs=np.array([one.cutoff for one in used], np.int64),
        fold=np.repeat(np.arange(len(used)), [one.forecasts.shape[1] for one in used]),
        days=history.days[at],
        actual=history.y[at],
        forecasts=np.hstack([nothing, *(one.forecasts for one in used)]),
        log_posterior=np.hstack([nothing, *(one.log_posterior[:, None] for one in used)]),
        not_converged=sum(one.not_converged for one in used),
    )


def forecast_folds(
    history: History, features: Matrix, combinations: Sequence[Combination], cutoffs: Days, *, horizon: int
) -> FoldForecasts:
    """Fit every combination up to every cutoff and forecast the rows in the `horizon` days after it."""
    folds = [_forecast_fold(history, features, combinations, int(cutoff), horizon) for cutoff in cutoffs]
    return _joined(history, combinations, folds)


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """What to use for a series, why (`reason` as a sentence), and what it rests on.

    `error` and `default_error` are of the combination to use and of Prophet's defaults, over all cutoffs, by
    `metric`: shares (0.1 is 10%), NaN where there is none. `combinations` are all C that were tried, the
    defaults among them, and `errors` theirs; `fold_errors` at each cutoff (datetime64[D]), shape (C, F), are
    NaN where no value after it is above zero. `samples` are rows forecast and compared, `rows` those of the
    history.
    """

    combination: Combination
    outcome: TuningOutcome
    reason: str
    metric: ErrorMetric | None
    error: float
    default_error: float
    combinations: tuple[Combination, ...]
    errors: Vector
    fold_errors: Matrix
    cutoffs: npt.NDArray[np.datetime64]
    samples: int
    rows: int
    not_converged: int


def _errors(found: FoldForecasts) -> tuple[ErrorMetric, Vector, Matrix] | None:
    """Metric, errors (C,) and errors by fold (C, F); None where no value to forecast is above zero."""
    absolute = np.abs(found.forecasts - found.actual)
    # A forecast that overflows is worse than any.
    absolute = np.where(np.isfinite(absolute), absolute, np.inf)
    size = np.abs(found.actual)
    folds = len(found.cutoffs)
    if size.max(initial=0.0) < _NO_PERCENTAGE:
        return None
    if size.min() >= _NO_PERCENTAGE:
        metric, terms, weights = ErrorMetric.MAPE, absolute / size, np.ones_like(size)
    else:
        metric, terms, weights = ErrorMetric.WMAPE, absolute, size
    sums = np.zeros((len(absolute), folds))
    for fold in range(folds):
        sums[:, fold] = terms[:, found.fold == fold].sum(axis=1)
    weight = np.bincount(found.fold, weights, minlength=folds)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_fold = np.where(weight > 0, sums / weight, np.nan)
    return metric, sums.sum(axis=1) / weight.sum(), by_fold


def _choose(found: FoldForecasts, *, rows: int) -> TuningResult:
    default = best = found.combinations.index(DEFAULTS)
    metric, errors = None, np.full(len(found.combinations), np.nan)
    by_fold = errors[:, None][:, :0]
    measured = _errors(found) if len(found.cutoffs) else None
    if measured is not None:
        metric, errors, by_fold = measured
        lowest = int(np.flatnonzero(errors <= errors.min() * (1.0 + _TIE))[0])
        outcome = TuningOutcome.DEFAULTS_BEST
        reason = f"no combination has a smaller {metric.value} than Prophet's defaults"
        if errors[lowest] < errors[default] * (1.0 - _TIE):
            best, outcome = lowest, TuningOutcome.TUNED
            reason = (
                f"{metric.value} {errors[best]:.4f} against {errors[default]:.4f} of Prophet's defaults, "
                f"over {len(found.cutoffs)} cutoffs"
            )
    elif len(found.cutoffs):
        outcome = TuningOutcome.ERROR_UNDEFINED
        reason = (
            "every value to forecast is zero, so that no relative error is defined: "
            "Prophet's defaults are used"
        )
    else:
        outcome = TuningOutcome.TOO_FEW_DATA
        reason = f"{rows} days of history give 0 cutoffs and tuning needs 1: Prophet's defaults are used"
    return TuningResult(
        combination=found.combinations[best],
        outcome=outcome,
        reason=reason,
        metric=metric,
        error=float(errors[best]),
        default_error=float(errors[default]),
        combinations=found.combinations,
        errors=errors,
        fold_errors=by_fold,
        cutoffs=found.cutoffs.astype("datetime64[D]"),
        samples=len(found.actual),
        rows=rows,
        not_converged=found.not_converged,
    )


def tune_many(
    series: Mapping[str, pd.DataFrame],
    *,
    grid: Sequence[Combination] = GRID,
    folds: RollingOrigin = _FOLDS,
    seasons: Seasons = AUTOMATIC,
    threads: int | None = None,
) -> dict[str, TuningResult]:
    """Choose Prophet's hyperparameters for every series: by name, frames as of `read_history`.

    Prophet's defaults are tried too, whether in the grid or not. `threads` (all that this process may use if None) do
    not change the result. `InvalidInput` names anything that is wrong with any series, all of it at once.
    """
    combinations = tuple(dict.fromkeys((*grid, DEFAULTS)))
    histories: dict[str, History | InsufficientHistory] = {}
    found = Violations()
    for name, frame in series.items():
        try:
            histories[name] = read_history(frame, name=name)
        except InsufficientHistory as error:
            histories[name] = error
        except InvalidInput as error:
            found.found.extend(error.violations)
    found.raise_if_any()
    calendars: dict[bytes, Matrix] = {}
    pending: dict[str, list[Future[_Fold | None]]] = {}
    results: dict[str, TuningResult] = {}
    nothing = History(np.empty(0, np.int64), np.empty(0))
    with ThreadPoolExecutor(threads or cores()) as pool:
        for name, history in histories.items():
            if isinstance(history, InsufficientHistory):
                continue
            # Columns depend on the days alone.
            key = history.days.tobytes()
            if key not in calendars:
                calendars[key] = make_features(history, seasons)
            pending[name] = [
                pool.submit(_forecast_fold, history, calendars[key], combinations, int(cutoff), folds.horizon)
                for cutoff in folds.cutoffs(history.days)
            ]
        for name, history in histories.items():
            if isinstance(history, InsufficientHistory):
                results[name] = _choose(_joined(nothing, combinations, ()), rows=history.had)
            else:
                parts = [part.result() for part in pending.pop(name)]
                results[name] = _choose(_joined(history, combinations, parts), rows=len(history.days))
    return results


def tune(frame: pd.DataFrame, *, name: str = "series", **options: object) -> TuningResult:
    """Choose Prophet's hyperparameters for one series; options as of `tune_many`."""
    return tune_many({name: frame}, **options)[name]  # type: ignore[arg-type]
