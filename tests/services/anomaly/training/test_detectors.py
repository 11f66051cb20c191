"""Training the detectors: every trained model is in the registry, whenever the process is killed."""

import os
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from adsml_anomaly.artifacts import FEATURES, parse
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.fitting import fit_entity, learn_pool
from adsml_anomaly.training.detectors import DetectorTrainer
from adsml_anomaly.training.items import JOB, items_of
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.job import run_job
from adsml_common.training.records import ItemStatus, RunStatus, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store
from support import jobs
from support.jobs import InProcess

# Imports once and forks for each try: starting Python anew would cost more than the work.
_WORKER = """
import os, signal, sys
from pathlib import Path
from adsml_anomaly import warmup
from adsml_anomaly.training.detectors import DetectorTrainer
from adsml_anomaly.training.items import JOB, items_of
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.job import Pace, run_job
from adsml_common.training.records import run_id_of
from adsml_common.training.runs import TrainingRuns
from support.jobs import InProcess

url, folder = sys.argv[1:]

def work(point, number):
    database = Database.open(url)
    artifacts = ArtifactStore(folder + "/artifacts", cache_dir=Path(folder) / "worker-cache")
    registry = ModelRegistry(database, artifacts)
    left = number

    def dying(work):
        def called(*given, **named):
            nonlocal left
            done = work(*given, **named)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done
        return called

    if point == "artifact-without-a-row":
        artifacts.put = dying(artifacts.put)
    if point == "row-without-activation":
        registry.register = dying(registry.register)
    run = run_job(
        JOB, items_of(database, [1]),
        InProcess(DetectorTrainer(database, registry, run_id=run_id_of(JOB, "nightly"))),
        runs=TrainingRuns(database), request_id="nightly", pace=Pace(lease=1.0, heartbeat=0.2, patience=60.0),
    )
    return run.exit_status

warmup.warm()
for line in sys.stdin:
    point, number = line.split()
    child = os.fork()
    if child == 0:
        os._exit(work(point, int(number)))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_kill_9_wherever_it_hits_and_all_models_are_there_at_the_end(
    sqlite_template: Path, account: SimulatedAccount, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'adsml.db'}"
    (tmp_path / "adsml.db").write_bytes(sqlite_template.read_bytes())
    database = Database.open(url)
    write_to_store(account, database)
    registry = ModelRegistry(
        database, ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "fresh")
    )

    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(jobs.__file__).parents[1])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip

        def work(point: str, number: int) -> int:
            assert worker.stdin is not None
            assert worker.stdout is not None
            print(point, number, file=worker.stdin, flush=True)
            return int(worker.stdout.readline())

        for point, number in (("artifact-without-a-row", 4), ("row-without-activation", 5)):
            assert work(point, number) == -9
            # Whatever is registered is whole; what is active can be read.
            assert registry.verify().ok
            for version in registry.list(status=ModelStatus.ACTIVE):
                parse(version, registry.read(version))
        assert work("never", 1) == 0

    [run] = TrainingRuns(database).list()
    assert run.status is RunStatus.SUCCEEDED
    items = TrainingRuns(database).items(run.run_id)
    versions = registry.list()
    assert {(one.model_name, one.model_version) for one in items} == {(v.name, v.version) for v in versions}
    assert len(versions) == len(items) == 21
    assert {v.status for v in versions} == {ModelStatus.ACTIVE}
    report = registry.verify()
    assert (report.checked, report.missing, report.corrupt) == (21, (), ())
    # The first kill left one artifact without a row; it harms nobody and can be swept.
    assert len(report.orphaned) <= 1
    assert registry.sweep_orphans(older_than=timedelta(0)) == list(report.orphaned)
    assert registry.verify().orphaned == ()
    # What no version names is found, and what is gone is missed.
    ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "x").put("anomaly/1/stray.zip", b"stray")
    (tmp_path / "artifacts" / versions[0].artifact_uri).unlink()
    report = registry.verify()
    assert report.orphaned == ("anomaly/1/stray.zip",)
    assert [one.name for one in report.missing] == [versions[0].name]
    database.close()


def test_the_registry_holds_what_a_model_was_made_of(trained_folder: Path, tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{trained_folder / 'adsml.db'}")
    artifacts = ArtifactStore(str(trained_folder / "artifacts"), cache_dir=tmp_path / "cache")
    versions = ModelRegistry(database, artifacts).list()
    assert Counter(one.model_type for one in versions) == {"anomaly_detector": 17, "anomaly_profile": 4}
    for one in versions:
        assert one.feature_columns == FEATURES
        assert one.samples_count > 0
        assert one.window_start is not None
        assert one.window_end == date(2026, 3, 31)
        assert one.parameters["false_alarms_per_month"] == 1.0
        assert one.parameters["contamination"] == pytest.approx(1 / 30)
        assert one.training_metrics["held_out_days"] == one.samples_count
        if one.model_type == "anomaly_detector":
            assert one.training_metrics["days"] >= 28
            assert one.training_metrics["held_out_alarms_per_month"] < 10
    database.close()


def test_entities_with_too_little_history_are_skipped_with_the_reason(
    sqlite_template: Path, tmp_path: Path
) -> None:
    (tmp_path / "adsml.db").write_bytes(sqlite_template.read_bytes())
    database = Database.open(f"sqlite:///{tmp_path / 'adsml.db'}")
    settings = AccountSettings(
        last_day=date(2026, 3, 31), days=20, config_id=1, name="new", campaigns=1, adsets=2, ads=3,
        late_start_share=0.0, early_end_share=0.0,
    )  # fmt: skip
    write_to_store(simulate_account(settings, seed=1), database)
    registry = ModelRegistry(
        database, ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")
    )
    runs = TrainingRuns(database)
    trainer = DetectorTrainer(database, registry, run_id=run_id_of(JOB, "new"))
    run = run_job(JOB, items_of(database, [1]), InProcess(trainer), runs=runs, request_id="new")
    assert run.exit_status == 0
    found = {one.key: one for one in runs.items(run.run_id)}
    assert {key for key, one in found.items() if one.status is ItemStatus.TRAINED} == {
        "1", "1/campaign", "1/adset", "1/ad",
    }  # fmt: skip
    for one in found.values():
        if one.status is ItemStatus.SKIPPED:
            assert "20 days" in one.reason
            assert "28" in one.reason
    database.close()


def test_the_same_rows_and_seed_make_the_same_model(histories: dict[EntityRef, Days]) -> None:
    refs = list(histories)[:4]
    some = {ref: histories[ref] for ref in refs}
    pools = [learn_pool(some), learn_pool(dict(reversed(list(some.items()))))]
    ref = next(one for one in refs if one.entity_type is EntityType.AD)
    first, second = (fit_entity(some[ref], pool, ref.entity_type, what="it").model for pool in pools)
    assert first.curves.tobytes() == second.curves.tobytes()
    assert first.forest is not None
    assert second.forest is not None
    assert first.forest.threshold.tobytes() == second.forest.threshold.tobytes()
