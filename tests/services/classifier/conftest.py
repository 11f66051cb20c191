"""A stored simulated account, a trained registry, and a server on them."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from adsml_classifier.artifacts import JOB
from adsml_classifier.settings import ClassifierSettings
from adsml_classifier.training.job import AccountTrainer, items_of
from adsml_classifier.training.recipe import FitSettings, Recipe, Shape
from adsml_common.database import Database
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.job import run_job
from adsml_common.training.records import TrainingRun, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store
from support.jobs import InProcess

LAST_DAY = date(2026, 3, 31)
QUICK = Recipe(fit=FitSettings(shapes=(Shape(2, 20.0),), max_rounds=20, folds=2), weeks=2)
"""One shape of trees, few rounds, two weeks: these tests are about what is around the model."""


@pytest.fixture(scope="session")
def account() -> SimulatedAccount:
    """An account of 4 campaigns, 15 ad sets and 45 ads over 90 days."""
    return simulate_account(AccountSettings(last_day=LAST_DAY, days=90, config_id=1, name="tests"), seed=3)


@pytest.fixture
def stored(database: Database, account: SimulatedAccount) -> Database:
    """A database that holds the account."""
    write_to_store(account, database)
    return database


def train(
    database: Database, registry: ModelRegistry, request_id: str, recipe: Recipe = QUICK
) -> TrainingRun:
    """Train the classifiers of every stored account."""
    trainer = AccountTrainer(database, registry, run_id=run_id_of(JOB, request_id), recipe=recipe)
    return run_job(JOB, items_of([1]), InProcess(trainer), runs=TrainingRuns(database), request_id=request_id)


@pytest.fixture
def trained(stored: Database, registry: ModelRegistry) -> ModelRegistry:
    """A registry whose models of the stored account serve."""
    assert train(stored, registry, "first").exit_status == 0
    # Whatever the gate thinks of so small a model, these tests are about serving it.
    for model in registry.list(status=ModelStatus.READY):
        registry.activate(model.name, model.version, actor="test", reason="serve it")
    return registry


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> ClassifierSettings:
    """Settings of a service on the same database and artifacts, on a free port."""
    return ClassifierSettings(
        ADSML_DATABASE_URL=database_url,
        ADSML_ARTIFACT_URL=str(tmp_path / "artifacts"),
        ADSML_CACHE_DIR=tmp_path / "server-cache",
        port=0,
        drain_wait_seconds=0,
        poll_seconds=0.2,
    )


@pytest.fixture
def service(settings: ClassifierSettings) -> Iterator[str]:
    """The address of a running classifier service."""
    from adsml_classifier.server import build

    with build(settings).start() as server:
        yield server.target
