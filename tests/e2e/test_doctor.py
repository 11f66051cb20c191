"""`adsml doctor` and `adsml models verify` over real models of every family that trains any."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_simulate import AccountSettings, simulate_account
from adsml_simulate.storing import write_to_store

JOBS = ("classifiers", "anomaly-detectors", "prophet", "ensemble-weights")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An account with every kind of model trained on it."""
    folder = tmp_path_factory.mktemp("doctor")
    url = f"sqlite:///{folder / 'adsml.db'}"
    settings = AccountSettings(
        last_day=date(2026, 3, 31), days=120, config_id=1, name="doctor", campaigns=1, adsets=2, ads=2
    )
    database = Database.open(url)
    database.migrate()
    write_to_store(simulate_account(settings, seed=3), database)
    database.close()
    env = {
        **os.environ,
        "ADSML_DATABASE_URL": url,
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    for job in JOBS:
        extra = ("--entity-type", "campaign") if job in {"prophet", "ensemble-weights"} else ()
        adsml(env, "train", job, "--config-id", "1", *extra)
    # Their gates may have turned candidates away: one is made active by hand.
    for family in ("prophet/", "classifier/"):
        trained = json.loads(adsml(env, "models", "list", "--prefix", family, "--json").stdout)["models"]
        adsml(env, "models", "activate", trained[0]["ref"]["name"], "1")
    return env


def adsml(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adsml_common.cli", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_every_active_model_loads_as_its_service_would(environment: dict[str, str]) -> None:
    ran = adsml(environment, "doctor", "--json")
    checks = {one["name"]: one for one in json.loads(ran.stdout)["checks"]}
    models = {name: one for name, one in checks.items() if name.startswith("model ")}
    # Of Prophet and ensembles it said that their family is not installed: the first word of a name is not the family.
    assert {name.split("/")[0].removeprefix("model ") for name in models} == {
        "classifier", "anomaly", "prophet", "ensemble",
    }  # fmt: skip
    assert {one["detail"] for one in models.values()} == {"loads"}
    assert ran.returncode == 0


def test_a_flipped_byte_with_a_right_checksum_is_told_and_ends_nothing(environment: dict[str, str]) -> None:
    import hashlib
    import sqlite3

    from adsml_common.registry.bundle import Bundle, pack, unpack

    artifacts = Path(environment["ADSML_ARTIFACT_URL"])
    with sqlite3.connect(environment["ADSML_DATABASE_URL"].removeprefix("sqlite:///")) as database:
        name, uri = database.execute(
            "SELECT name, artifact_uri FROM ml_trained_models WHERE name LIKE 'classifier/%' AND status = 'ACTIVE'"
        ).fetchone()
        bundle = unpack((artifacts / uri).read_bytes())
        booster = bytearray(bundle.files["model.ubj"])
        at = booster.index(b"left_children") + 40
        booster[at] ^= 0x40
        data = pack(
            Bundle.of(
                model_type=bundle.manifest.model_type,
                files={**bundle.files, "model.ubj": bytes(booster)},
                feature_columns=bundle.manifest.feature_columns,
            )
        )
        (artifacts / uri).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        database.execute("UPDATE ml_trained_models SET sha256 = ? WHERE artifact_uri = ?", (sha256, uri))
    ran = adsml(environment, "models", "verify", "--json")
    assert ran.returncode == 1, ran.stderr
    report = json.loads(ran.stdout)["report"]
    assert [one["name"] for one in report["corrupt"]] == [name]
    ran = adsml(environment, "doctor", "--json")
    assert ran.returncode == 1, "told, and not ended by a signal"
    classify = adsml(environment, "classify", "--config-id", "1", "--json")
    assert classify.returncode == 0, classify.stderr
