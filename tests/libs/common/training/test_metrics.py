"""What Prometheus is told of training."""

from datetime import UTC, datetime, timedelta

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.training.job import run_job
from adsml_common.training.metrics import RunWatch
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Item, ItemResult, ItemStatus
from adsml_common.training.runs import TrainingRuns
from prometheus_client import REGISTRY
from support.jobs import items
from support.proxy import Cable
from support.serving import eventually

JOB = "metered"


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Reading the record is tested on both elsewhere."""
    return str(request.param)


def train(item: Item) -> ItemResult:
    value = item.payload["value"]
    if value == 1:
        raise InsufficientHistory("ad 1", had=3, needed=14)
    if value == 2:
        raise ValueError("singular matrix")
    return ItemResult(ItemStatus.TRAINED)


def told(watch: RunWatch) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("adsml_training_"), *sample.labels.values()): sample.value
        for family in watch.collect()
        for sample in family.samples
    }


def test_a_process_counts_its_items(database: Database) -> None:
    run_job(
        JOB,
        items(4),
        train,
        runs=TrainingRuns(database),
        request_id="r1",
        progress=LogProgress(),
    )

    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"training": JOB, **labels})

    counts = {
        one: value("adsml_training_items_total", status=one) for one in ("trained", "skipped", "failed")
    }
    assert counts == {"trained": 2, "skipped": 1, "failed": 1}
    assert value("adsml_training_item_seconds_count") == 4
    assert value("adsml_training_items_left") == 0


def test_a_service_tells_how_its_jobs_runs_stand(database: Database) -> None:
    now = datetime(2026, 3, 1, 4, tzinfo=UTC)
    runs = TrainingRuns(database, clock=lambda: now)
    watch = RunWatch(runs, [JOB, "never-ran"])
    watch.read()
    assert told(watch) == {("runs_active", JOB): 0, ("runs_active", "never-ran"): 0}

    run_job(JOB, items(1), train, runs=runs, request_id="good", progress=LogProgress())
    good = now.timestamp()
    now += timedelta(days=1)
    run_job(JOB, items(4), train, runs=runs, request_id="bad", progress=LogProgress())
    now += timedelta(days=1)
    going = runs.start(JOB, request_id="going", parameters={})
    runs.acquire(going, shard_index=0, holder="pod", seconds=60)
    watch.read()
    assert {key: value for key, value in told(watch).items() if key[1] == JOB} == {
        ("last_success_timestamp_seconds", JOB): good,
        ("last_run_failed", JOB): 1,
        ("last_run_items", JOB, "trained"): 2,
        ("last_run_items", JOB, "skipped"): 1,
        ("last_run_items", JOB, "failed"): 1,
        ("runs_active", JOB): 1,
        ("heartbeat_timestamp_seconds", JOB): now.timestamp(),
    }
    # What somebody cancelled is neither.
    now += timedelta(minutes=5)
    runs.cancel(going.run_id)
    watch.read()
    assert told(watch)["last_run_failed", JOB] == 1
    assert told(watch)["runs_active", JOB] == 0


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_database_that_is_away_does_not_hold_up_the_other_metrics(database_url: str) -> None:
    with Cable(database_url) as cable:
        database = Database.open(cable.url)
        runs = TrainingRuns(database)
        runs.start(JOB, request_id="r1", parameters={})
        watch = RunWatch(runs, [JOB], every_seconds=0.05)
        watch.start()
        eventually(lambda: told(watch).get(("runs_active", JOB)) == 1)
        cable.cut()
        assert told(watch)["runs_active", JOB] == 1
        cable.mend()
        watch.close()
        database.close()
