"""Prophet's hyperparameters by rolling-origin cross-validation, many series at once.

Every combination is fitted at every cutoff of every series, on the posterior of `posterior`, and forecasts the
days after it; the combination with the smallest error over all of them is used if it beats Prophet's defaults.
Cutoffs, scales, changepoints and error are Prophet's own (`prophet.diagnostics`), so the answer is the one that a
patient search with `cross_validation` would give where Stan finds the maximum.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.origins import RollingOrigin, cores
from adsml_forecasting.models.prophet.design import Days, History, make_features, make_fold
from adsml_forecasting.models.prophet.grid import fit_grid
from adsml_forecasting.models.prophet.newton import ITERATION_LIMIT
from adsml_forecasting.models.prophet.settings import DEFAULTS, GRID, Combination, Seasons
from adsml_forecasting.models.series import DailySeries, Matrix, Vector

_NO_PERCENTAGE: Final = 1e-8  # below it Prophet's `performance_metrics` leaves MAPE out
_TIE: Final = 1e-9  # relative; combinations that differ by rounding only are the same


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

    cutoffs: Days
    fold: npt.NDArray[np.int64]
    days: Days
    actual: Vector
    forecasts: Matrix
    log_posterior: Matrix
    not_converged: int = 0


def _nothing(size: int) -> FoldForecasts:
    """Of `size` combinations at no cutoff."""
    no = np.empty(0, np.int64)
    return FoldForecasts(no, no, no, np.empty(0), np.empty((size, 0)), np.empty((size, 0)))


def _forecast_fold(
    history: History, features: Matrix, combinations: Sequence[Combination], horizon: int, cutoff: int
) -> FoldForecasts:
    """The part of one cutoff; none of it where nothing can be fitted or compared."""
    rows, end = np.searchsorted(history.days, [cutoff, cutoff + horizon], "right").tolist()
    size, ahead = len(combinations), end - rows
    if rows < 2 or not ahead:
        return _nothing(size)
    fold = make_fold(history, features, rows=rows, ahead=ahead)
    forecasts, log_posterior = np.full((size, ahead), history.y[0]), np.full(size, np.nan)
    not_converged = 0
    if not fold.constant:
        fits = fit_grid(fold.design, combinations, fold.ahead)
        forecasts, log_posterior = fits.forecasts, fits.log_posterior
        not_converged = int((fits.status == ITERATION_LIMIT).sum())
    at, index = np.array([cutoff], np.int64), np.zeros(ahead, np.int64)
    days = history.days[rows:end]
    return FoldForecasts(at, index, days, fold.actual, forecasts, log_posterior[:, None], not_converged)


def _joined(folds: Sequence[FoldForecasts], size: int) -> FoldForecasts:
    parts = [_nothing(size), *folds]

    def column(name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in parts], axis=-1)

    lengths = [len(one.days) for one in folds if len(one.cutoffs)]
    return FoldForecasts(
        cutoffs=column("cutoffs"),
        fold=np.repeat(np.arange(len(lengths)), lengths),
        days=column("days"),
        actual=column("actual"),
        forecasts=column("forecasts"),
        log_posterior=column("log_posterior"),
        not_converged=sum(one.not_converged for one in folds),
    )


def forecast_folds(
    history: History, features: Matrix, combinations: Sequence[Combination], cutoffs: Days, *, horizon: int
) -> FoldForecasts:
    """Fit every combination up to every cutoff and forecast the rows in the `horizon` days after it."""
    folds = [_forecast_fold(history, features, combinations, horizon, int(cutoff)) for cutoff in cutoffs]
    return _joined(folds, len(combinations))


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """What to use for a series, why (`reason` as a sentence), and what it rests on.

    `error` and `default_error` are of the combination to use and of Prophet's defaults, over all cutoffs, by `metric`
    ("mape": mean of ``|y - yhat| / |y|`` over all rows forecast; "wmape" where a ``y`` is 0): shares (0.1 is 10%),
    NaN where there is none. `combinations` are all C that were tried, the defaults among them, and `errors` theirs;
    `fold_errors` at each cutoff (datetime64[D]), shape (C, F), are NaN where no value after it is above zero.
    `samples` are rows forecast and compared.
    """

    combination: Combination
    outcome: TuningOutcome
    reason: str
    metric: str | None
    error: float
    default_error: float
    combinations: tuple[Combination, ...]
    errors: Vector
    fold_errors: Matrix
    cutoffs: npt.NDArray[np.datetime64]
    samples: int
    not_converged: int


def _errors(found: FoldForecasts) -> tuple[str, Vector, Matrix] | None:
    """Metric, errors (C,) and errors by fold (C, F); None where no value to forecast is above zero."""
    absolute = np.abs(found.forecasts - found.actual)
    # A forecast that overflows is worse than any.
    absolute = np.where(np.isfinite(absolute), absolute, np.inf)
    size = np.abs(found.actual)
    folds = len(found.cutoffs)
    if size.max(initial=0.0) < _NO_PERCENTAGE:
        return None
    if size.min() >= _NO_PERCENTAGE:
        metric, terms, weights = "mape", absolute / size, np.ones_like(size)
    else:
        metric, terms, weights = "wmape", absolute, size
    sums = np.zeros((len(absolute), folds))
    for fold in range(folds):
        sums[:, fold] = terms[:, found.fold == fold].sum(axis=1)
    weight = np.bincount(found.fold, weights, minlength=folds)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_fold = np.where(weight > 0, sums / weight, np.nan)
    return metric, sums.sum(axis=1) / weight.sum(), by_fold


def _choose(found: FoldForecasts, combinations: tuple[Combination, ...], *, rows: int) -> TuningResult:
    default = best = combinations.index(DEFAULTS)
    metric, errors = None, np.full(len(combinations), np.nan)
    by_fold = errors[:, None][:, :0]
    outcome = TuningOutcome.TOO_FEW_DATA
    reason = f"{rows} days of history give 0 cutoffs and tuning needs 1: Prophet's defaults are used"
    if len(found.cutoffs):
        outcome = TuningOutcome.ERROR_UNDEFINED
        reason = "every value to forecast is zero, so that no relative error is defined: Prophet's defaults are used"
        if (measured := _errors(found)) is not None:
            metric, errors, by_fold = measured
            lowest = int(np.flatnonzero(errors <= errors.min() * (1.0 + _TIE))[0])
            outcome = TuningOutcome.DEFAULTS_BEST
            reason = f"no combination has a smaller {metric} than Prophet's defaults"
            if errors[lowest] < errors[default] * (1.0 - _TIE):
                best, outcome = lowest, TuningOutcome.TUNED
                compared = f"{errors[best]:.4f} against {errors[default]:.4f} of Prophet's defaults"
                reason = f"{metric} {compared}, over {len(found.cutoffs)} cutoffs"
    return TuningResult(
        combination=combinations[best],
        outcome=outcome,
        reason=reason,
        metric=metric,
        error=float(errors[best]),
        default_error=float(errors[default]),
        combinations=combinations,
        errors=errors,
        fold_errors=by_fold,
        cutoffs=found.cutoffs.astype("datetime64[D]"),
        samples=len(found.actual),
        not_converged=found.not_converged,
    )


def tune_many(
    series: Mapping[str, DailySeries], *, grid: Sequence[Combination] = GRID, threads: int | None = None
) -> dict[str, TuningResult]:
    """Choose Prophet's hyperparameters for every series, by name.

    Prophet's defaults are tried too, whether in the grid or not. `threads` (all that this process may use if None) do
    not change the result.
    """
    combinations, folds = tuple(dict.fromkeys((*grid, DEFAULTS))), RollingOrigin()
    pending = {}
    with ThreadPoolExecutor(threads or cores()) as pool:
        for name, one in series.items():
            history = History.of(one)
            features = make_features(history.days, Seasons.of(history.days))
            work = partial(_forecast_fold, history, features, combinations, folds.horizon)
            pending[name] = len(history.days), pool.map(work, folds.cutoffs(history.days).tolist())
        return {
            name: _choose(_joined(list(parts), len(combinations)), combinations, rows=rows)
            for name, (rows, parts) in pending.items()
        }


def tune(series: DailySeries, **options: Any) -> TuningResult:
    """Choose Prophet's hyperparameters for one series; options as of `tune_many`."""
    return tune_many({series.name: series}, **options)[series.name]
