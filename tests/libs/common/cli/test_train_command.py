"""What `adsml train ...` works on: a recorded run where a launcher says so, else what its options ask for."""

import inspect
import json
from pathlib import Path

import pytest
from adsml_common.cli import runs as runs_command
from adsml_common.cli.training import Job, train
from adsml_common.database import Database
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Counts, LauncherKind, LaunchKind, RunStatus
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.workers import default_count, memory_limit
from support.daily import daily_frame
from support.train_process import items, trainer

GIBIBYTE = 1 << 30


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The record is tested on both elsewhere."""
    return str(request.param)


@pytest.fixture
def runs(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> TrainingRuns:
    for config_id in (1, 2):
        MetricStore(database).upsert_daily(config_id, daily_frame(days=1), source="test")
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    return TrainingRuns(database)


def command(job: str = "numbers", request_id: str | None = None, shard_index: int = 0) -> int:
    """Its exit status."""
    with pytest.raises(SystemExit) as left:
        train(
            Job(job, items, trainer), config_id="all", request_id=request_id, shard_index=shard_index,
            shard_count=4, workers=1, item_seconds=60.0, json_output=False,
        )  # fmt: skip
    return int(str(left.value.code))


def recorded(runs: TrainingRuns, shards: int = 2) -> str:
    parameters = {"config_ids": [2], "entity_type": None, "entity_ids": []}
    run = runs.start(
        "numbers", request_id="r1", parameters=parameters, shard_count=shards, launch_kind=LaunchKind.CALLER
    )
    return run.run_id


def test_a_recorded_run_is_worked_off_shard_by_shard_whatever_the_options_say(
    runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = recorded(runs)
    monkeypatch.setenv("ADSML_TRAIN_RUN_ID", run_id)
    assert command() == 42
    (run,) = runs.list()
    # Of account 2 alone: one item is bad, the other skipped.
    assert (run.run_id, run.status, run.counts) == (run_id, RunStatus.PARTIAL, Counts(skipped=1, failed=1))
    assert [one.key for one in runs.items(run_id)] == ["2/bad", "2/good"]


def test_a_pod_does_its_own_shard_of_it(runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = recorded(runs, shards=64)
    monkeypatch.setenv("ADSML_TRAIN_RUN_ID", run_id)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "63")
    # A pod is told its Job's name too: this is the run's all the same.
    monkeypatch.setenv("ADSML_TRAIN_JOB_NAME", "train-numbers-0123")
    command(request_id="train-numbers-0123")
    (run,) = runs.list()
    assert (run.run_id, run.status) == (run_id, RunStatus.RUNNING)


def test_a_run_that_is_not_on_record_is_refused_and_not_made(
    runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSML_TRAIN_RUN_ID", "postgresql://adsml:s3cret@db/adsml")
    with pytest.raises(NotFound):
        command()
    assert runs.list() == []


def test_so_is_a_run_of_another_job(runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_TRAIN_RUN_ID", recorded(runs))
    with pytest.raises(InvalidInput, match="is a run of numbers"):
        command(job="letters")


def test_a_job_of_the_cluster_records_a_run_that_no_caller_can_ask_for(
    runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller could guess the next Job's name, and start a run of that id first."""
    monkeypatch.setenv("ADSML_TRAIN_JOB_NAME", "train-numbers-29")
    command(request_id="train-numbers-29")
    (run,) = runs.list()
    assert (run.launch_kind, run.launcher) == (LaunchKind.SCHEDULE, LauncherKind.KUBERNETES)
    assert (run.launcher_ref, run.request_id) == ("train-numbers-29", "job/train-numbers-29")
    assert runs.find("numbers", "train-numbers-29") is None


def test_a_person_starts_one_on_this_machine(runs: TrainingRuns) -> None:
    command(request_id="mine")
    (run,) = runs.list()
    assert (run.launch_kind, run.launcher, run.request_id) == (
        LaunchKind.COMMAND_LINE, LauncherKind.LOCAL, "mine",
    )  # fmt: skip


def test_what_a_run_waits_for_is_shown(runs: TrainingRuns, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = recorded(runs)
    detail = "the cluster refuses Job j: exceeded quota: [jobs], used: count/jobs.batch=4"
    runs.note(run_id, detail)
    show = inspect.unwrap(runs_command.show)
    show(run_id)
    shown = capsys.readouterr().out
    assert f"pending: {detail}" in shown
    assert "caller" in shown
    show(run_id, json_output=True)
    assert json.loads(capsys.readouterr().out)["run"]["detail"] == detail


def test_processes_are_as_many_as_there_are_processors_and_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  33554432 kB\nMemAvailable:   16777216 kB\n")
    assert memory_limit(tmp_path, tmp_path / "meminfo") == 16 * GIBIBYTE
    (tmp_path / "memory.max").write_text("2147483648\n")
    assert memory_limit(tmp_path, tmp_path / "meminfo") == 2 * GIBIBYTE
    monkeypatch.setattr("adsml_common.training.workers.memory_limit", lambda: 2 * GIBIBYTE)
    # 300 MiB for the process that leads, 470 for each that trains.
    assert [default_count(processors) for processors in (1, 2, 3, 64)] == [1, 2, 3, 3]
    monkeypatch.setattr("adsml_common.training.workers.memory_limit", lambda: GIBIBYTE // 4)
    assert default_count(64) == 1
