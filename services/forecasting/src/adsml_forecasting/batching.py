"""Many forecasts within one call's time: from the cache, the rest over all cores, here without processes."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Lock
from time import monotonic
from typing import Final

from adsml_common.domain.errors import AdsmlError, DeadlineExceeded, Unavailable
from adsml_common.serving.context import CallContext
from cachetools import LRUCache

from adsml_forecasting.models.answering import Answer, ForecastTask, answer
from adsml_forecasting.workers import Workers

_RESERVE_SECONDS: Final = 0.15
_SECONDS_PER_ITEM: Final = 0.0005
"""Kept of the deadline for putting the answer together."""
_DIED: Final = "a worker process died; try again"


class BatchRunner:
    """Answers tasks, keeps the answers, and stops in time.

    Parameters
    ----------
    workers
        Processes; None: tasks are worked on here.
    cached
        Answers to keep; the ones unused for longest make room.
    """

    def __init__(self, workers: Workers | None, *, cached: int) -> None:
        self._workers = workers
        self._lock = Lock()
        self._kept: LRUCache[bytes, Answer] | None = LRUCache(cached) if cached else None

    def answer(self, task: ForecastTask) -> Answer:
        """One answer: kept, or new."""
        key = task.key()
        found = self._get(key)
        if found is None:
            found = answer(task)
            self._put(key, found)
        return found

    def run(
        self, tasks: Sequence[ForecastTask | AdsmlError], context: CallContext
    ) -> list[Answer | BaseException]:
        """Answers in order; errors go through, and a task that is not done in time is `DeadlineExceeded`.

        Raises
        ------
        Cancelled
            The caller has gone.
        """
        out: list[Answer | BaseException | None] = []
        waiting: dict[bytes, list[int]] = {}
        for at, task in enumerate(tasks):
            if isinstance(task, AdsmlError):
                out.append(task)
                continue
            key = task.key()
            found = self._get(key)
            out.append(found)
            if found is None:
                waiting.setdefault(key, []).append(at)
        left = context.deadline
        reserve = _RESERVE_SECONDS + _SECONDS_PER_ITEM * len(tasks)
        until = None if left is None else monotonic() + max(left - reserve, 0.0)
        pool = self._workers.ready() if self._workers is not None and len(waiting) > 1 else None
        late = DeadlineExceeded(
            "the deadline passed before this forecast was made; ask for fewer, or allow more time"
        )

        def finish(key: bytes, result: Answer | BaseException) -> None:
            if not isinstance(result, BaseException):
                self._put(key, result)
            for at in waiting.pop(key):
                out[at] = result

        if pool is not None:
            futures: dict[Future[Answer], bytes] = {
                pool.submit(answer, tasks[places[0]]): key  # type: ignore[arg-type]
                for key, places in waiting.items()
            }
            try:
                self._gather(futures, until, context, finish)
            finally:
                for future in futures:
                    future.cancel()
        else:
            longest = 0.0
            for key, places in list(waiting.items()):
                began = monotonic()
                if until is not None and began + longest > until:
                    break
                context.check_cancelled()
                task = tasks[places[0]]
                try:
                    finish(key, answer(task))  # type: ignore[arg-type]
                except AdsmlError as error:
                    finish(key, error)
                longest = max(longest, monotonic() - began)
        return [late if one is None else one for one in out]

    def _gather(
        self,
        futures: "dict[Future[Answer], bytes]",
        until: float | None,
        context: CallContext,
        finish: object,
    ) -> None:
        pending = set(futures)
        while pending:
            timeout = 0.2 if until is None else min(0.2, until - monotonic())
            if timeout <= 0:
                return
            done, pending = wait(pending, timeout, return_when=FIRST_COMPLETED)
            if not context.expired():
                context.check_cancelled()
            for future in done:
                result: Answer | BaseException
                try:
                    result = future.result()
                except BrokenProcessPool:
                    result = Unavailable(_DIED)
                except AdsmlError as error:
                    result = error
                finish(futures[future], result)  # type: ignore[operator]

    def _get(self, key: bytes) -> Answer | None:
        if self._kept is None:
            return None
        with self._lock:
            return self._kept.get(key)

    def _put(self, key: bytes, value: Answer) -> None:
        if self._kept is not None:
            with self._lock:
                self._kept[key] = value
