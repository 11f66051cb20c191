"""Rows of the training tables as the words of training, within a caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AlreadyRunning, NotFound, Overloaded
from adsml_common.training.records import (
    EXIT_BAD_DATA,
    EXIT_DONE,
    EXIT_RETRY,
    Counts,
    ItemStatus,
    LauncherKind,
    LaunchKind,
    RunStatus,
    ShardStatus,
    TrainingItem,
    TrainingRun,
)
from adsml_common.training.tables import ml_training_items as items
from adsml_common.training.tables import ml_training_runs as runs
from adsml_common.training.tables import ml_training_shards as shards

_LISTED: Final = 10
_RETRY_SECONDS: Final = 60.0
_QUIET: Final = timedelta(minutes=10)
"""A local run that gave no sign of life for this long has lost its process; the launcher sees to those of a cluster."""


SELECT_ITEMS: Final = sa.select(
    items.c.item_key.label("key"), *(items.c[name] for name in TrainingItem.__slots__ if name != "key")
)


def item_of(row: sa.Row[Any]) -> TrainingItem:
    """A row of `SELECT_ITEMS`."""
    level = EntityType(row.entity_type) if row.entity_type else None
    return TrainingItem(**row._asdict() | {"status": ItemStatus(row.status), "entity_type": level})


def exists(connection: Connection, run_id: str) -> bool:
    """Whether there is such a run."""
    return connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == run_id)).first() is not None


def run_view(connection: Connection, run_id: str) -> TrainingRun:
    """One run; `NotFound` if there is none."""
    row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no training run {run_id}")
    return run_views(connection, [row])[0]


def run_views(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[TrainingRun]:
    """Runs with their counts and signs of life, in three queries however many there are."""
    ids = [row.run_id for row in rows]
    counts: dict[str, dict[str, int]] = {run_id: {} for run_id in ids}
    for run_id, status, count in connection.execute(
        sa.select(items.c.run_id, items.c.status, sa.func.count())
        .where(items.c.run_id.in_(ids))
        .group_by(items.c.run_id, items.c.status)
    ):
        counts[run_id][status.lower()] = count
    parts: dict[str, list[sa.Row[Any]]] = {run_id: [] for run_id in ids}
    for shard in connection.execute(sa.select(shards).where(shards.c.run_id.in_(ids))):
        parts[shard.run_id].append(shard)
    views = []
    for row in rows:
        found = parts[row.run_id]
        signs = [shard.heartbeat_at for shard in found if shard.heartbeat_at]
        derived = {
            "launch_kind": LaunchKind(row.launch_kind),
            "launcher": LauncherKind(row.launcher),
            "status": RunStatus(row.status),
            "counts": Counts(**counts[row.run_id]),
            "exit_status": _exit_status(found, row.shard_count),
            "heartbeat_at": max(signs, default=None),
        }
        views.append(TrainingRun(**(row._asdict() | derived)))
    return views


def check_limits(connection: Connection, *, job: str, actor: str, open_runs: int, now: datetime) -> None:
    """Hold a new run of a caller to the limits, in a transaction that keeps other starts out.

    Raises
    ------
    AlreadyRunning
        A run of the job is open; its ``run_id`` is in the metadata.
    Overloaded
        The caller has `open_runs` open, over all jobs.
    """
    open_ = [status.value for status in RunStatus if not status.ended]
    rows = connection.execute(sa.select(runs).where(runs.c.status.in_(open_))).all()
    alive = [run for run in run_views(connection, rows) if _alive(run, now)]
    for run in alive:
        if run.job == job:
            raise AlreadyRunning(
                f"a run of {job} is going on; wait for it, or cancel it", metadata={"run_id": run.run_id}
            )
    own = sum(run.launch_kind is LaunchKind.CALLER and run.actor == actor for run in alive)
    if own >= open_runs:
        raise Overloaded(
            f"{own} training runs of this caller are open, which is as many as there may be; "
            "wait for one to end, or cancel one",
            retry_after_seconds=_RETRY_SECONDS,
        )


def _alive(run: TrainingRun, now: datetime) -> bool:
    if run.launcher is LauncherKind.KUBERNETES:
        return True
    return (run.heartbeat_at or run.created_at) > now - _QUIET


def settle(connection: Connection, run_id: str, *, now: datetime) -> None:
    """Derive a run's status from its shards', within a transaction that holds the run's lock."""
    run = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one()
    found = connection.execute(sa.select(shards).where(shards.c.run_id == run_id)).all()
    status, detail = _derived(run, found)
    if status is RunStatus.FAILED:
        counts = run_view(connection, run_id).counts
        status = RunStatus.PARTIAL if counts.trained + counts.skipped else status
    connection.execute(
        runs.update()
        .where(runs.c.run_id == run_id)
        .values(status=status.value, detail=detail, finished_at=now if status.ended else None)
    )


def _derived(run: sa.Row[Any], found: Sequence[sa.Row[Any]]) -> tuple[RunStatus, str]:
    statuses = [ShardStatus(shard.status) for shard in found]
    complete = len(statuses) == run.shard_count
    if ShardStatus.RUNNING in statuses:
        return (RunStatus.CANCELLING if run.cancel_requested else RunStatus.RUNNING), run.detail
    if complete and all(status is ShardStatus.SUCCEEDED for status in statuses):
        return RunStatus.SUCCEEDED, ""
    if run.cancel_requested:
        return RunStatus.CANCELLED, run.detail
    if not complete or ShardStatus.PENDING in statuses:
        begun = any(status is not ShardStatus.PENDING for status in statuses)
        return (RunStatus.RUNNING if begun else RunStatus.PENDING), ""
    return RunStatus.FAILED, _details(found, run.shard_count)


def _details(found: Sequence[sa.Row[Any]], count: int) -> str:
    """What shards say of their end, each word once."""
    by_detail: dict[str, list[int]] = {}
    for shard in sorted(found, key=lambda one: one.shard_index):
        if shard.detail:
            by_detail.setdefault(shard.detail, []).append(shard.shard_index)
    words = []
    for detail, indexes in by_detail.items():
        if len(indexes) == count:
            return detail
        names = ", ".join(map(str, indexes[:_LISTED])) + (", ..." if len(indexes) > _LISTED else "")
        words.append(f"shard{'s' if len(indexes) > 1 else ''} {names}: {detail}")
    return "; ".join(words[:_LISTED])


def _exit_status(found: Sequence[sa.Row[Any]], count: int) -> int | None:
    known = [shard.exit_status for shard in found]
    if len(known) < count or None in known:
        return None
    return next((status for status in (EXIT_RETRY, EXIT_BAD_DATA) if status in known), EXIT_DONE)
