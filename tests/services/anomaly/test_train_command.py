"""`adsml train anomaly-detectors` as a person or a CronJob runs it: real worker processes, real statuses."""

import json
import sys
from pathlib import Path

import pytest
from adsml_anomaly.training.items import JOB
from adsml_common.cli.main import main
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.records import RunStatus, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import SimulatedAccount
from adsml_simulate.storing import write_to_store


@pytest.fixture(params=["postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """As in production."""
    return str(request.param)


@pytest.fixture
def stored(database: Database, account: SimulatedAccount) -> Database:
    """A database that holds the account."""
    write_to_store(account, database)
    return database


@pytest.fixture
def environment(
    stored: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ADSML_CACHE_DIR", str(tmp_path / "cache"))
    return monkeypatch


def train(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adsml", "train", JOB, *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_every_model_is_registered_and_the_same_request_again_does_nothing(
    environment: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an index of a Job: its name is the request, its index the shard."""
    environment.setenv("ADSML_TRAIN_JOB_NAME", "train-anomaly-detectors-29")
    for index in (0, 1):
        environment.setenv("JOB_COMPLETION_INDEX", str(index))
        assert train(environment, "--config-id=all", "--shard-count=2", "--workers=1", "--json") == 0
        told = json.loads(capsys.readouterr().out)
    run = TrainingRuns(database).get(told["run"]["run_id"])
    assert (run.status, run.launch_kind, run.launcher) == (RunStatus.SUCCEEDED, "SCHEDULE", "KUBERNETES")
    assert run.launcher_ref == "train-anomaly-detectors-29"
    trained = {item["model_name"] for item in told["items"] if item["status"] == "TRAINED"}
    assert len(trained) == run.counts.trained > 15
    artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "fresh")
    models = ModelRegistry(database, artifacts).list(limit=1000)
    assert {(model.name, model.version) for model in models} == {(name, 1) for name in trained}
    assert train(environment, "--shard-count=2", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert [item["attempts"] for item in again["items"]] == [1] * run.counts.total


def test_a_second_run_leaves_with_a_word_and_a_status(
    environment: pytest.MonkeyPatch, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = TrainingRuns(database)
    first = runs.start(JOB, request_id="first", parameters={})
    runs.acquire(first, shard_index=0, holder="pod-a:1", seconds=60)
    assert train(environment, "--request-id=second") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "anomaly-detectors is running already: pod-a:1 has worked on another run of it since" in said
    second = runs.get(run_id_of(JOB, "second"))
    assert second.status is RunStatus.CANCELLED
    assert second.detail.startswith("anomaly-detectors is running already")
    assert runs.get(first.run_id).status is RunStatus.RUNNING
