"""Every member's forecasts of many series from several cutoffs, over all cores, and what they are scored by."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.conformal import ResidualQuantiles, interval_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.methods import USUAL, MethodFailed, MethodOptions, forecast
from adsml_forecasting.models.pooled_regression import PooledRegression, learn
from adsml_forecasting.models.preparation import tidied
from adsml_forecasting.models.scores import Forecasts, mase_scale, rmsse_scale
from adsml_forecasting.models.series import DailySeries, Vector

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What members said at one cutoff (the last day seen) of one series, and what came; shape (horizon,) each.

    `actual` is NaN where it is missing or not known yet. `failures` says why a member gave none.
    """

    cutoff: int
    history: DailySeries
    actual: Vector
    forecasts: Mapping[Method, Vector]
    failures: Mapping[Method, str] = field(default_factory=dict)
    seconds: Mapping[Method, float] = field(default_factory=dict)


def forecast_origin(
    series: DailySeries,
    rows: int,
    *,
    methods: Sequence[Method],
    horizon: int,
    season_length: int = 7,
    options: MethodOptions = USUAL,
    tidy: bool = False,
) -> Origin:
    """Forecast by every method from the first `rows` days of a series; `InsufficientHistory` where none is known.

    `tidy`: each history is to be rid of days far out and brought to its newest level first (`tidied`), as a
    service does; not where that has been done.
    """
    history = series.until(rows)
    if tidy:
        history = tidied(history, season_length=season_length)
    # A history that ends before the cutoff is forecast from its own end.
    gap = series.first_day + rows - 1 - history.last_day
    forecasts: dict[Method, Vector] = {}
    failures: dict[Method, str] = {}
    seconds: dict[Method, float] = {}
    for method in methods:
        began = time.perf_counter()
        try:
            found = forecast(method, history, horizon + gap, season_length=season_length, options=options)
            forecasts[method] = found[gap:]
        except MethodFailed as error:
            failures[method] = str(error)
        seconds[method] = time.perf_counter() - began
    actual = np.full(horizon, np.nan)
    came = series.values[rows : rows + horizon]
    actual[: len(came)] = came
    return Origin(series.first_day + rows - 1, history, actual, forecasts, failures, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One series, where to cut it, and how to forecast it (`forecast_origin`)."""

    series: DailySeries
    rows: Sequence[int]
    options: MethodOptions = USUAL
    tidy: bool = False


def _work(task: Task, methods: Sequence[Method], horizon: int, season_length: int = 7) -> list[Origin]:
    return [
        forecast_origin(
            task.series,
            rows,
            methods=methods,
            horizon=horizon,
            season_length=season_length,
            options=task.options,
            tidy=task.tidy,
        )
        for rows in task.rows
    ]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Processes for `forecast_origins`, one thread of linear algebra each."""
    # Not fork: gRPC and numba threads of this process would be copied in whatever state they are in.
    context = multiprocessing.get_context("spawn")
    with one_thread_each(), ProcessPoolExecutor(workers or cores(), mp_context=context) as pool:
        yield pool


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that are started meanwhile use one thread of linear algebra each."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def forecast_origins(
    tasks: Sequence[Task],
    *,
    methods: Sequence[Method],
    horizon: int,
    season_length: int = 7,
    pool: ProcessPoolExecutor | None = None,
    progress: Progress | None = None,
) -> list[list[Origin]]:
    """Forecast every task by every method, in the order of the tasks; in this process without a pool.

    `POOLED_REGRESSION` is learnt at each cutoff from the days of all tasks' series up to it, and none after.
    `progress` is called with the number of origins done after each task.
    """
    out: list[list[Origin]] = []
    alone = tuple(method for method in methods if method is not Method.POOLED_REGRESSION)
    if pool is None:
        found: Iterator[list[Origin]] = (_work(task, alone, horizon, season_length) for task in tasks)
    else:
        futures = [pool.submit(_work, task, alone, horizon, season_length) for task in tasks]
        found = (future.result() for future in futures)
    for origins in found:
        out.append(origins)
        if progress is not None:
            progress(len(origins))
    if len(alone) < len(methods):
        return join_pooled(out, [task.series for task in tasks], horizon=horizon, season_length=season_length)
    return out


def join_pooled(
    origins: Sequence[Sequence[Origin]],
    series: Sequence[DailySeries],
    *,
    horizon: int,
    season_length: int = 7,
) -> list[list[Origin]]:
    """The same origins with `POOLED_REGRESSION`, learnt from `series` (theirs, or more of their kind)."""
    began = time.perf_counter()
    cutoffs = [origin.cutoff for one in origins for origin in one]
    learnt = learn(series, cutoffs=cutoffs, horizon=horizon, season_length=season_length)
    share = (time.perf_counter() - began) / max(len(cutoffs), 1)
    return [[_with_pooled(one, learnt.get(one.cutoff), horizon, share) for one in found] for found in origins]


def _with_pooled(origin: Origin, model: PooledRegression | None, horizon: int, seconds: float) -> Origin:
    method = Method.POOLED_REGRESSION
    spent = {**origin.seconds, method: seconds}
    gap = origin.cutoff - origin.history.last_day
    try:
        if model is None:
            raise MethodFailed(f"{method} had too few days of all series to learn from")
        point = forecast(method, origin.history, horizon + gap, options=MethodOptions(pooled=model))[gap:]
    except MethodFailed as error:
        return replace(origin, failures={**origin.failures, method: str(error)}, seconds=spent)
    return replace(origin, forecasts={**origin.forecasts, method: point}, seconds=spent)


def as_forecasts(
    origins: Sequence[Origin],
    points: Sequence[Vector],
    *,
    season_length: int = 7,
    series: npt.NDArray[np.int64] | None = None,
) -> Forecasts:
    """One method's forecasts at origins, without intervals; each of a series of its own unless `series` says more."""
    point = np.array(points)
    nothing = np.full_like(point, np.nan)
    return Forecasts(
        series=np.arange(len(origins)) if series is None else series,
        actual=np.array([one.actual for one in origins]),
        point=point,
        lower=nothing,
        upper=nothing.copy(),
        mase_scale=np.array([mase_scale(o.history.values, season_length=season_length) for o in origins]),
        rmsse_scale=np.array([rmsse_scale(o.history.values) for o in origins]),
    )


def set_intervals(
    found: Forecasts,
    origins: Sequence[Origin],
    rows: Sequence[int],
    quantiles: ResidualQuantiles,
    level: float,
) -> None:
    """Write the intervals of some rows, those with a forecast."""
    for row in rows:
        if np.isfinite(found.point[row]).all():
            history = origins[row].history
            found.lower[row], found.upper[row] = quantiles.interval(
                found.point[row],
                scale=interval_scale(history.values),
                level=level,
                nonnegative=history.nonnegative,
            )
