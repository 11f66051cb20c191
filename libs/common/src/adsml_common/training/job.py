"""Works off the items of a training run: resumable, by one process per shard, whatever happens meanwhile."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from rich.console import Console

from adsml_common.domain.errors import AlreadyRunning, FailedPrecondition, Unavailable
from adsml_common.training.attempt import Outcome, TrainOne, attempt, pauses
from adsml_common.training.item_queue import ItemQueue
from adsml_common.training.progress import Progress, progress_for
from adsml_common.training.records import (
    EXIT_BAD_DATA,
    EXIT_DONE,
    EXIT_RETRY,
    Item,
    ItemResult,
    ItemStatus,
    LauncherKind,
    LaunchKind,
    Lease,
    RunStatus,
    ShardStatus,
    TrainingRun,
)
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.shards import shard_of
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
    train_one: TrainOne | Workers,
    *,
    runs: TrainingRuns,
    request_id: str,
    parameters: Mapping[str, Any] | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
    launch_kind: LaunchKind = LaunchKind.COMMAND_LINE,
    launcher: LauncherKind = LauncherKind.LOCAL,
    launcher_ref: str = "",
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> TrainingRun:
    """Train every item of a shard that is not done yet, record what came of each, and give the shard's exit status.

    Calling it again with the same request goes on where the last call ended, however that ended: items that
    were trained or skipped are left alone, the others are tried. A run that is on record keeps what started it.

    Parameters
    ----------
    items
        Everything the run covers; those of other shards are left to their processes.
    train_one
        Trains one item and registers its model under the run's id, which is ``run_id_of(job, request_id)``:
        a function, called here for one item after the other, or worker processes. What it raises is recorded:
        too little history as skipped, bad data as failed for good, a store that is away is waited for,
        anything else is failed and worth another try.
    stop
        Set it to end early: what is in work is finished and kept, and what worker processes don't finish
        within `Pace.grace` is put back.

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
    worker = _ShardWorker(runs, train_one, stop or threading.Event(), pace or Pace())
    run = worker.retry(
        runs.start,
        job,
        request_id=request_id,
        parameters=parameters or {},
        shard_index=shard_index,
        shard_count=shard_count,
        launch_kind=launch_kind,
        launcher=launcher,
        launcher_ref=launcher_ref,
    )
    # What a former try has listed stays this shard's, even if accounts have grown meanwhile and groups with them.
    listed = worker.retry(runs.listed, run.run_id, shard_index)
    mine = [
        item for item in items
        if item.key in listed or shard_of(item.group or item.key, shard_count) == shard_index
    ]  # fmt: skip
    if len({item.key for item in mine}) != len(mine):
        raise ValueError("two items of a run have the same key")
    if run.cancel_requested:
        raise FailedPrecondition(f"run {run.run_id} was cancelled; start a new one with a new request id")
    try:
        lease = worker.acquire(run, shard_index)
    except AlreadyRunning as error:
        if error.metadata["run_id"] != run.run_id and run.status is RunStatus.PENDING:
            # It will not begin: to be seen as waiting would hold off the next one.
            worker.retry(runs.cancel, run.run_id, reason=error.message)
        raise
    return worker.run_shard(run, lease, mine, progress or progress_for(Console(stderr=True)))


class _ShardWorker:
    """One process's work on one shard."""

    def __init__(
        self, runs: TrainingRuns, train_one: TrainOne | Workers, stop: threading.Event, pace: Pace
    ) -> None:
        self._runs = runs
        self._train_one = train_one
        self._stop = stop
        self._pace = pace
        self._lost: AlreadyRunning | None = None
        self._cancelled = False

    def run_shard(
        self, run: TrainingRun, lease: Lease, mine: Sequence[Item], progress: Progress
    ) -> TrainingRun:
        """Work the items off under a lease."""
        ended = threading.Event()
        heart = threading.Thread(target=self._beat, args=(lease, ended), name="lease", daemon=True)
        heart.start()
        failures: list[ItemResult] = []
        try:
            statuses = self.retry(self._runs.plan, lease, mine)
            todo = [item for item in mine if item.key in statuses and not statuses[item.key].done]
            left = len(todo)
            progress.start(run, total=len(statuses), before=len(statuses) - left)
            outcomes = (
                self._side_by_side(lease, todo, self._train_one)
                if isinstance(self._train_one, Workers)
                else self._one_by_one(lease, todo, self._train_one)
            )
            try:
                for item, outcome in outcomes:
                    self.retry(self._runs.done, lease, item.key, outcome.result, seconds=outcome.seconds)
                    left -= 1
                    failures += [outcome.result] if outcome.result.status is ItemStatus.FAILED else []
                    progress.advance(run, item, outcome)
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
                if not self._pause(_GLANCE_SECONDS):
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

    def _pause(self, seconds: float) -> bool:
        """Wait, and tell whether to go on."""
        deadline = time.monotonic() + seconds
        while not self._halted() and (left := deadline - time.monotonic()) > 0:
            self._stop.wait(min(left, _GLANCE_SECONDS))
        return not self._halted()

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

    def _one_by_one(
        self, lease: Lease, todo: Sequence[Item], train_one: TrainOne
    ) -> Iterator[tuple[Item, Outcome]]:
        for item in todo:
            if self._halted():
                return
            self.retry(self._runs.begin, lease, item.key)
            outcome = attempt(train_one, item, patience_seconds=self._pace.patience, pause=self._pause)
            if outcome is None:
                self.retry(self._runs.requeue, lease, [item.key])
                return
            yield item, outcome

    def _side_by_side(
        self, lease: Lease, todo: Sequence[Item], workers: Workers
    ) -> Iterator[tuple[Item, Outcome]]:
        queue = ItemQueue(todo)
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
