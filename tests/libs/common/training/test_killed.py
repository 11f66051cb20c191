"""Shards whose processes are killed -9 at random times: nothing lost, nothing twice, nothing left about.

The same with the real job and 2,000 entities: `make bench-training`.
"""

import random
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.records import ItemStatus, RunStatus
from adsml_common.training.runs import TrainingRuns
from support import jobs
from support.forked import finish, start

COUNT, SHARDS, KILLS = 60, 3, 3


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_every_item_is_trained_once_however_often_its_process_is_killed(
    database: Database, database_url: str, tmp_path: Path, registry: ModelRegistry
) -> None:
    runs = TrainingRuns(database)
    statuses: dict[int, int] = {}
    killed: Counter[int] = Counter()

    def begun(shard: int) -> int:
        """How often an item of a shard was begun, in all tries."""
        return sum(
            one.attempts for run in runs.list() for one in runs.items(run.run_id) if one.shard_index == shard
        )

    def kubelet(shard: int) -> None:
        chance = random.Random(shard)  # noqa: S311 - when to kill is no secret
        while shard not in statuses:
            worker = start(jobs.train_shard, database_url, str(tmp_path), COUNT, shard, SHARDS)
            enough = begun(shard) + chance.randint(1, 4)
            while killed[shard] < KILLS and worker.is_alive() and begun(shard) < enough:
                worker.join(0.001)
            # Anywhere in its work on an item: before, between and after artifact, row and activation.
            worker.join(chance.uniform(0.0, 0.02) if killed[shard] < KILLS else None)
            if worker.is_alive():
                worker.kill()
                killed[shard] += 1
                worker.join()
            else:
                statuses[shard] = finish(worker)

    kubelets = [threading.Thread(target=kubelet, args=(shard,)) for shard in range(SHARDS)]
    for one in kubelets:
        one.start()
    for one in kubelets:
        one.join()

    assert killed == dict.fromkeys(range(SHARDS), KILLS)
    assert statuses == dict.fromkeys(range(SHARDS), 0)
    (run,) = runs.list()
    items = runs.items(run.run_id)
    assert (run.status, run.exit_status) == (RunStatus.SUCCEEDED, 0)
    assert len(items) == COUNT
    assert all(one.status is ItemStatus.TRAINED for one in items)
    models = registry.list(limit=COUNT + 1)
    assert sorted(model.name for model in models) == sorted(str(one.model_name) for one in items)
    assert {(model.version, model.run_id) for model in models} == {(1, run.run_id)}
    # What was in work when its process was killed, and nothing more, was begun again.
    assert sum(one.attempts - 1 for one in items) <= killed.total()
    registry.sweep_orphans(older_than=timedelta(0))
    report = registry.verify()
    assert (report.missing, report.corrupt, report.orphaned) == ((), (), ())
