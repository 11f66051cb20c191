"""The wall clock of a process jumps by days while it works: nothing fails, nothing is done twice."""

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.records import ItemStatus, RunStatus
from adsml_common.training.runs import TrainingRuns
from support.clocks import JumpingClock
from support.processes import server_process
from support.serving import eventually, free_port, load_on

JUMPS = ("+2d", "-1d", "+0")
COUNT = 60


@pytest.fixture
def clock(tmp_path: Path) -> JumpingClock:
    folder = tmp_path / "jumping"
    folder.mkdir()
    return JumpingClock(folder)


def test_a_server_answers_on_and_drains(clock: JumpingClock) -> None:
    # One thread for many callers: at each jump some calls wait for it.
    environment = {
        "ADSML_TEST_WORK_SECONDS": "0.01",
        "ADSML_WORKERS": "1",
        "ADSML_RATE_PER_SECOND": "100000",
        **clock.environment,
    }
    with server_process(free_port(), **environment) as server:
        with load_on(server.target, callers=8) as codes:
            for jump in JUMPS:
                clock.jump(jump)
                before = codes["OK"]
                eventually(lambda before=before: codes["OK"] > before + 50, within=60)
        clock.jump("-1d")
        server.terminate()
        assert server.wait() == 0
    assert codes.keys() == {"OK"}


def test_a_training_run_goes_on_and_does_nothing_twice(
    clock: JumpingClock, database: Database, database_url: str, registry: ModelRegistry, tmp_path: Path
) -> None:
    code = f"from support.jobs import train_shard; train_shard({database_url!r}, {str(tmp_path)!r}, {COUNT}, 0, 1)"
    support = str(Path(__file__).parents[2])
    paths = os.pathsep.join([clock.environment["PYTHONPATH"], support])
    runs = TrainingRuns(database)

    def trained() -> int:
        return sum(run.counts.trained for run in runs.list())

    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **clock.environment, "PYTHONPATH": paths}
    ) as worker:
        try:
            for number, jump in enumerate(JUMPS, start=1):
                eventually(lambda number=number: trained() >= 10 * number, within=60)
                if database.dialect == "postgresql":
                    # A lease by the process' clock would be anybody's yesterday, and nobody's for two days.
                    with database.read() as connection:
                        expires = connection.execute(sa.text("SELECT expires_at FROM ml_leases")).scalar_one()
                    assert abs(expires - datetime.now(UTC)) < timedelta(hours=1)
                clock.jump(jump)
            assert worker.wait(60) == 0
        finally:
            worker.kill()
    (run,) = runs.list()
    assert run.status is RunStatus.SUCCEEDED
    items = runs.items(run.run_id)
    assert [one.status for one in items] == [ItemStatus.TRAINED] * COUNT
    assert {one.attempts for one in items} == {1}
    assert Counter(one.version for one in registry.iterate()) == {1: COUNT}
