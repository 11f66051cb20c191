"""`adsml models` and `adsml runs` with --server: the very same answers, and no database of one's own."""

from collections.abc import Iterator

import pytest
from adsml_common.database import Database
from adsml_common.registry.models import Candidate
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import registry_service, training_service
from adsml_common.serving.registry_service import ModelRegistryService
from adsml_common.serving.server import Server, ServerBuilder
from adsml_common.serving.training_service import TrainingService
from adsml_common.training.records import OF_CALLER, Item, ItemResult, ItemStatus, LaunchKind, ShardStatus
from adsml_common.training.runs import TrainingRuns
from support.serving import settings

from .conftest import Adsml

NAME = "classifier/1"


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The services are tested on both elsewhere."""
    return str(request.param)


@pytest.fixture
def server(
    registry: ModelRegistry, database: Database, monkeypatch: pytest.MonkeyPatch, adsml: Adsml
) -> Iterator[Server]:
    """A classifier's registry and runs; the command's own database is nowhere."""
    for depth in (3, 4):
        made = registry.register(
            Candidate(
                name=NAME, model_type="test", config_id=1, files={"model.json": b"{}"}, samples_count=100,
                parameters={"depth": depth}, training_metrics={"gate": {"decision": "passed", "reason": "F1 0.8"}},
            )
        )  # fmt: skip
        registry.activate(NAME, made.version, actor="ada", reason="passed its gate")
    runs = TrainingRuns(database)
    run = runs.start("classifiers", request_id="r1", parameters={})
    lease = runs.acquire(run, shard_index=0, holder="pod", seconds=60)
    runs.plan(lease, [Item("1", 1)])
    runs.done(lease, "1", ItemResult(ItemStatus.FAILED, "singular matrix", seconds=1.0))
    runs.finish(lease, ShardStatus.FAILED, exit_status=1, detail="1 of 1 items failed")
    built = ServerBuilder(settings()).add(
        ModelRegistryService(registry, family="classifier", prefixes=["classifier"]),
        registry_service.SERVICE,
    )
    built.add(
        TrainingService(runs, family="classifier", jobs=["classifiers"], launcher=None),
        training_service.SERVICE,
    )
    with built.start() as started:
        monkeypatch.setenv("ADSML_DATABASE_URL", "postgresql://nobody:nothing@127.0.0.1:1/none")
        yield started


def test_models_are_read_and_switched(server: Server, adsml: Adsml, registry: ModelRegistry) -> None:
    at = ("--server", server.target)
    listed = adsml("models", "list", *at, "--family", "classifier", "--json").json()["models"]
    assert [(one["ref"]["name"], one["ref"]["version"]) for one in listed] == [(NAME, 2), (NAME, 1)]
    # Whose a model is, its name says.
    shown = adsml("models", "show", NAME, *at)
    assert shown.status == 0
    assert "F1 0.8" in shown.out
    assert adsml("models", "rollback", NAME, *at, "--reason", "worse on Mondays").status == 0
    active = registry.active(NAME)
    assert active is not None
    assert active.version == 1
    assert adsml("models", "activate", NAME, "2", *at).status == 0
    assert [one.reason for one in registry.events(NAME)][:2] == ["activated by hand", "worse on Mondays"]


def test_runs_are_listed_shown_and_cancelled(server: Server, adsml: Adsml, database: Database) -> None:
    at = ("--server", server.target, "--family", "classifier")
    (run,) = adsml("runs", "list", *at, "--json").json()["runs"]
    assert (run["state"], run["counts"]["failed"]) == ("TRAINING_RUN_STATE_FAILED", "1")
    assert "classifiers" in adsml("runs", "list", *at).out
    shown = adsml("runs", "show", run["run_id"], *at)
    assert "failed: 1 of 1 items failed" in shown.out
    assert "singular matrix" in shown.out
    waiting = TrainingRuns(database).start("classifiers", request_id="r2", parameters={})
    assert "cancelled" in adsml("runs", "cancel", waiting.run_id, *at, "--reason", "wrong account").out
    assert TrainingRuns(database).get(waiting.run_id).detail == "wrong account"


@pytest.mark.parametrize(
    "words",
    [("runs", "list"), ("models", "list"), ("runs", "show", "r"), ("models", "show", "unknown/1")],
)
def test_whose_server_it_is_must_be_said_where_nothing_tells(
    words: tuple[str, ...], server: Server, adsml: Adsml
) -> None:
    ran = adsml(*words, "--server", server.target)
    assert ran.status == 42
    assert "--family: is not given; expected whose server it is: classifier, forecasting" in ran.said


def test_another_familys_server_says_whose_it_is(server: Server, adsml: Adsml) -> None:
    ran = adsml("runs", "list", "--server", server.target, "--family", "impact")
    assert ran.status == 42
    assert "this process serves CLASSIFIER" in ran.said


def test_a_run_has_the_request_id_of_its_caller_here_too(adsml: Adsml, database: Database) -> None:
    """The record tells callers apart who chose the same id; nobody is to see how."""
    started = TrainingRuns(database).start(
        "classifiers",
        request_id=f"0123456789abcdef{OF_CALLER}nightly",
        parameters={},
        launch_kind=LaunchKind.CALLER,
    )
    assert adsml("runs", "show", started.run_id, "--json").json()["run"]["request_id"] == "nightly"
    [listed] = adsml("runs", "list", "--json").json()["runs"]
    assert listed["request_id"] == "nightly"
