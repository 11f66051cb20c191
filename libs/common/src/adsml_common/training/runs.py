"""The record of training runs: started once per request, resumed at will, worked on by one at a time.

What is called with the id of a run raises `NotFound` if there is none; with a lease, `AlreadyRunning` if it was lost.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.errors import AlreadyExists, Violations
from adsml_common.registry.models import jsonable
from adsml_common.schema import insert_into, upsert
from adsml_common.training import leases, queries
from adsml_common.training.records import (
    EXIT_RETRY,
    Item,
    ItemResult,
    ItemStatus,
    LauncherKind,
    LaunchKind,
    Lease,
    RunStatus,
    ShardStatus,
    TrainingItem,
    TrainingRun,
    run_id_of,
)
from adsml_common.training.scope import shard_of
from adsml_common.training.tables import ml_training_items as items_table
from adsml_common.training.tables import ml_training_runs as runs_table
from adsml_common.training.tables import ml_training_shards as shards_table

_LAUNCHED = 1_000


class TrainingRuns:
    """Starts, follows and ends runs; processes on many machines may share the database.

    Without a `clock` the database's own says what time it is, so that machines need not agree.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] | None = None) -> None:
        self._database = database
        self._clock = clock

    def start(
        self,
        job: str,
        *,
        request_id: str,
        parameters: Mapping[str, Any],
        shard_index: int = 0,
        shard_count: int = 1,
        launch_kind: LaunchKind = LaunchKind.COMMAND_LINE,
        actor: str = "",
        launcher: LauncherKind = LauncherKind.LOCAL,
        launcher_ref: str = "",
        open_runs: int | None = None,
    ) -> TrainingRun:
        """The run of a request, and one shard of it: recorded now, or found as it was recorded before.

        Every shard of a run calls this with the same request.

        Raises
        ------
        AlreadyExists
            The same request id was used for something else.
        AlreadyRunning, Overloaded
            Of a new run with `open_runs`: another of the job is open, or the caller has as many.
        InvalidInput
            An empty or too long name, or a shard that is none.
        """
        _check(request_id, shard_index, shard_count)
        recorded = jsonable(parameters)
        run_id = run_id_of(job, request_id)
        with self._database.write() as connection:
            now = self._now(connection)
            if open_runs is not None:
                # Two requests at once must not both find that nothing is open.
                self._database.lock(connection, "start a run")
                if not queries.exists(connection, run_id):
                    queries.check_limits(connection, job=job, actor=actor, open_runs=open_runs, now=now)
            connection.execute(
                insert_into(connection, runs_table)
                .values(
                    run_id=run_id,
                    job=job,
                    request_id=request_id,
                    launch_kind=launch_kind.value,
                    actor=actor,
                    launcher=launcher.value,
                    launcher_ref=launcher_ref,
                    status=RunStatus.PENDING.value,
                    created_at=now,
                    parameters=recorded,
                    shard_count=shard_count,
                )
                .on_conflict_do_nothing()
            )
            connection.execute(
                insert_into(connection, shards_table)
                .values(run_id=run_id, shard_index=shard_index, status=ShardStatus.PENDING.value)
                .on_conflict_do_nothing()
            )
            run = queries.run_view(connection, run_id)
            if (run.parameters, run.shard_count) != (recorded, shard_count):
                raise AlreadyExists(
                    f"request {request_id} has started another run of {job} (run {run_id}); "
                    "use a new request id for a new run",
                    metadata={"run_id": run_id},
                )
            return run

    def get(self, run_id: str) -> TrainingRun:
        with self._database.read() as connection:
            return queries.run_view(connection, run_id)

    def find(self, job: str, request_id: str) -> TrainingRun | None:
        """The run that a request has started, None if it has not."""
        run_id = run_id_of(job, request_id)
        with self._database.read() as connection:
            return queries.run_view(connection, run_id) if queries.exists(connection, run_id) else None

    def items(
        self, run_id: str, *, status: ItemStatus | None = None, limit: int | None = None
    ) -> Sequence[TrainingItem]:
        """Items of a run in the order of their keys."""
        columns = items_table.c
        query = queries.SELECT_ITEMS.where(columns.run_id == run_id).order_by(columns.item_key).limit(limit)
        if status is not None:
            query = query.where(columns.status == status.value)
        return [queries.item_of(row) for row in self._database.rows(query)]

    def cancel(self, run_id: str, *, reason: str = "") -> TrainingRun:
        """Ask a run to stop; its workers notice within seconds. A run that has ended stays as it is.

        Shards whose worker has died are cancelled at once.
        """
        with self._database.write() as connection:
            self._database.lock(connection, f"run {run_id}")
            run = queries.run_view(connection, run_id)
            if not run.status.ended:
                connection.execute(
                    runs_table.update()
                    .where(runs_table.c.run_id == run_id)
                    .values(cancel_requested=True, detail=reason or "cancelled on request")
                )
                alive = leases.live_shards(connection, run_id, now=self._now(connection))
                connection.execute(
                    shards_table.update()
                    .where(
                        shards_table.c.run_id == run_id,
                        shards_table.c.status == ShardStatus.RUNNING.value,
                        shards_table.c.shard_index.not_in(alive),
                    )
                    .values(status=ShardStatus.CANCELLED.value, detail="its worker had died")
                )
                queries.settle(connection, run_id, now=self._now(connection))
            return queries.run_view(connection, run_id)

    def abandon(self, run_id: str, *, detail: str, shards: Mapping[int, str] | None = None) -> TrainingRun:
        """End the shards of a run that nobody will work on any more; those that somebody works on are left.

        `detail` says why; `shards` says it better for some of them, by index.
        """
        with self._database.write() as connection:
            self._database.lock(connection, f"run {run_id}")
            run = queries.run_view(connection, run_id)
            if run.status.ended:
                return run
            now = self._now(connection)
            alive = set(leases.live_shards(connection, run_id, now=now))
            columns = shards_table.c
            query = sa.select(columns.shard_index, columns.status).where(columns.run_id == run_id)
            known = {row.shard_index: row.status for row in connection.execute(query)}
            going = {ShardStatus.PENDING.value, ShardStatus.RUNNING.value}
            ended = [
                {
                    "run_id": run_id,
                    "shard_index": index,
                    "status": ShardStatus.INTERRUPTED.value,
                    "exit_status": EXIT_RETRY,
                    "detail": (shards or {}).get(index, detail),
                    "finished_at": now,
                }
                for index in range(run.shard_count)
                if index not in alive and known.get(index, ShardStatus.PENDING.value) in going
            ]
            if ended:
                upsert(connection, shards_table, *ended)
            queries.settle(connection, run_id, now=now)
            return queries.run_view(connection, run_id)

    def launched(self) -> list[TrainingRun]:
        """Runs in the cluster that are open, or ended badly and have a Job to be seen to; oldest first."""
        columns = runs_table.c
        open_ = [status.value for status in RunStatus if not status.ended]
        badly = [status.value for status in RunStatus if status.ended and status is not RunStatus.SUCCEEDED]
        left_over = sa.and_(columns.status.in_(badly), columns.job_uid != "")
        query = (
            sa.select(runs_table)
            .where(
                columns.launcher == LauncherKind.KUBERNETES.value,
                columns.launcher_ref != "",
                sa.or_(columns.status.in_(open_), left_over),
            )
            .order_by(columns.created_at, columns.run_id)
            .limit(_LAUNCHED)
        )
        with self._database.read() as connection:
            return queries.run_views(connection, connection.execute(query).all())

    def record_job(self, run_id: str, uid: str) -> None:
        """Note the uid of a run's Job; empty: there is no more to be done about it."""
        self._update_run(run_id, job_uid=uid)

    def conclude(self, run: TrainingRun, detail: str) -> None:
        """Add to what a run that has ended says of its end, and be done with its Job."""
        words = [word for word in (run.detail, detail) if word]
        self._update_run(
            run.run_id, runs_table.c.status == run.status.value, detail="; ".join(words), job_uid=""
        )

    def note(self, run_id: str, detail: str) -> None:
        """Say what an open run waits for. Cancelled ones and those that have ended have their word already."""
        self._update_run(
            run_id,
            runs_table.c.status.in_([RunStatus.PENDING.value, RunStatus.RUNNING.value]),
            runs_table.c.cancel_requested.is_(False),
            detail=detail,
        )

    def acquire(self, run: TrainingRun, *, shard_index: int, holder: str, seconds: float) -> Lease:
        """Take the right to work on a shard of a run; raises `AlreadyRunning` as `leases.take`."""
        with self._database.write() as connection:
            self._database.lock(connection, f"lease {run.job}")
            now = self._now(connection)
            expires = now + timedelta(seconds=seconds)
            lease = Lease(run.job, shard_index, run.run_id, holder, token=0, expires_at=expires)
            lease = leases.take(connection, lease, now=now)
            self._database.lock(connection, f"run {run.run_id}")
            self._update_shard(
                connection,
                lease,
                status=ShardStatus.RUNNING.value,
                exit_status=None,
                detail="",
                attempts=shards_table.c.attempts + 1,
                heartbeat_at=now,
                finished_at=None,
            )
            connection.execute(
                runs_table.update()
                .where(runs_table.c.run_id == run.run_id)
                .values(started_at=sa.func.coalesce(runs_table.c.started_at, now))
            )
            queries.settle(connection, run.run_id, now=now)
            return lease

    def renew(self, lease: Lease, *, seconds: float) -> tuple[Lease, bool]:
        """Keep a lease, and learn whether somebody asked the run to stop."""
        with self._database.write() as connection:
            now = self._now(connection)
            renewed = replace(lease, expires_at=now + timedelta(seconds=seconds))
            leases.extend(connection, lease, expires_at=renewed.expires_at)
            self._update_shard(connection, lease, heartbeat_at=now)
            cancelled = connection.execute(
                sa.select(runs_table.c.cancel_requested).where(runs_table.c.run_id == lease.run_id)
            ).scalar_one()
            return renewed, bool(cancelled)

    def plan(self, lease: Lease, items: Collection[Item], *, shard_count: int = 1) -> dict[str, ItemStatus]:
        """List those of a run's items that are a shard's, and tell how far each is.

        What a former try has listed keeps its status, and stays this shard's, even if accounts have grown meanwhile
        and groups with them. Items that another shard has listed are left out.
        """
        listed = sa.select(items_table.c.item_key, items_table.c.status).where(
            items_table.c.run_id == lease.run_id, items_table.c.shard_index == lease.shard_index
        )
        with self._database.write(bulk=True) as connection:
            leases.guard(connection, lease)
            now = self._now(connection)
            before = {row.item_key for row in connection.execute(listed)}
            rows: Sequence[dict[str, Any]] = [
                {
                    "run_id": lease.run_id,
                    "item_key": item.key,
                    "shard_index": lease.shard_index,
                    "config_id": item.config_id,
                    "entity_type": item.entity_type.value if item.entity_type else None,
                    "entity_id": item.entity_id,
                    "status": ItemStatus.PENDING.value,
                    "metrics": {},
                    "updated_at": now,
                }
                for item in items
                if item.key not in before
                and shard_of(item.group or item.key, shard_count) == lease.shard_index
            ]
            if rows:
                connection.execute(insert_into(connection, items_table).on_conflict_do_nothing(), rows)
            known = {row.item_key: ItemStatus(row.status) for row in connection.execute(listed)}
        return {item.key: known[item.key] for item in items if item.key in known}

    def begin(self, lease: Lease, key: str) -> None:
        """Note that an item is being trained."""
        self._update_item(
            lease, key, status=ItemStatus.RUNNING.value, attempts=items_table.c.attempts + 1, reason=""
        )

    def done(self, lease: Lease, key: str, result: ItemResult) -> None:
        """Note what came of an item."""
        self._update_item(
            lease,
            key,
            status=result.status.value,
            reason=result.reason,
            bad_data=result.bad_data,
            seconds=result.seconds,
            model_name=result.model.name if result.model else None,
            model_version=result.model.version if result.model else None,
            metrics=jsonable(result.metrics),
        )

    def requeue(self, lease: Lease, keys: Collection[str]) -> None:
        """Note that items which were begun were not finished, and are for the next try."""
        for key in keys:
            self._update_item(lease, key, status=ItemStatus.PENDING.value)

    def finish(self, lease: Lease, status: ShardStatus, *, exit_status: int, detail: str = "") -> TrainingRun:
        """End the work on a shard and give its lease back; the run, with the exit status of this shard."""
        with self._database.write() as connection:
            now = self._now(connection)
            leases.give_back(connection, lease, now=now)
            self._database.lock(connection, f"run {lease.run_id}")
            self._update_shard(
                connection,
                lease,
                status=status.value,
                exit_status=exit_status,
                detail=detail,
                heartbeat_at=now,
                finished_at=now,
            )
            queries.settle(connection, lease.run_id, now=now)
            return replace(queries.run_view(connection, lease.run_id), exit_status=exit_status)

    def _now(self, connection: Connection) -> datetime:
        if self._clock is not None:
            return self._clock()
        if self._database.dialect == "postgresql":
            now: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
            return now.astimezone(UTC)
        # A SQLite file is used from one machine.
        return datetime.now(UTC)

    def _update_run(self, run_id: str, *conditions: sa.ColumnElement[bool], **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(
                runs_table.update().where(runs_table.c.run_id == run_id, *conditions).values(**values)
            )

    def _update_shard(self, connection: Connection, lease: Lease, **values: Any) -> None:
        connection.execute(
            shards_table.update()
            .where(shards_table.c.run_id == lease.run_id, shards_table.c.shard_index == lease.shard_index)
            .values(**values)
        )

    def _update_item(self, lease: Lease, key: str, **values: Any) -> None:
        with self._database.write() as connection:
            leases.guard(connection, lease)
            connection.execute(
                items_table.update()
                .where(items_table.c.run_id == lease.run_id, items_table.c.item_key == key)
                .values(updated_at=self._now(connection), **values)
            )

    # The last one: below it, "list" in this class is this method.
    def list(
        self,
        *,
        jobs: Collection[str] | None = None,
        status: RunStatus | None = None,
        limit: int = 100,
        before: TrainingRun | None = None,
    ) -> list[TrainingRun]:
        """Runs, the one accepted last first; `before` is the last one of the page before."""
        columns = runs_table.c
        query = sa.select(runs_table).order_by(columns.created_at.desc(), columns.run_id.desc()).limit(limit)
        if jobs is not None:
            query = query.where(columns.job.in_(list(jobs)))
        if status is not None:
            query = query.where(columns.status == status.value)
        if before is not None:
            last = sa.tuple_(sa.literal(before.created_at, columns.created_at.type), before.run_id)
            query = query.where(sa.tuple_(columns.created_at, columns.run_id) < last)
        with self._database.read() as connection:
            return [*queries.run_views(connection, connection.execute(query).all())]


def _check(request_id: str, shard_index: int, shard_count: int) -> None:
    violations = Violations()
    if not 0 < len(request_id) <= 128 or "\0" in request_id:
        violations.add("request_id", "expected 1 to 128 characters")
    if not 0 <= shard_index < shard_count:
        violations.add("shard_index", f"is {shard_index}; expected 0 to {shard_count - 1}")
    violations.raise_if_any()
