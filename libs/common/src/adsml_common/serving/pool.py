"""A bounded pool of threads fed and read by one event loop.

The standard executor has an unbounded queue, can't say how long work will wait, and wakes the loop once per
result. Here the queue is bounded, its wait is estimated, work whose caller has gone is dropped before it
starts, and results that come close together wake the loop once.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from adsml_common.domain.errors import DeadlineExceeded, Overloaded
from adsml_common.serving.context import CallContext

T = TypeVar("T")

_SMOOTHING: Final = 0.1
_MIN_RETRY_SECONDS: Final = 0.1


def in_daemon_thread(work: Callable[[], T], *, name: str) -> "asyncio.Future[T]":
    """The outcome of `work`, run in a thread of its own that the process does not wait for when it ends.

    For the few things beside calls (warming, checks) that may hang on a dependency.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is

    def target() -> None:
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = work(), None
        except BaseException as error:
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(deliver, *outcome)

    threading.Thread(target=target, name=name, daemon=True).start()
    return future


class _Job:
    __slots__ = ("call", "error", "future", "result", "seconds", "work")

    def __init__(self, call: CallContext, work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        self.call = call
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None
        self.seconds: float | None = None


class WorkerPool:
    """Runs synchronous work for coroutines of one event loop.

    Parameters
    ----------
    name
        For thread names and messages.
    workers
        How many threads.
    capacity
        How much work may wait beside what runs.
    wait_seconds
        Work that would wait longer than this, by recent service times, is refused too.
    clock
        Seconds, rising steadily.
    """

    def __init__(
        self,
        name: str,
        *,
        workers: int,
        capacity: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.workers = workers
        self.capacity = capacity
        self.wait_seconds = wait_seconds
        self._clock = clock
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Job] = deque()
        self._wake_pending = False
        self._mean_seconds = 0.0
        self._busy = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; called on the event loop that will use the pool."""
        self._loop = asyncio.get_running_loop()
        for index in range(self.workers):
            thread = threading.Thread(target=self._work, name=f"{self.name}-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def waiting(self) -> int:
        """How much work waits for a thread."""
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        """How much work was taken on and is not done: waiting and running."""
        return self._busy

    def expected_wait(self) -> float:
        """Seconds that work handed in now would wait for a thread, by recent service times."""
        ahead = self._busy - self.workers + 1
        return max(ahead, 0) * self._mean_seconds / self.workers

    def check_room(self) -> None:
        """Refuse more work than can wait.

        Raises
        ------
        Overloaded
            The queue is full, or too slow; says when to try again.
        """
        wait = self.expected_wait()
        # By what was taken on, not by the length of the queue: a burst fills that before idle threads look at it.
        if self._busy >= self.workers + self.capacity or wait > self.wait_seconds:
            raise Overloaded(
                "the server has more work than it can do in time; try again later",
                retry_after_seconds=max(_MIN_RETRY_SECONDS, wait / 2),
            )

    async def run(self, call: CallContext, work: Callable[[], T]) -> T:
        """The result of `work`, run in one of the threads.

        Cancelling the coroutine cancels the call: waiting work is dropped, running work is told.

        Raises
        ------
        DeadlineExceeded
            The call's deadline passed while it waited.
        Exception
            Whatever `work` raised.
        """
        if self._loop is None:
            raise RuntimeError(f"pool {self.name} has not been started")
        job = _Job(call, work, self._loop.create_future())
        self._busy += 1
        self._queue.put(job)
        try:
            result: T = await job.future
            return result
        except asyncio.CancelledError:
            call.cancel()
            raise

    def close(self, *, timeout: float) -> bool:
        """Let the threads finish what they have and end.

        Returns
        -------
        bool
            Whether all of them ended within `timeout` seconds.
        """
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if not job.future.cancelled():
                self._execute(job)
            self._finished(job)

    def _execute(self, job: _Job) -> None:
        started = self._clock()
        try:
            if job.call.expired():
                raise DeadlineExceeded("the deadline passed while the call waited for its turn")
            job.result = job.work()
        except BaseException as error:
            job.error = error
            if not isinstance(error, Exception) or isinstance(error, StopIteration):
                # SystemExit and its like must end neither a thread that others count on nor the event loop,
                # and a future refuses StopIteration.
                job.error = RuntimeError(f"a handler raised {type(error).__name__}")
                job.error.__cause__ = error
        job.seconds = self._clock() - started

    def _finished(self, job: _Job) -> None:
        self._done.append(job)
        # Set before the loop is asked to look, and cleared before it looks: a job appended after the clearing
        # asks again, one appended before it is seen. At worst the loop looks once too often.
        if not self._wake_pending:
            self._wake_pending = True
            assert self._loop is not None  # noqa: S101 - threads exist only once started
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop has closed: the server was stopped without waiting for this work.
                return

    def _deliver(self) -> None:
        self._wake_pending = False
        while self._done:
            job = self._done.popleft()
            self._busy -= 1
            if job.seconds is not None:
                self._mean_seconds += _SMOOTHING * (job.seconds - self._mean_seconds)
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
