"""Every method of every service against messages that no friend would send.

A few hundred here; `make bench-fuzz` sends 100,000, to trained models too.
"""

from datetime import date
from pathlib import Path

import grpc
import pytest
from adsml_common.database import Database
from adsml_common.training.launchers import LocalLauncher
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.families import build, servable, settings_of
from support.fuzzing import Fuzzer

LAST_DAY = date(2026, 3, 31)
CALLS = 150
JOBS = {
    "classifier": "TRAINING_JOB_CLASSIFIERS",
    "forecasting": "TRAINING_JOB_PROPHET",
    "anomaly": "TRAINING_JOB_ANOMALY_DETECTORS",
    "impact": "TRAINING_JOB_PROPHET",
}


@pytest.fixture(scope="module")
def account() -> SimulatedAccount:
    settings = AccountSettings(
        last_day=LAST_DAY, days=90, config_id=1, name="fuzz", campaigns=2, adsets=3, ads=5
    )
    return simulate_account(settings, seed=3)


@pytest.fixture(scope="module")
def database_url(account: SimulatedAccount, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    write_to_store(account, database)
    database.close()
    return url


@pytest.mark.parametrize("name", servable())
def test_nothing_sent_brings_a_server_down_or_makes_it_talk(
    name: str, database_url: str, account: SimulatedAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Valid requests to train are among the messages: they are recorded, and no process is started for them.
    monkeypatch.setattr(LocalLauncher, "launch", lambda self, run: None)
    builder = build(name, settings_of(name, database_url=database_url, folder=tmp_path))
    entities = [(one.ref.entity_type.name, one.ref.entity_id) for one in account.entities]
    names = {"FAMILY": f"FAMILY_{name.upper()}", "MODEL": f"{name}/1", "JOB": JOBS[name]}
    with builder.start() as server, grpc.insecure_channel(server.target) as channel:
        report = Fuzzer(channel, entities, LAST_DAY, seed=1, names=names).run(CALLS)
        assert report.faults == []
        assert report.calls == CALLS
        # Both doors are used: what is in order comes through, what is not is refused.
        analytic = [codes for method, codes in report.likely.items() if name in method]
        tried = sum(codes.total() for codes in analytic)
        assert sum(codes["OK"] for codes in analytic) >= 0.3 * tried > 0
        assert any(code.endswith(" INVALID_ARGUMENT") for code in report.codes)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
