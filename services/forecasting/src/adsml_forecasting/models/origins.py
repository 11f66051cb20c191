"""Every member's forecasts of many series from several cutoffs, over all cores, and what they are scored by.

The origin moves forward by ``period`` days; at each cutoff a model sees the days up to it and forecasts the
``horizon`` days after (Hyndman & Athanasopoulos, "Forecasting: principles and practice", 3rd ed., section
5.10). Cutoffs are counted back from the end, as `prophet.diagnostics.generate_cutoffs` does, so that the
newest days are always among those forecast.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.intervals import interval_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.methods import USUAL, MethodFailed, MethodOptions, forecast
from adsml_forecasting.models.pooled_regression import PooledRegression, learn
from adsml_forecasting.models.preparation import tidied
from adsml_forecasting.models.scores import Forecasts, mase_scale, rmsse_scale
from adsml_forecasting.models.series import DailySeries, Matrix, Vector

_LEAST_HISTORY: Final = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingOrigin:
    """Days, at least 1: `initial` from the first day to the oldest cutoff, `period` between cutoffs, `horizon` ahead.

    At most the `newest` cutoffs are used; None for all.
    """

    initial: int = 30
    period: int = 7
    horizon: int = 7
    newest: int | None = None

    def cutoffs(self, days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The last day that each model sees, ascending; empty where there are too few days.

        `days` are those with a value, since an epoch, ascending, at least one.
        """
        first, last = int(days[0]), int(days[-1])
        cutoff = last - self.horizon
        if cutoff < first:
            return np.empty(0, np.int64)
        counted = [cutoff]
        while counted[-1] >= first + self.initial:
            cutoff -= self.period
            ahead = np.searchsorted(days, cutoff, "right")
            unseen = ahead == len(days) or days[ahead] > cutoff + self.horizon
            if unseen and cutoff > first:
                # Nothing to compare with: go on to the gap's other end.
                cutoff = int(days[ahead - 1]) - self.horizon
            counted.append(cutoff)
        ascending = np.array(counted[:-1][::-1], np.int64)
        return ascending if self.newest is None else ascending[-self.newest :]

    def rows(self, days: int) -> list[int]:
        """How many of so many consecutive days each model sees, ascending."""
        return [int(cutoff) for cutoff in self.cutoffs(np.arange(1, days + 1))] if days else []


def newest_rows(days: int, *, horizon: int, count: int) -> list[int]:
    """Days seen at each of the `count` newest cutoffs of so many consecutive days, ascending.

    Cutoffs are as far apart as the horizon, so that no day is forecast twice; closer where the history is
    short, so that the oldest keeps two thirds of it, at least three weeks. Empty with less than that.
    """
    room = days - horizon - max(_LEAST_HISTORY, 2 * days // 3)
    period = max(1, min(horizon, room // max(count - 1, 1)))
    return RollingOrigin(initial=_LEAST_HISTORY - 1, period=period, horizon=horizon, newest=count).rows(days)


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

    def only(self, methods: Sequence[Method]) -> dict[Method, Vector]:
        """Forecasts of some methods, those that gave one."""
        return {method: self.forecasts[method] for method in methods if method in self.forecasts}


def forecast_origin(
    series: DailySeries,
    rows: int,
    *,
    methods: Sequence[Method],
    horizon: int,
    options: MethodOptions = USUAL,
    tidy: bool = False,
) -> Origin:
    """Forecast by every method from the first `rows` days of a series; `InsufficientHistory` where none is known.

    `tidy`: each history is to be rid of days far out and brought to its newest level first (`tidied`), as a
    service does; not where that has been done.
    """
    history = series.until(rows)
    if tidy:
        history = tidied(history)
    # A history that ends before the cutoff is forecast from its own end.
    gap = series.first_day + rows - 1 - history.last_day
    forecasts: dict[Method, Vector] = {}
    failures: dict[Method, str] = {}
    seconds: dict[Method, float] = {}
    for method in methods:
        began = time.perf_counter()
        try:
            forecasts[method] = forecast(method, history, horizon + gap, options=options)[gap:]
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


def _work(task: Task, methods: Sequence[Method], horizon: int) -> list[Origin]:
    series, options, tidy = task.series, task.options, task.tidy
    return [
        forecast_origin(series, rows, methods=methods, horizon=horizon, options=options, tidy=tidy)
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


def forecast_each(
    tasks: Sequence[Task],
    *,
    methods: Sequence[Method],
    horizon: int,
    pool: ProcessPoolExecutor | None = None,
) -> Iterator[list[Origin]]:
    """Forecast every task by every method but `POOLED_REGRESSION`, in the order of the tasks, as they are done.

    In this process without a pool; what is still waiting in it is cancelled when nobody asks for more.
    """
    alone = tuple(method for method in methods if method is not Method.POOLED_REGRESSION)
    if pool is None:
        yield from (_work(task, alone, horizon) for task in tasks)
        return
    futures = [pool.submit(_work, task, alone, horizon) for task in tasks]
    try:
        yield from (future.result() for future in futures)
    finally:
        for future in futures:
            future.cancel()


def forecast_origins(
    tasks: Sequence[Task],
    *,
    methods: Sequence[Method],
    horizon: int,
    pool: ProcessPoolExecutor | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[list[Origin]]:
    """Forecast every task by every method, in the order of the tasks.

    `POOLED_REGRESSION` is learnt at each cutoff from the days of all tasks' series up to it, and none after.
    `progress` is called with the number of origins done after each task.
    """
    out: list[list[Origin]] = []
    for origins in forecast_each(tasks, methods=methods, horizon=horizon, pool=pool):
        out.append(origins)
        progress(len(origins))
    if Method.POOLED_REGRESSION in methods:
        return join_pooled(out, [task.series for task in tasks], horizon=horizon)
    return out


def join_pooled(
    origins: Sequence[Sequence[Origin]], series: Sequence[DailySeries], *, horizon: int
) -> list[list[Origin]]:
    """The same origins with `POOLED_REGRESSION`, learnt from `series` (theirs, or more of their kind)."""
    began = time.perf_counter()
    cutoffs = [origin.cutoff for one in origins for origin in one]
    learnt = learn(series, cutoffs=cutoffs, horizon=horizon)
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
        mase_scale=np.array([mase_scale(o.history) for o in origins]),
        rmsse_scale=np.array([rmsse_scale(o.history) for o in origins]),
    )


def interval_scales(origins: Sequence[Origin]) -> Matrix:
    """`interval_scale` of each history, shape (origins, 1)."""
    return np.array([[interval_scale(one.history.values)] for one in origins])


def set_intervals(found: Forecasts, origins: Sequence[Origin], reach: Matrix) -> None:
    """Write the intervals that go so far in units of `interval_scale`, shape (origins, horizon) or (horizon,)."""
    far = reach * interval_scales(origins)
    floor = np.where([[one.history.nonnegative] for one in origins], 0.0, -np.inf)
    found.lower[:] = np.maximum(found.point - far, floor)
    found.upper[:] = np.maximum(found.point + far, floor)
