"""The processes that batches and backtests are spread over, started and warmed where no request waits for them."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait

import numpy as np
from adsml_common.child_process import end_with_parent

from adsml_forecasting.models.origins import cores, one_thread_each
from adsml_forecasting.models.prediction import ForecastSpec, predict
from adsml_forecasting.models.prepared import Prepared
from adsml_forecasting.models.series import DailySeries

_LOG = logging.getLogger(__name__)


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
        return pool if any(_succeeded(one) for one in self._first) else None

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


def _succeeded(future: Future[int]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _end(pool: ProcessPoolExecutor) -> None:
    # The executor forgets them when it is shut down; one that is still starting would keep our process waiting.
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
