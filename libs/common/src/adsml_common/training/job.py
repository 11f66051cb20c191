"""Works off the items of a training run: resumable, by one process per shard, whatever happens meanwhile."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

from adsml_common.domain.errors import AlreadyRunning, FailedPrecondition, Unavailable
from adsml_common.training.attempt import Backoff, Outcome, TrainOne, attempt
from adsml_common.training.item_queue import ItemQueue
from adsml_common.training.progress import Progress, Tally, progress_for
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
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that rule a run.

    Attributes
    ----------
    lease
        How long a process may be silent before another takes over.
    heartbeat
        Between two signs of life; also how soon a cancellation is noticed.
    patience
        How long to wait for a database or store that is away.
    grace
        How long worker processes may go on with what they have begun once the run was asked to stop. One that
        was cancelled, or lost to another process, stops at once.
    """

    lease: float = 30.0
    heartbeat: float = 5.0
    patience: float = 300.0
    grace: float = 60.0


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
    """Train every item of a shard that is not done yet, and record what came of each.

    Calling it again with the same request goes on where the last call ended, however that ended: items that
    were trained or skipped are left alone, the others are tried.

    Parameters
    ----------
    job
        What is trained, e.g. ``"classifiers"``.
    items
        Everything the run covers; those of other shards are left to their processes.
    train_one
        Trains one item and registers its model under the run's id, which is ``run_id_of(job, request_id)``:
        a function, called here for one item after the other, or worker processes. What it raises is recorded:
        too little history as skipped, bad data as failed for good, a store that is away is waited for,
        anything else is failed and worth another try.
    runs
        The record.
    request_id, parameters, launch_kind, launcher, launcher_ref
        What the run is asked for by, with what, and what started it; of one that is on record already, its
        record says the last three.
    shard_index, shard_count
        Which part of it this process works on.
    stop
        Set it to end early: what is in work is finished and kept, and what worker processes don't finish
        within `Pace.grace` is put back.
    progress
        Who is told; without, a bar on a terminal and log lines elsewhere.
    pace
        Seconds that rule the run.

    Returns
    -------
    TrainingRun
        With the exit status of this shard: 0 all trained or skipped, 42 all failures lie in the data, 1
        another try may help (failures, interrupted, cancelled).

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
    run = worker.retry_while_unavailable(
        lambda: runs.start(
            job,
            request_id=request_id,
            parameters=parameters or {},
            shard_index=shard_index,
            shard_count=shard_count,
            launch_kind=launch_kind,
            launcher=launcher,
            launcher_ref=launcher_ref,
        )
    )
    # What a former try has listed stays this shard's, even if accounts have grown meanwhile and groups with them.
    listed = worker.retry_while_unavailable(lambda: runs.listed(run.run_id, shard_index))
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
            reason = error.message
            worker.retry_while_unavailable(lambda: runs.cancel(run.run_id, reason=reason))
        raise
    return worker.run_shard(run, lease, mine, progress or progress_for(Console(stderr=True)))


class _ShardWorker:
    """One process's work on one shard."""

    def __init__(
        self,
        runs: TrainingRuns,
        train_one: TrainOne | Workers,
        stop: threading.Event,
        pace: Pace,
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
            statuses = self.retry_while_unavailable(lambda: self._runs.plan(lease, mine))
            todo = [item for item in mine if item.key in statuses and not statuses[item.key].done]
            tally = Tally(len(statuses), len(statuses) - len(todo))
            progress.start(run, tally)
            try:
                for item, outcome in self._outcomes(lease, todo):
                    self._record(lease, item, outcome)
                    tally.add(outcome.result, outcome.seconds)
                    failures += [outcome.result] if outcome.result.status is ItemStatus.FAILED else []
                    progress.advance(item, outcome.result, tally)
            finally:
                run = self._finish(lease, tally, failures)
                progress.finish(run, tally)
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
                return self.retry_while_unavailable(
                    lambda: self._runs.acquire(
                        run, shard_index=shard_index, holder=holder, seconds=self._pace.lease
                    )
                )
            except AlreadyRunning as error:
                expires = error.metadata["expires_at"]
                if error.metadata["run_id"] != run.run_id or seen not in (None, expires):
                    raise
                if seen is None:
                    _LOG.info("%s; waiting whether it is alive", error.message)
                seen = expires
                if not self.pause(_GLANCE_SECONDS):
                    raise

    def retry_while_unavailable(self, call: Callable[[], T]) -> T:
        """Do something with the database, trying again while it is away."""
        backoff = Backoff(self._pace.patience)
        while True:
            try:
                return call()
            except Unavailable as error:
                seconds = backoff.next()
                if seconds is None:
                    raise
                _LOG.warning("%s; trying again in %.1f s", error.message, seconds)
                # Even when asked to stop: what was trained must be recorded.
                time.sleep(seconds)

    def pause(self, seconds: float) -> bool:
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

    def _outcomes(self, lease: Lease, todo: Sequence[Item]) -> Iterator[tuple[Item, Outcome]]:
        if isinstance(self._train_one, Workers):
            return self._side_by_side(lease, todo, self._train_one)
        return self._one_by_one(lease, todo, self._train_one)

    def _one_by_one(
        self, lease: Lease, todo: Sequence[Item], train_one: TrainOne
    ) -> Iterator[tuple[Item, Outcome]]:
        for item in todo:
            if self._halted():
                return
            self._begin(lease, item)
            outcome = attempt(train_one, item, patience_seconds=self._pace.patience, pause=self.pause)
            if outcome is None:
                self._requeue(lease, [item])
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
                    self._begin(lease, item)
                    workers.begin(item, patience_seconds=self._pace.patience)
                if not workers.busy:
                    return
                yield from workers.wait(_GLANCE_SECONDS)
                if self._halted():
                    until = time.monotonic() + self._pace.grace if until is None else until
                    if self._cancelled or self._lost is not None or time.monotonic() >= until:
                        begun = workers.abandon()
                        if begun and self._lost is None:
                            self._requeue(lease, begun)
                        return
        finally:
            # Not to be left at work by whatever else ends the run.
            workers.abandon()

    def _begin(self, lease: Lease, item: Item) -> None:
        self.retry_while_unavailable(lambda: self._runs.begin(lease, item.key))

    def _requeue(self, lease: Lease, begun: Sequence[Item]) -> None:
        self.retry_while_unavailable(lambda: self._runs.requeue(lease, [item.key for item in begun]))

    def _record(self, lease: Lease, item: Item, outcome: Outcome) -> None:
        self.retry_while_unavailable(
            lambda: self._runs.done(lease, item.key, outcome.result, seconds=outcome.seconds)
        )

    def _finish(self, lease: Lease, tally: Tally, failures: Sequence[ItemResult]) -> TrainingRun:
        if self._lost is not None:
            raise self._lost
        if tally.left:
            cancelled = self._cancelled and not self._stop.is_set()
            status = ShardStatus.CANCELLED if cancelled else ShardStatus.INTERRUPTED
            word = "cancelled" if cancelled else "stopped; the same request goes on with it"
            exit_status, detail = EXIT_RETRY, f"{tally.left} of {tally.total} items left: {word}"
        elif failures:
            bad = all(failure.bad_data for failure in failures)
            exit_status = EXIT_BAD_DATA if bad else EXIT_RETRY
            status, detail = ShardStatus.FAILED, f"{len(failures)} of {tally.total} items failed"
        else:
            exit_status, status, detail = EXIT_DONE, ShardStatus.SUCCEEDED, ""
        return self.retry_while_unavailable(
            lambda: self._runs.finish(lease, status, exit_status=exit_status, detail=detail)
        )
