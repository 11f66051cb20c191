"""Many forecasts within one call's time, and the processes that batches and backtests are spread over."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from time import monotonic
from typing import Final

import numpy as np
from adsml_common.child_process import end_with_parent
from adsml_common.domain.errors import AdsmlError, DeadlineExceeded, Unavailable
from adsml_common.serving.context import CallContext
from cachetools import LRUCache

from adsml_forecasting.models.answering import Answer, ForecastTask, answer
from adsml_forecasting.models.origins import cores, one_thread_each
from adsml_forecasting.models.prediction import ForecastSpec, predict
from adsml_forecasting.models.prepared import Prepared
from adsml_forecasting.models.series import DailySeries

_LOG = logging.getLogger(__name__)
_RESERVE_SECONDS: Final = 0.15
_SECONDS_PER_ITEM: Final = 0.0005
"""Kept of the deadline for putting the answer together."""
Outcome = Answer | AdsmlError


def warm() -> None:
    """Load and compile what the first forecast would wait for."""
    days = np.arange(60)
    values = 20.0 + 3.0 * np.sin(days * 2 * np.pi / 7) + 0.1 * days + np.random.default_rng(0).normal(size=60)
    series = DailySeries(19_000, values, True, "warm-up")
    predict(Prepared.of_series(series, horizon=2), ForecastSpec(horizon=2))


class Workers:
    """A pool of processes (0: one per core), started when first asked for and again when one of them died.

    Starting takes seconds and some 400 MB a process, so nothing is started for a service that is never asked
    for a batch, and nobody waits for it: until a process is warm, `ready` gives none, and callers work in their
    own thread. `warm_up` is run by each of them before its first task; a function of a module, which they import.
    """

    def __init__(self, count: int = 0, *, warm_up: Callable[[], None] = warm) -> None:
        self._count = count or cores()
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._first: list[Future[int]] = []
        self._closed = False

    def ready(self) -> ProcessPoolExecutor | None:
        """The pool, once one of its processes is warm; None until then, without waiting, and after `close`."""
        pool = self.get()
        done = (one for one in self._first if one.done() and not one.cancelled())
        return pool if any(one.exception() is None for one in done) else None

    def get(self) -> ProcessPoolExecutor | None:
        """The pool, whose first tasks wait until it is warm; None after `close`."""
        with self._lock:
            if self._closed:
                return None
            # A pool whose process was killed takes no more work, and says so only by this private mark.
            if self._pool is not None and getattr(self._pool, "_broken", False):
                _end(self._pool)
                self._pool = None
            if self._pool is None:
                # Not fork: threads of this process would be copied in whatever state they are in.
                self._pool = ProcessPoolExecutor(
                    self._count,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_begin,
                    initargs=(self._warm_up,),
                )
                with one_thread_each():
                    # A task finds nobody idle, so that a process is started for each; it answers when it is warm.
                    self._first = [self._pool.submit(os.getpid) for _ in range(self._count)]
            return self._pool

    def start(self) -> None:
        """Start the processes and wait until all are warm: none warms up beside the first batch."""
        self.get()
        wait(self._first)
        if not self._closed and self.ready() is None:
            _LOG.warning("the processes for batches could not be started: batches are answered one by one")

    def close(self) -> None:
        """End them, and what they are doing: after the drain nobody waits for it."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                _end(self._pool)


def _begin(warm_up: Callable[[], None]) -> None:
    end_with_parent()
    warm_up()


def _end(pool: ProcessPoolExecutor) -> None:
    # The executor forgets them when it is shut down; one that is still starting would keep our process waiting.
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


class BatchRunner:
    """Answers tasks, keeps the `cached` newest answers, and stops in time; in this thread without `workers`."""

    def __init__(self, workers: Workers | None, *, cached: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._kept: LRUCache[bytes, Answer] | None = LRUCache(cached) if cached else None

    def answer(self, task: ForecastTask) -> Answer:
        """One answer: kept, or new."""
        key = task.key()
        found = self._get(key)
        if found is None:
            found = answer(task)
            self._put(key, found)
        return found

    def run(self, tasks: Sequence[ForecastTask | AdsmlError], context: CallContext) -> list[Outcome]:
        """Answers in order; errors go through, and a task that is not done in time is `DeadlineExceeded`."""
        keys = [task if isinstance(task, AdsmlError) else task.key() for task in tasks]
        known: dict[bytes, Outcome | None] = {key: self._get(key) for key in keys if isinstance(key, bytes)}
        waiting = {
            key: task
            for key, task in zip(keys, tasks, strict=True)
            if isinstance(key, bytes) and isinstance(task, ForecastTask) and known[key] is None
        }
        left = context.deadline
        reserve = _RESERVE_SECONDS + _SECONDS_PER_ITEM * len(tasks)
        until = None if left is None else monotonic() + max(left - reserve, 0.0)
        pool = self._workers.ready() if self._workers is not None and len(waiting) > 1 else None
        done = _here(waiting, until, context) if pool is None else _spread(pool, waiting, until, context)
        for key, found in done:
            known[key] = found
            if isinstance(found, Answer):
                self._put(key, found)
        late = DeadlineExceeded(
            "the deadline passed before this forecast was made; ask for fewer, or allow more time"
        )
        return [key if isinstance(key, AdsmlError) else known[key] or late for key in keys]

    def _get(self, key: bytes) -> Answer | None:
        if self._kept is None:
            return None
        with self._lock:
            return self._kept.get(key)

    def _put(self, key: bytes, value: Answer) -> None:
        if self._kept is not None:
            with self._lock:
                self._kept[key] = value


def _outcome(make: Callable[[], Answer]) -> Outcome:
    try:
        return make()
    except BrokenProcessPool:
        return Unavailable("a worker process died; try again")
    except AdsmlError as error:
        return error


def _here(
    tasks: dict[bytes, ForecastTask], until: float | None, context: CallContext
) -> Iterator[tuple[bytes, Outcome]]:
    longest = 0.0
    for key, task in tasks.items():
        began = monotonic()
        if until is not None and began + longest > until:
            return
        context.check_cancelled()
        yield key, _outcome(partial(answer, task))
        longest = max(longest, monotonic() - began)


def _spread(
    pool: ProcessPoolExecutor,
    tasks: dict[bytes, ForecastTask],
    until: float | None,
    context: CallContext,
) -> Iterable[tuple[bytes, Outcome]]:
    futures: dict[Future[Answer], bytes] = {pool.submit(answer, task): key for key, task in tasks.items()}
    pending = set(futures)
    try:
        while pending:
            timeout = 0.2 if until is None else min(0.2, until - monotonic())
            if timeout <= 0:
                return
            done, pending = wait(pending, timeout, return_when=FIRST_COMPLETED)
            if not context.expired():
                context.check_cancelled()
            for future in done:
                yield futures[future], _outcome(future.result)
    finally:
        for future in futures:
            future.cancel()
