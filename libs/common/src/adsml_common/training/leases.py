"""Leases: who may work on a job's shard now.

A job made by hand beside a scheduled one is not kept apart by the scheduler, so the database does it. A lease
expires unless renewed, so a process that died blocks nobody for long; and it carries a token that grows with
every change of hands, so that a process which was only slow can't write over its successor (M. Kleppmann,
"How to do distributed locking", 2016). What is called with a lease that was lost raises `AlreadyRunning`.
"""

from dataclasses import asdict, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.errors import AlreadyRunning
from adsml_common.schema import upsert
from adsml_common.training.records import Lease
from adsml_common.training.tables import ml_leases as leases


def take(connection: Connection, wanted: Lease, *, now: datetime) -> Lease:
    """Take a lease, whatever its token, within a transaction that holds the job's lock.

    Raises
    ------
    AlreadyRunning
        Another run of the job is going on, or another process works on this shard. ``metadata`` holds its
        ``run_id``, ``holder`` and ``expires_at``.
    """
    held = connection.execute(sa.select(leases).where(leases.c.job == wanted.job)).all()
    for row in held:
        own = row.run_id == wanted.run_id
        if row.expires_at > now and not (own and row.shard_index != wanted.shard_index):
            what = f"shard {row.shard_index} of this run" if own else "another run of it"
            raise AlreadyRunning(
                f"{wanted.job} is running already: {row.holder} has worked on {what} "
                f"since {row.acquired_at:%Y-%m-%d %H:%M:%S} UTC (run {row.run_id})",
                metadata={
                    "run_id": row.run_id,
                    "holder": row.holder,
                    "expires_at": row.expires_at.isoformat(),
                },
            )
    # What of another run was only slow must not come back to life beside this one, whichever shard it has.
    stale = sa.and_(leases.c.job == wanted.job, leases.c.run_id != wanted.run_id)
    connection.execute(leases.update().where(stale).values(token=leases.c.token + 1))
    token = next((row.token for row in held if row.shard_index == wanted.shard_index), 0) + 1
    lease = replace(wanted, token=token)
    upsert(connection, leases, asdict(lease) | {"acquired_at": now})
    return lease


def extend(connection: Connection, lease: Lease, *, expires_at: datetime) -> None:
    """Move a lease's end. One that ran out but that nobody took meanwhile is as good as before."""
    _change(connection, lease, expires_at=expires_at)


def give_back(connection: Connection, lease: Lease, *, now: datetime) -> None:
    """End a lease at once.

    Its token is used up too, so that a renewal which was on its way does not bring it back to life.
    """
    _change(connection, lease, expires_at=now, token=lease.token + 1)


def _change(connection: Connection, lease: Lease, **values: datetime | int) -> None:
    if connection.execute(leases.update().where(*_is_held(lease)).values(**values)).rowcount == 0:
        raise _lost(lease)


def live_shards(connection: Connection, run_id: str, *, now: datetime) -> list[int]:
    """Shards of a run that somebody works on."""
    query = sa.select(leases.c.shard_index).where(leases.c.run_id == run_id, leases.c.expires_at > now)
    return list(connection.execute(query).scalars())


def guard(connection: Connection, lease: Lease) -> None:
    """Make sure that a lease is held until this transaction ends."""
    query = sa.select(leases.c.token).where(*_is_held(lease)).with_for_update(read=True)
    if connection.execute(query).one_or_none() is None:
        raise _lost(lease)


def _lost(lease: Lease) -> AlreadyRunning:
    return AlreadyRunning(
        f"{lease.holder} was silent for too long and lost shard {lease.shard_index} of {lease.job} to "
        "another process, which goes on with it",
        metadata={"run_id": lease.run_id},
    )


def _is_held(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        leases.c.job == lease.job,
        leases.c.shard_index == lease.shard_index,
        leases.c.token == lease.token,
    )
