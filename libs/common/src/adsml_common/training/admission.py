"""Which new runs are taken on: one of a job at a time, and no more than a caller may have open."""

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.errors import AlreadyRunning, Overloaded
from adsml_common.training import queries
from adsml_common.training.records import LauncherKind, LaunchKind, RunStatus, TrainingRun
from adsml_common.training.tables import ml_training_runs as runs

_RETRY_SECONDS: Final = 60.0
_QUIET: Final = timedelta(minutes=10)
"""A local run that gave no sign of life for this long has lost its process; the launcher sees to those of a cluster."""


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
    alive = [run for run in queries.run_views(connection, rows) if _alive(run, now)]
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
