"""A simulated account: as series, stored, trained, served."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from adsml_anomaly.channels import Days
from adsml_anomaly.fitting import AccountPool, learn_pool
from adsml_anomaly.history import series
from adsml_anomaly.settings import AnomalySettings
from adsml_anomaly.training import JOB, DetectorTrainer, items_of
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef
from adsml_common.registry.registry import ModelRegistry
from adsml_common.simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_common.simulate.storing import write_to_store
from adsml_common.training.job import run_job
from adsml_common.training.records import TrainingRun, run_id_of
from adsml_common.training.runs import TrainingRuns

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


@pytest.fixture
def stored(database: Database, account: SimulatedAccount) -> Database:
    """A database that holds the account."""
    write_to_store(account, database)
    return database


def train(database: Database, registry: ModelRegistry, request_id: str) -> TrainingRun:
    """Train the detectors of the stored account."""
    trainer = DetectorTrainer(database, registry, run_id=run_id_of(JOB, request_id))
    return run_job(JOB, items_of(database, [1]), trainer, runs=TrainingRuns(database), request_id=request_id)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> AnomalySettings:
    """Settings of a service on the same database and artifacts, on a free port."""
    return AnomalySettings(
        ADSML_DATABASE_URL=database_url,
        ADSML_ARTIFACT_URL=str(tmp_path / "artifacts"),
        ADSML_CACHE_DIR=tmp_path / "server-cache",
        port=0,
        drain_wait_seconds=0,
        poll_seconds=0.2,
    )


@pytest.fixture
def service(settings: AnomalySettings) -> Iterator[str]:
    """The address of a running anomaly service."""
    from adsml_anomaly.server import build

    with build(settings).start() as server:
        yield server.target
