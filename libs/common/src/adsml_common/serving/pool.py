"""A bounded pool of threads fed and read by one event loop, shared fairly between callers.

The standard executor's queue has no bound, can't say how long work will wait, and wakes the loop once per result.
Here work whose caller has gone is dropped before it starts, and results that come close together wake the loop once.

Who comes next is decided by start-time fair queueing: a caller's virtual time grows by the seconds its work takes,
and the caller with the least goes first. Long work never has all threads, and where all places are taken the caller
with the most waiting work gives one up.
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

LONG_SECONDS: Final = 0.25
"""Work that takes longer is long, and leaves some threads to what is short."""
_MIN_RETRY_SECONDS: Final = 0.1
_SHORT_SHARE: Final = 0.25
_CALLERS: Final = 1_024


def in_daemon_thread(work: Callable[[], T], *, name: str) -> "asyncio.Future[T]":
    """The outcome of `work` in a thread that the process does not wait for: for what may hang on a dependency."""
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
    __slots__ = ("call", "caller", "error", "future", "long", "required", "result", "seconds", "work")

    def __init__(
        self,
        call: CallContext,
        work: Callable[[], Any],
        future: "asyncio.Future[Any]",
        *,
        seconds: float,
        required: bool,
    ) -> None:
        self.call = call
        self.caller = call.owner
        self.work = work
        self.future = future
        self.seconds = seconds
        self.long = seconds > LONG_SECONDS
        self.required = required
        self.result: Any = None
        self.error: BaseException | None = None


class _Share:
    """What one caller has waiting, short and long, and the virtual time it has come to."""

    __slots__ = ("jobs", "seconds", "virtual")

    def __init__(self, virtual: float) -> None:
        self.virtual = virtual
        # By whether they are long.
        self.jobs: tuple[deque[_Job], deque[_Job]] = deque(), deque()
        self.seconds = [0.0, 0.0]

    @property
    def waiting(self) -> int:
        return len(self.jobs[False]) + len(self.jobs[True])

    def ready(self, *, long_too: bool) -> bool:
        return bool(self.jobs[False] or (long_too and self.jobs[True]))

    def work(self, *, long_too: bool) -> float:
        """Seconds of it."""
        return sum(self.seconds) if long_too else self.seconds[False]

    def put(self, job: _Job) -> None:
        self.jobs[job.long].append(job)
        self.seconds[job.long] += job.seconds

    def take(self, *, newest: bool = False) -> _Job:
        """The oldest job, short ones first; or the newest, long ones first."""
        long = bool(self.jobs[True]) if newest else not self.jobs[False]
        job = self.jobs[long].pop() if newest else self.jobs[long].popleft()
        self.seconds[long] -= job.seconds
        return job


class WorkerPool:
    """Runs synchronous work for coroutines of one event loop.

    `capacity` is how much work may wait beside what runs; work that would wait longer than `wait_seconds`, by recent
    service times, is refused too.
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
        # Threads that long work may have at once.
        self.long_workers = max(1, workers - max(1, round(_SHORT_SHARE * workers)))
        self._clock = clock
        # One token for each job that may be taken; None ends a thread.
        self._tokens: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._shares: dict[str, _Share] = {}
        self._virtual = 0.0
        self._waiting = 0
        self._running_long = 0
        self._running_seconds = 0.0
        self._set_aside = 0
        self._done: deque[_Job] = deque()
        self._wake_pending = False
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
        return self._waiting

    @property
    def busy(self) -> int:
        """How much work was taken on and is not done: waiting and running."""
        return self._busy

    def expected_wait(self, call: CallContext, *, seconds: float = 0.0) -> float:
        """Seconds that work of this call which takes `seconds`, handed in now, would wait for a thread.

        What the caller itself has waiting comes before it, of what others have a like share.
        """
        long = seconds > LONG_SECONDS
        if self._busy < (self.long_workers if long else self.workers):
            return 0.0
        with self._lock:
            mine = self._shares.get(call.owner)
            active = [one for one in self._shares.values() if one.waiting]
            own = 0.0 if mine is None else mine.work(long_too=long)
            total = sum(one.work(long_too=long) for one in active)
            others = len(active) - (mine in active)
            threads = self.long_workers if long else max(1, self.workers - self._running_long)
            running = self._running_seconds if long or self._running_long < self.workers else 0.0
        # Half of what runs is done on average.
        running = min(running / 2, threads * LONG_SECONDS) if not long else running / 2
        return (min(total, own * (1 + others)) + running) / threads

    def check_room(self, call: CallContext, *, seconds: float = 0.0) -> None:
        """Refuse work that would wait too long, or whose places others have taken with no more waiting than this one.

        Raises `Overloaded`, which says when to try again.
        """
        wait = self.expected_wait(call, seconds=seconds)
        # By what was taken on, not by what waits: a burst fills that before idle threads look at it.
        full = self._busy >= self.workers + self.capacity
        if wait > self.wait_seconds or (full and not self._give_place(call)):
            raise _overloaded(wait)

    async def run(
        self, call: CallContext, work: Callable[[], T], *, seconds: float = 0.0, required: bool = False
    ) -> T:
        """The result of `work`, run in one of the threads; whatever it raises is raised here.

        Cancelling the coroutine cancels the call: waiting work is dropped (unless `required`), running work is told.
        `seconds` is how long it takes, by what is known. Raises `DeadlineExceeded` where the deadline passed while it
        waited, `Overloaded` where its place was given to a caller who has less waiting.
        """
        if self._loop is None:
            raise RuntimeError(f"pool {self.name} has not been started")
        job = _Job(call, work, self._loop.create_future(), seconds=seconds, required=required)
        self._busy += 1
        with self._lock:
            share = self._shares.get(job.caller)
            if share is None:
                share = self._shares[job.caller] = _Share(self._virtual)
                if len(self._shares) > _CALLERS:
                    self._forget_idle()
            elif not share.waiting:
                # Time in which a caller asked for nothing is not saved up.
                share.virtual = max(share.virtual, self._virtual)
            share.put(job)
            self._waiting += 1
        self._tokens.put(True)
        try:
            result: T = await job.future
            return result
        except asyncio.CancelledError:
            call.cancel()
            raise

    def close(self, *, timeout: float) -> bool:
        """Let the threads finish what they have and end; whether all of them did within `timeout` seconds."""
        for _ in self._threads:
            self._tokens.put(None)
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    # -- who comes next --------------------------------------------------------------------------------------

    def _next(self) -> _Job | None:
        """The next job of the caller with the least virtual time; None where only long ones wait and have no thread."""
        with self._lock:
            long_too = self._running_long < self.long_workers
            ready = [share for share in self._shares.values() if share.ready(long_too=long_too)]
            if not ready:
                if self._waiting:
                    self._set_aside += 1
                return None
            best = min(ready, key=lambda share: share.virtual)
            job = best.take()
            self._virtual = max(self._virtual, best.virtual)
            best.virtual += job.seconds
            self._waiting -= 1
            self._running_long += job.long
            self._running_seconds += job.seconds
            return job

    def _ended(self, job: _Job, seconds: float) -> None:
        """Charge the caller for what the work really took, and let long work that was set aside have the thread."""
        with self._lock:
            self._running_seconds -= job.seconds
            share = self._shares.get(job.caller)
            if share is not None:
                share.virtual += seconds - job.seconds
            if job.long:
                self._running_long -= 1
                if self._set_aside:
                    self._set_aside -= 1
                    self._tokens.put(True)

    def _give_place(self, call: CallContext) -> bool:
        """Take a waiting place from the caller with the most waiting, if that is not this one."""
        caller = call.owner
        with self._lock:
            if not self._shares:
                return False
            name, most = max(self._shares.items(), key=lambda item: item[1].waiting)
            mine = self._shares.get(caller)
            if name == caller or most.waiting <= (mine.waiting if mine is not None else 0) + 1:
                return False
            job = most.take(newest=True)
            self._waiting -= 1
        # Its token stays: the thread that gets it finds other work, or none.
        self._busy -= 1
        if not job.future.done():
            job.future.set_exception(_overloaded(self.wait_seconds))
        return True

    def _forget_idle(self) -> None:
        idle = [
            name for name, one in self._shares.items() if not one.waiting and one.virtual <= self._virtual
        ]
        for name in idle:
            del self._shares[name]

    # -- threads ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while self._tokens.get():
            job = self._next()
            if job is None:
                continue
            started = self._clock()
            if not job.future.cancelled() or job.required:
                self._execute(job)
            self._ended(job, self._clock() - started)
            self._finished(job)
            del job  # or its caller's message stays until there is other work

    def _execute(self, job: _Job) -> None:
        try:
            if job.call.expired() and not job.required:
                raise DeadlineExceeded("the deadline passed while the call waited for its turn")
            job.result = job.work()
        except BaseException as error:
            job.error = error
            if not isinstance(error, Exception) or isinstance(error, StopIteration):
                # SystemExit and its like must end neither a thread that others count on nor the event loop,
                # and a future refuses StopIteration.
                job.error = RuntimeError(f"a handler raised {type(error).__name__}")
                job.error.__cause__ = error

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
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)


def _overloaded(wait: float) -> Overloaded:
    return Overloaded(
        "the server has more work than it can do in time; try again later",
        retry_after_seconds=max(_MIN_RETRY_SECONDS, wait / 2),
    )
