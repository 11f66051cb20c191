"""What Prometheus is told of training."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.polled_gauges import PolledGauges
from adsml_common.training.job import run_job
from adsml_common.training.metrics import run_gauges
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Item, ItemResult, ItemStatus
from adsml_common.training.runs import TrainingRuns
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from support.jobs import InProcess, items
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


def told(gauges: Iterable[GaugeMetricFamily]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("adsml_training_"), *sample.labels.values()): sample.value
        for family in gauges
        for sample in family.samples
    }


def test_a_process_counts_its_items(database: Database) -> None:
    run_job(
        JOB,
        items(4),
        InProcess(train),
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

    def stand() -> dict[tuple[str, ...], float]:
        return told(run_gauges(runs, [JOB, "never-ran"]))

    assert stand() == {("runs_active", JOB): 0, ("runs_active", "never-ran"): 0}

    run_job(JOB, items(1), InProcess(train), runs=runs, request_id="good", progress=LogProgress())
    good = now.timestamp()
    now += timedelta(days=1)
    run_job(JOB, items(4), InProcess(train), runs=runs, request_id="bad", progress=LogProgress())
    now += timedelta(days=1)
    going = runs.start(JOB, request_id="going", parameters={})
    runs.acquire(going, shard_index=0, holder="pod", seconds=60)
    assert {key: value for key, value in stand().items() if key[1] == JOB} == {
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
    assert stand()["last_run_failed", JOB] == 1
    assert stand()["runs_active", JOB] == 0


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_database_that_is_away_does_not_hold_up_the_other_metrics(database_url: str) -> None:
    with Cable(database_url) as cable:
        database = Database.open(cable.url)
        runs = TrainingRuns(database)
        runs.start(JOB, request_id="r1", parameters={})
        gauges = PolledGauges(lambda: run_gauges(runs, [JOB]), every_seconds=0.05)
        gauges.start()
        eventually(lambda: told(gauges.collect()).get(("runs_active", JOB)) == 1)
        cable.cut()
        assert told(gauges.collect())["runs_active", JOB] == 1
        cable.mend()
        gauges.close()
        database.close()
