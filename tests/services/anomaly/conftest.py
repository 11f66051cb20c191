"""A simulated account: as series, stored, trained, served."""

import shutil
from datetime import date
from pathlib import Path

import pytest
from adsml_anomaly.histories import series
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.fitting import AccountPool, learn_pool
from adsml_anomaly.training.detectors import DetectorTrainer
from adsml_anomaly.training.items import JOB, items_of
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.job import run_job
from adsml_common.training.records import TrainingRun, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store
from support.jobs import InProcess

LAST_DAY = date(2026, 3, 31)


@pytest.fixture(scope="session")
def account() -> SimulatedAccount:
    """An account of 2 campaigns, 6 ad sets and 9 ads over 100 days on which nothing happens."""
    settings = AccountSettings(
        last_day=LAST_DAY, days=100, config_id=1, name="tests", campaigns=2, adsets=6, ads=9,
        late_start_share=0.0, early_end_share=0.0,
    )  # fmt: skip
    return simulate_account(settings, seed=5)


@pytest.fixture(scope="session")
def histories(account: SimulatedAccount) -> dict[EntityRef, Days]:
    """Its series."""
    return series(account.daily, 1)


@pytest.fixture(scope="session")
def pool(histories: dict[EntityRef, Days]) -> AccountPool:
    """What its entities have in common."""
    return learn_pool(histories)


def train(database: Database, registry: ModelRegistry, request_id: str) -> TrainingRun:
    """Train the detectors of the stored account."""
    trainer = DetectorTrainer(database, registry, run_id=run_id_of(JOB, request_id))
    return run_job(
        JOB, items_of(database, [1]), InProcess(trainer), runs=TrainingRuns(database), request_id=request_id
    )


@pytest.fixture(scope="session")
def trained_folder(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, account: SimulatedAccount
) -> Path:
    """A folder with the database (adsml.db) and the artifacts of the trained account; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(sqlite_template, folder / "adsml.db")
    database = Database.open(f"sqlite:///{folder / 'adsml.db'}")
    write_to_store(account, database)
    artifacts = ArtifactStore(str(folder / "artifacts"), cache_dir=tmp_path_factory.mktemp("trainer"))
    assert train(database, ModelRegistry(database, artifacts), "first").exit_status == 0
    database.close()
    return folder
