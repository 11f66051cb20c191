"""Rows of the training tables as the words of training, within a caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import NotFound
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


def select_items() -> sa.Select[Any]:
    """Every column of `TrainingItem`."""
    named = [items.c.item_key.label("key")]
    return sa.select(*named, *(items.c[name] for name in TrainingItem.__slots__ if name != "key"))


def item_of(row: sa.Row[Any]) -> TrainingItem:
    """A row of `select_items`."""
    values = row._asdict()
    values["status"] = ItemStatus(row.status)
    values["entity_type"] = EntityType(row.entity_type) if row.entity_type else None
    return TrainingItem(**values)


def exists(connection: Connection, run_id: str) -> bool:
    """Whether there is such a run."""
    return connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == run_id)).first() is not None


def run_view(connection: Connection, run_id: str, *, shard_index: int | None = None) -> TrainingRun:
    """One run, with the exit status of one shard or of all together; `NotFound` if there is none."""
    row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no training run {run_id}")
    return run_views(connection, [row], shard_index=shard_index)[0]


def run_views(
    connection: Connection, rows: Sequence[sa.Row[Any]], *, shard_index: int | None = None
) -> list[TrainingRun]:
    """Runs with their counts and signs of life, in three queries however many there are."""
    ids = [row.run_id for row in rows]
    counts: dict[str, dict[str, int]] = {run_id: {} for run_id in ids}
    for run_id, status, count in connection.execute(
        sa.select(items.c.run_id, items.c.status, sa.func.count())
        .where(items.c.run_id.in_(ids))
        .group_by(items.c.run_id, items.c.status)
    ):
        counts[run_id][status.lower()] = count
    parts: dict[str, dict[int, sa.Row[Any]]] = {run_id: {} for run_id in ids}
    for shard in connection.execute(sa.select(shards).where(shards.c.run_id.in_(ids))):
        parts[shard.run_id][shard.shard_index] = shard
    views = []
    for row in rows:
        found = parts[row.run_id]
        signs = [shard.heartbeat_at for shard in found.values() if shard.heartbeat_at]
        derived = {
            "launch_kind": LaunchKind(row.launch_kind),
            "launcher": LauncherKind(row.launcher),
            "status": RunStatus(row.status),
            "counts": Counts(**counts[row.run_id]),
            "exit_status": _exit_status(found, row.shard_count, shard_index),
            "heartbeat_at": max(signs, default=None),
        }
        views.append(TrainingRun(**(row._asdict() | derived)))
    return views


def settle(connection: Connection, run_id: str, *, now: datetime) -> None:
    """Derive a run's status from its shards', within a transaction that holds the run's lock."""
    run = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one()
    found = connection.execute(sa.select(shards).where(shards.c.run_id == run_id)).all()
    status, detail = _derived(run, found)
    if status is RunStatus.FAILED and run_view(connection, run_id).counts.done:
        status = RunStatus.PARTIAL
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


def _exit_status(found: Mapping[int, sa.Row[Any]], count: int, index: int | None) -> int | None:
    if index is not None:
        one: int | None = found[index].exit_status if index in found else None
        return one
    known = [shard.exit_status for shard in found.values()]
    if len(known) < count or None in known:
        return None
    return next((status for status in (EXIT_RETRY, EXIT_BAD_DATA) if status in known), EXIT_DONE)
