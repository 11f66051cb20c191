"""Prophet's hyperparameters by rolling-origin cross-validation, many series at once.

Every combination is fitted at every cutoff of every series, on the posterior of `prophet_posterior`, and
forecasts the days after it; the combination with the smallest error over all of them is used if it beats
Prophet's defaults. Cutoffs, scales, changepoints and error are Prophet's own (`prophet.diagnostics`), so the
answer is the one that a patient search with `cross_validation` would give where Stan finds the maximum.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput, Violations

from adsml_forecasting.models.prophet.design import (
    Days,
    Features,
    History,
    make_features,
    make_fold,
    read_history,
)
from adsml_forecasting.models.prophet.grid import first_guess, fit_grid, warm_starts
from adsml_forecasting.models.prophet.newton import ITERATION_LIMIT
from adsml_forecasting.models.prophet.posterior import Matrix, Vector
from adsml_forecasting.models.prophet.settings import DEFAULTS, GRID, Combination, ProphetSettings
from adsml_forecasting.models.rolling_origin import RollingOrigin

_NO_PERCENTAGE: Final = 1e-8  # below it Prophet's `performance_metrics` leaves MAPE out
_FOLDS: Final = RollingOrigin()
_SETTINGS: Final = ProphetSettings()
_TIE: Final = 1e-9  # relative; combinations that differ by rounding only are the same


class ErrorMetric(StrEnum):
    """What is compared: MAPE, or wMAPE where a value to forecast is zero and MAPE is undefined.

    MAPE is the mean of ``|y - yhat| / |y|`` over all rows forecast, wMAPE the sum of ``|y - yhat|`` over the
    sum of ``|y|``.
    """

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
    """Forecasts of C combinations over the n rows that follow F cutoffs.

    Attributes
    ----------
    combinations
        C of them.
    cutoffs
        Last day each model saw, days since 1970-01-01, shape (F,); cutoffs with less than two rows before or
        none after are left out.
    fold
        Index of the cutoff of each row, shape (n,).
    days
        Day of each row, shape (n,).
    actual
        Shape (n,).
    forecasts
        Shape (C, n).
    log_posterior
        At each fit's maximum, shape (C, F); NaN where all values up to the cutoff are the same and nothing is
        fitted.
    not_converged
        How many fits hit the limit of iterations.
    """

    combinations: tuple[Combination, ...]
    cutoffs: Days
    fold: npt.NDArray[np.int64]
    days: Days
    actual: Vector
    forecasts: Matrix
    log_posterior: Matrix
    not_converged: int


def forecast_folds(
    history: History,
    features: Features,
    settings: ProphetSettings,
    combinations: Sequence[Combination],
    cutoffs: Days,
    *,
    horizon: int,
) -> FoldForecasts:
    """Fit every combination up to every cutoff and forecast the rows in the `horizon` days after it."""
    linear = settings.growth == "linear"
    priors = features.priors(combinations, linear=linear)
    starts = warm_starts(combinations)
    size = len(combinations)
    used: list[int] = []
    ends: list[tuple[int, int]] = []
    forecasts = [np.empty((size, 0))]
    log_posterior = [np.empty((size, 0))]
    not_converged = 0
    for cutoff in cutoffs:
        rows, end = np.searchsorted(history.days, [cutoff, cutoff + horizon], "right")
        if rows < 2 or end == rows:
            continue
        fold = make_fold(history, features, settings, rows=int(rows), ahead=int(end - rows))
        ahead = np.empty((size, end - rows))
        value = np.full(size, np.nan)
        if fold.constant:
            ahead[:] = history.y[0]
        else:
            guess = first_guess(fold.design, linear=linear)
            theta = np.tile(guess, (size, 1))
            sigma, status, steps = np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64)
            fit_grid(fold.design, priors, starts, theta, fold.ahead, ahead, value, sigma, status, steps)
            not_converged += int((status == ITERATION_LIMIT).sum())
        used.append(int(cutoff))
        ends.append((int(rows), int(end)))
        forecasts.append(ahead)
        log_posterior.append(value[:, None])
    at = np.concatenate([np.arange(rows, end) for rows, end in ends] or [np.empty(0, np.int64)])
    return FoldForecasts(
        combinations=tuple(combinations),
        cutoffs=np.array(used, np.int64),
        fold=np.repeat(np.arange(len(ends)), [end - rows for rows, end in ends]),
        days=history.days[at],
        actual=history.y[at],
        forecasts=np.hstack(forecasts),
        log_posterior=np.hstack(log_posterior),
        not_converged=not_converged,
    )


def _joined(parts: Sequence[FoldForecasts]) -> FoldForecasts:
    """Forecasts of several sets of cutoffs as one, by cutoff."""
    cutoffs = np.concatenate([part.cutoffs for part in parts])
    order = np.argsort(cutoffs)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = np.cumsum([0, *(len(part.cutoffs) for part in parts)])
    fold = place[np.concatenate([part.fold + at for part, at in zip(parts, first, strict=False)])]
    rows = np.argsort(fold, kind="stable")
    return FoldForecasts(
        combinations=parts[0].combinations,
        cutoffs=cutoffs[order],
        fold=fold[rows],
        days=np.concatenate([part.days for part in parts])[rows],
        actual=np.concatenate([part.actual for part in parts])[rows],
        forecasts=np.hstack([part.forecasts for part in parts])[:, rows],
        log_posterior=np.hstack([part.log_posterior for part in parts])[:, order],
        not_converged=sum(part.not_converged for part in parts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """What to use for a series, and what it rests on.

    Attributes
    ----------
    combination
        The one to use.
    outcome
        Why.
    reason
        The same as a sentence.
    metric
        What `error` and the like are; None where there is none.
    error, default_error
        Of the combination to use and of Prophet's defaults, over all cutoffs; a share (0.1 is 10%), NaN where
        there is none.
    combinations
        All that were tried, the defaults among them, length C.
    errors
        Over all cutoffs, shape (C,).
    fold_errors
        At each cutoff, shape (C, F); NaN at a cutoff with no value above zero after it.
    cutoffs
        datetime64[D], shape (F,).
    samples
        Rows forecast and compared.
    rows
        Rows of the history.
    not_converged
        Fits that hit the limit of iterations, of C x F.
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


def _choose(found: FoldForecasts, *, rows: int, minimum_folds: int) -> TuningResult:
    cutoffs = found.cutoffs.astype("datetime64[D]")
    default = found.combinations.index(DEFAULTS)
    nothing = np.full(len(found.combinations), np.nan)

    def result(
        outcome: TuningOutcome,
        reason: str,
        *,
        best: int = default,
        metric: ErrorMetric | None = None,
        errors: Vector = nothing,
        by_fold: Matrix = nothing[:, None][:, :0],
    ) -> TuningResult:
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
            cutoffs=cutoffs,
            samples=len(found.actual),
            rows=rows,
            not_converged=found.not_converged,
        )

    if len(cutoffs) < minimum_folds:
        return result(
            TuningOutcome.TOO_FEW_DATA,
            f"{rows} days of history give {len(cutoffs)} cutoffs and tuning needs {minimum_folds}: "
            "Prophet's defaults are used",
        )
    measured = _errors(found)
    if measured is None:
        return result(
            TuningOutcome.ERROR_UNDEFINED,
            "every value to forecast is zero, so that no relative error is defined: "
            "Prophet's defaults are used",
        )
    metric, errors, by_fold = measured
    best = int(np.flatnonzero(errors <= errors.min() * (1.0 + _TIE))[0])
    if not errors[best] < errors[default] * (1.0 - _TIE):
        return result(
            TuningOutcome.DEFAULTS_BEST,
            f"no combination has a smaller {metric.value} than Prophet's defaults",
            metric=metric,
            errors=errors,
            by_fold=by_fold,
        )
    return result(
        TuningOutcome.TUNED,
        f"{metric.value} {errors[best]:.4f} against {errors[default]:.4f} of Prophet's defaults, "
        f"over {len(cutoffs)} cutoffs",
        best=best,
        metric=metric,
        errors=errors,
        by_fold=by_fold,
    )


def _check_grid(grid: Sequence[Combination]) -> tuple[Combination, ...]:
    found = Violations()
    for index, combination in enumerate(grid):
        for name in ("changepoint_prior_scale", "seasonality_prior_scale"):
            value = getattr(combination, name)
            if not (value > 0 and np.isfinite(value)):
                found.add(f"grid[{index}].{name}", f"is {value}; expected a positive number")
        if combination.seasonality_mode not in ("additive", "multiplicative"):
            found.add(
                f"grid[{index}].seasonality_mode",
                f"is {combination.seasonality_mode!r}; expected 'additive' or 'multiplicative'",
            )
    found.raise_if_any()
    distinct = tuple(dict.fromkeys(grid))
    return distinct if DEFAULTS in distinct else (*distinct, DEFAULTS)


def tune_many(
    series: Mapping[str, pd.DataFrame],
    *,
    grid: Sequence[Combination] = GRID,
    folds: RollingOrigin = _FOLDS,
    settings: ProphetSettings = _SETTINGS,
    minimum_folds: int = 1,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, TuningResult]:
    """Choose Prophet's hyperparameters for every series.

    Parameters
    ----------
    series
        By name, frames with ``ds``, ``y`` and the settings' regressors: see `read_history`.
    grid
        Combinations to try; Prophet's defaults are tried too, whether among them or not.
    folds
        Where to cut.
    settings
        What is not tuned.
    minimum_folds
        With fewer cutoffs the defaults are used.
    threads
        How many to use, all that this process may use if None. The result does not depend on it.
    progress
        Called with the name of each series when it is done, in order.

    Returns
    -------
    dict
        By name, in the order of `series`.

    Raises
    ------
    InvalidInput
        Anything wrong with any series, all of it at once, or with the grid.
    """
    combinations = _check_grid(grid)
    if minimum_folds < 1:
        raise InvalidInput.at("minimum_folds", f"is {minimum_folds}; expected at least 1")
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    histories: dict[str, History | InsufficientHistory] = {}
    found = Violations()
    for name, frame in series.items():
        try:
            histories[name] = read_history(frame, settings, name=name)
        except InsufficientHistory as error:
            histories[name] = error
        except InvalidInput as error:
            found.found.extend(error.violations)
    found.raise_if_any()

    # With fewer series than threads the cutoffs of each are shared out, the long with the short.
    parts = 1 if len(histories) >= threads else threads
    calendars: dict[bytes, Features] = {}
    pending: dict[str, list[Future[FoldForecasts]]] = {}
    results: dict[str, TuningResult] = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, history in histories.items():
            if isinstance(history, InsufficientHistory):
                continue
            # Columns depend on the days alone, but for extra regressors.
            key = name.encode() if settings.regressors else history.days.tobytes()
            features = calendars.get(key) or calendars.setdefault(key, make_features(history, settings))
            cutoffs = folds.cutoffs(history.days)
            pending[name] = [
                pool.submit(
                    forecast_folds,
                    history,
                    features,
                    settings,
                    combinations,
                    cutoffs[part::parts],
                    horizon=folds.horizon,
                )
                for part in range(parts)
            ]
        for name, history in histories.items():
            if isinstance(history, InsufficientHistory):
                nothing = np.empty(0, np.int64)
                empty = np.empty((len(combinations), 0))
                forecasts = FoldForecasts(
                    combinations, nothing, nothing, nothing, empty[0], empty, empty, not_converged=0
                )
                rows = history.had
            else:
                forecasts = _joined([part.result() for part in pending.pop(name)])
                rows = len(history.days)
            results[name] = _choose(forecasts, rows=rows, minimum_folds=minimum_folds)
            if progress is not None:
                progress(name)
    return results


def tune(frame: pd.DataFrame, *, name: str = "series", **options: object) -> TuningResult:
    """Choose Prophet's hyperparameters for one series; options as of `tune_many`."""
    return tune_many({name: frame}, **options)[name]  # type: ignore[arg-type]
