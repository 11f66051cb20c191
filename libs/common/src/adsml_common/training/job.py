"""Works off the items of a training run: resumable, by one process per shard, whatever happens meanwhile."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from adsml_common.domain.errors import AlreadyRunning, FailedPrecondition, Unavailable
from adsml_common.training.attempt import pauses
from adsml_common.training.progress import Progress
from adsml_common.training.records import (
    EXIT_BAD_DATA,
    EXIT_DONE,
    EXIT_RETRY,
    Item,
    ItemResult,
    ItemStatus,
    Lease,
    RunStatus,
    ShardStatus,
    TrainingRun,
)
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.workers import Workers

_LOG = logging.getLogger(__name__)
_GLANCE_SECONDS = 0.2
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that rule a run."""

    lease: float = 30.0
    """How long a process may be silent before another takes over."""
    heartbeat: float = 5.0
    """Between two signs of life; also how soon a cancellation is noticed."""
    patience: float = 300.0
    """How long to wait for a database or store that is away."""
    grace: float = 60.0
    """How long workers may go on once the run was asked to stop; one that was cancelled or lost stops at once."""


def run_job(
    job: str,
    items: Sequence[Item],
    workers: Workers,
    *,
    runs: TrainingRuns,
    shard_index: int = 0,
    shard_count: int = 1,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
    **request: Any,
) -> TrainingRun:
    """Train every item of a shard that is not done yet, record what came of each, and give the shard's exit status.

    Calling it again with the same request goes on where the last call ended, however that ended: items that
    were trained or skipped are left alone, the others are tried. A run that is on record keeps what started it.

    Parameters
    ----------
    items
        Everything the run covers; those of other shards are left to their processes.
    workers
        Train items and register their models under the run's id, which is ``run_id_of(job, request_id)``. What they
        raise is recorded: too little history as skipped, bad data as failed for good, a store that is away is
        waited for, anything else is failed and worth another try.
    stop
        Set it to end early: what is in work is finished and kept, and what is not finished within `Pace.grace` is
        put back.
    request
        What started the run, as `TrainingRuns.start` takes it.

    Raises
    ------
    AlreadyRunning
        Another run of the job, or another process on this shard, is at work. In the first case this run is
        recorded as cancelled, unless it had begun before.
    AlreadyExists
        The request id was used for something else.
    FailedPrecondition
        The run was cancelled.
    Unavailable
        The database stayed away for longer than `Pace.patience`.
    """
    if len({item.key for item in items}) != len(items):
        raise ValueError("two items of a run have the same key")
    worker = _ShardWorker(runs, workers, stop or threading.Event(), pace or Pace())
    request = {"parameters": {}, "shard_index": shard_index, "shard_count": shard_count, **request}
    run = worker.retry(runs.start, job, **request)
    if run.cancel_requested:
        raise FailedPrecondition(f"run {run.run_id} was cancelled; start a new one with a new request id")
    try:
        lease = worker.acquire(run, shard_index)
    except AlreadyRunning as error:
        if error.metadata["run_id"] != run.run_id and run.status is RunStatus.PENDING:
            # It will not begin: to be seen as waiting would hold off the next one.
            worker.retry(runs.cancel, run.run_id, reason=error.message)
        raise
    return worker.run_shard(run, lease, items, progress or Progress())


class ItemQueue:
    """Items that wait for a process, handed out by their groups, in the order given.

    What the items of a group share is read or learned by every process that gets one of them. So a process
    goes on with the group that it is at, then takes one that nobody has begun, and only when there is none
    does it help with the one that has most left.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._untouched: dict[str, deque[Item]] = {}
        for item in items:
            self._untouched.setdefault(item.group, deque()).append(item)
        self._begun: dict[str, deque[Item]] = {}

    def next(self, last: Item | None) -> Item | None:
        """The item for a process that had `last` before, or is new; None if there is none left."""
        group = last.group if last is not None and last.group in self._begun else self._another()
        if group is None:
            return None
        left = self._begun[group]
        item = left.popleft()
        if not left:
            del self._begun[group]
        return item

    def _another(self) -> str | None:
        if self._untouched:
            group = next(iter(self._untouched))
            self._begun[group] = self._untouched.pop(group)
            return group
        return max(self._begun, key=lambda one: len(self._begun[one]), default=None)


class _ShardWorker:
    """One process's work on one shard."""

    def __init__(self, runs: TrainingRuns, workers: Workers, stop: threading.Event, pace: Pace) -> None:
        self._runs = runs
        self._workers = workers
        self._stop = stop
        self._pace = pace
        self._lost: AlreadyRunning | None = None
        self._cancelled = False

    def run_shard(
        self, run: TrainingRun, lease: Lease, items: Sequence[Item], progress: Progress
    ) -> TrainingRun:
        """Work the shard's items off under a lease."""
        ended = threading.Event()
        heart = threading.Thread(target=self._beat, args=(lease, ended), name="lease", daemon=True)
        heart.start()
        failures: list[ItemResult] = []
        try:
            statuses = self.retry(self._runs.plan, lease, items, shard_count=run.shard_count)
            todo = [item for item in items if item.key in statuses and not statuses[item.key].done]
            left = len(todo)
            progress.start(run, total=len(statuses), before=len(statuses) - left)
            try:
                for item, result in self._results(lease, todo):
                    self.retry(self._runs.done, lease, item.key, result)
                    left -= 1
                    failures += [result] if result.status is ItemStatus.FAILED else []
                    progress.advance(run, item, result)
            finally:
                run = self._finish(lease, failures, left=left, total=len(statuses))
                progress.finish(run)
        finally:
            ended.set()
            heart.join()
        return run

    def acquire(self, run: TrainingRun, shard_index: int) -> Lease:
        """Take the lease, waiting for one that a dead predecessor on the same shard has left.

        One that is renewed meanwhile belongs to a process that lives.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}"
        seen: str | None = None
        while True:
            try:
                seconds = self._pace.lease
                return self.retry(
                    self._runs.acquire, run, shard_index=shard_index, holder=holder, seconds=seconds
                )
            except AlreadyRunning as error:
                expires = error.metadata["expires_at"]
                if error.metadata["run_id"] != run.run_id or seen not in (None, expires):
                    raise
                if seen is None:
                    _LOG.info("%s; waiting whether it is alive", error.message)
                seen = expires
                if self._stop.wait(_GLANCE_SECONDS):
                    raise

    def retry(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the database, trying again while it is away."""
        for seconds in pauses(self._pace.patience):
            try:
                return call(*args, **kwargs)
            except Unavailable as error:
                _LOG.warning("%s; trying again in %.1f s", error.message, seconds)
                # Even when asked to stop: what was trained must be recorded.
                time.sleep(seconds)
        return call(*args, **kwargs)

    def _halted(self) -> bool:
        return self._stop.is_set() or self._cancelled or self._lost is not None

    def _beat(self, lease: Lease, ended: threading.Event) -> None:
        while not ended.wait(self._pace.heartbeat):
            try:
                lease, self._cancelled = self._runs.renew(lease, seconds=self._pace.lease)
            except AlreadyRunning as error:
                self._lost = error
                return
            except Unavailable as error:
                _LOG.warning("no sign of life could be given: %s", error.message)

    def _results(self, lease: Lease, todo: Sequence[Item]) -> Iterator[tuple[Item, ItemResult]]:
        queue, workers = ItemQueue(todo), self._workers
        until: float | None = None
        try:
            while True:
                while workers.free and not self._halted():
                    item = queue.next(workers.last)
                    if item is None:
                        break
                    self.retry(self._runs.begin, lease, item.key)
                    workers.begin(item, patience_seconds=self._pace.patience)
                if not workers.busy:
                    return
                yield from workers.wait(_GLANCE_SECONDS)
                if self._halted():
                    until = time.monotonic() + self._pace.grace if until is None else until
                    if self._cancelled or self._lost is not None or time.monotonic() >= until:
                        begun = workers.abandon()
                        if begun and self._lost is None:
                            self.retry(self._runs.requeue, lease, [one.key for one in begun])
                        return
        finally:
            # Not to be left at work by whatever else ends the run.
            workers.abandon()

    def _finish(self, lease: Lease, failures: Sequence[ItemResult], *, left: int, total: int) -> TrainingRun:
        if self._lost is not None:
            raise self._lost
        if left:
            cancelled = self._cancelled and not self._stop.is_set()
            status = ShardStatus.CANCELLED if cancelled else ShardStatus.INTERRUPTED
            word = "cancelled" if cancelled else "stopped; the same request goes on with it"
            exit_status, detail = EXIT_RETRY, f"{left} of {total} items left: {word}"
        elif failures:
            bad = all(failure.bad_data for failure in failures)
            exit_status = EXIT_BAD_DATA if bad else EXIT_RETRY
            status, detail = ShardStatus.FAILED, f"{len(failures)} of {total} items failed"
        else:
            exit_status, status, detail = EXIT_DONE, ShardStatus.SUCCEEDED, ""
        return self.retry(self._runs.finish, lease, status, exit_status=exit_status, detail=detail)
