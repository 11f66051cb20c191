"""Many forecasts within one call's time: from the cache, the rest over all cores, here without processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
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
Outcome = Answer | AdsmlError


class BatchRunner:
    """Answers tasks, keeps the `cached` newest answers, and stops in time; in this thread without `workers`."""

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

    def run(self, tasks: Sequence[ForecastTask | AdsmlError], context: CallContext) -> list[Outcome]:
        """Answers in order; errors go through, and a task that is not done in time is `DeadlineExceeded`."""
        out: list[Outcome | None] = []
        places: dict[bytes, list[int]] = {}
        waiting: dict[bytes, ForecastTask] = {}
        for at, task in enumerate(tasks):
            if isinstance(task, AdsmlError):
                out.append(task)
                continue
            key = task.key()
            out.append(self._get(key))
            if out[-1] is None:
                waiting[key] = task
                places.setdefault(key, []).append(at)
        reserve = _RESERVE_SECONDS + _SECONDS_PER_ITEM * len(tasks)
        left = context.deadline
        until = None if left is None else monotonic() + max(left - reserve, 0.0)
        pool = self._workers.ready() if self._workers is not None and len(waiting) > 1 else None
        done = _here(waiting, until, context) if pool is None else _spread(pool, waiting, until, context)
        for key, found in done:
            if isinstance(found, Answer):
                self._put(key, found)
            for at in places[key]:
                out[at] = found
        late = DeadlineExceeded(
            "the deadline passed before this forecast was made; ask for fewer, or allow more time"
        )
        return [late if one is None else one for one in out]

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
