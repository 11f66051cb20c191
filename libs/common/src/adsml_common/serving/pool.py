"""A bounded pool of threads fed and read by one event loop.

The standard executor has an unbounded queue, can't say how long work will wait, and wakes a thread for every piece of
work and the loop for every result. Here the queue is bounded, its wait is estimated, work whose caller has gone is
dropped before it starts, and threads are woken sparingly.

Waking is what short work costs most: only one thread runs Python at a time, so while a call takes a tenth of a
millisecond, every thread that is woken for it, and the loop that is woken for its result, waits for the interpreter and
is switched to for nothing. So while work is short, one thread does it, piece after piece, and the loop is told once
that thread has nothing left to do. Should a piece turn out to be long after all, the loop, which looks every
millisecond while work waits, takes what is done, and sends for another thread where no work was begun since it
last looked. While work is long, every piece wakes a thread, and every result the loop.
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
_SHORT_SECONDS: Final = 0.0005
_LOOK_SECONDS: Final = 0.001


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
        # Threads sleep on this one; a True wakes one of them, a False ends it.
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._awake = 0
        # Holds `_awake` and `_jobs` together: where work waits, a thread is awake that will find it.
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._done: deque[_Job] = deque()
        self._wake_pending = False
        self._looking = False
        self._taken = self._taken_at_look = 0
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
        return len(self._jobs)

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
        if len(self._jobs) >= self.capacity or wait > self.wait_seconds:
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
        self._look_later()
        with self._lock:
            self._jobs.append(job)
            self._wake_a_thread(even_if_one_is=self._mean_seconds >= _SHORT_SECONDS)
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
            self._wakes.put(False)
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _wake_a_thread(self, *, even_if_one_is: bool) -> None:
        """Wake one where any sleeps; `_lock` is held."""
        if self._awake < (self.workers if even_if_one_is else 1):
            self._awake += 1
            self._wakes.put(True)

    def _work(self) -> None:
        while self._wakes.get():
            while True:
                with self._lock:
                    if not self._jobs:
                        self._awake -= 1
                        break
                    job = self._jobs.popleft()
                    self._taken += 1
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
        if self._jobs and self._mean_seconds < _SHORT_SECONDS:
            # More is coming, from this thread or another. Where it is long in coming, the loop looks by itself: it
            # does so for as long as work waits, and once more.
            return
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

    def _look_later(self) -> None:
        """Look in a while; on the loop, before work is queued."""
        if not self._looking:
            self._looking = True
            assert self._loop is not None  # noqa: S101 - work comes only once started
            self._loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = False
        if self._jobs:
            self._look_later()
            with self._lock:
                if self._taken == self._taken_at_look:
                    self._wake_a_thread(even_if_one_is=True)
                self._taken_at_look = self._taken
        self._deliver()

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
