"""A training run whose PostgreSQL server crashes and comes back, twice: the run goes on, and nothing is lost.

What it is like when only connections are cut: `test_job.py`.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import Unavailable
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.records import ItemStatus, RunStatus, run_id_of
from adsml_common.training.runs import TrainingRuns
from support import jobs
from support.databases import Server, migrated, own_server
from support.forked import finish, start

COUNT, SHARDS, CRASHES = 60, 2, 2


@pytest.fixture
def server() -> Iterator[Server]:
    """One of our own: others go on using the session's. Durable, as those are that services are run on."""
    with own_server(durable=True) as one:
        migrated(one.url)
        yield one


def test_the_run_goes_on(server: Server, tmp_path: Path) -> None:
    database = Database.open(server.url)
    runs = TrainingRuns(database)
    run_id = run_id_of(jobs.JOB, "r1")
    workers = [
        start(jobs.train_shard, server.url, str(tmp_path), COUNT, shard, SHARDS) for shard in range(SHARDS)
    ]

    def trained() -> int:
        return len(runs.items(run_id, status=ItemStatus.TRAINED))

    for crash in range(1, CRASHES + 1):
        # In the middle of it: with some items done, and far more to do.
        while _answered(trained) < 10 * crash:
            assert all(worker.is_alive() for worker in workers)
        assert trained() < COUNT
        server.crash()
        with pytest.raises(Unavailable):
            database.ping()
        assert all(worker.is_alive() for worker in workers)
        server.start()

    assert [finish(worker) for worker in workers] == [0] * SHARDS
    run = runs.get(run_id)
    items = runs.items(run_id)
    assert (run.status, run.exit_status, run.counts.trained) == (RunStatus.SUCCEEDED, 0, COUNT)
    # Only what was being written down when the server went was begun again.
    assert sum(one.attempts - 1 for one in items) <= CRASHES * SHARDS
    artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "fresh")
    registry = ModelRegistry(database, artifacts)
    models = registry.list(limit=COUNT + 1)
    assert sorted(model.name for model in models) == sorted(str(one.model_name) for one in items)
    assert {model.version for model in models} == {1}
    registry.sweep_orphans(older_than=timedelta(0))
    report = registry.verify()
    assert (report.missing, report.corrupt, report.orphaned) == ((), (), ())
    database.close()


def _answered(ask: Callable[[], int], *, seconds: float = 60) -> int:
    """What the database says, as soon as it has recovered."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
