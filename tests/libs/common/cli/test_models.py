"""adsml models and adsml doctor on a registry with real artifacts."""

import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.registry.models import Candidate, ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry

from .conftest import Adsml

NAME = "family_not_installed/1/adset"


@pytest.fixture
def two_versions(registry: ModelRegistry) -> list[ModelVersion]:
    """Two versions of one model, activated one after the other."""
    made = [
        registry.register(
            Candidate(
                name=NAME,
                model_type="test",
                config_id=1,
                files={"model.json": f'{{"depth": {depth}}}'.encode()},
                parameters={"depth": depth},
                training_metrics={"weighted_f1": 0.8, "auc": float("nan")},
                samples_count=100,
            )
        )
        for depth in (3, 4)
    ]
    for model in made:
        registry.activate(NAME, model.version, actor="ada", reason="passed its gate")
    return made


@pytest.mark.usefixtures("two_versions")
def test_list_shows_each_version_and_which_is_active(adsml: Adsml) -> None:
    listed = adsml("models", "list", "--json").json()["models"]
    assert {(m["ref"]["version"], m["status"]) for m in listed} == {
        (1, "MODEL_STATUS_ARCHIVED"),
        (2, "MODEL_STATUS_ACTIVE"),
    }
    only = adsml("models", "list", "--status", "ACTIVE", "--json").json()["models"]
    assert [m["ref"]["version"] for m in only] == [2]
    assert adsml("models", "list", "--prefix", "anomaly/", "--json").json()["models"] == []
    table = adsml("models", "list")
    assert table.status == 0
    assert NAME in table.out


@pytest.mark.usefixtures("two_versions")
def test_show_tells_parameters_metrics_and_history(adsml: Adsml) -> None:
    shown = adsml("models", "show", NAME, "--json").json()
    assert shown["model"]["parameters"] == {"depth": 4}
    assert shown["model"]["training_metrics"] == {"weighted_f1": 0.8, "auc": None}
    activated = [e for e in shown["events"] if e["event_type"] == "MODEL_EVENT_TYPE_ACTIVATED"]
    assert {e["reason"] for e in activated} == {"passed its gate"}
    assert "passed its gate" in adsml("models", "show", NAME).out


@pytest.mark.usefixtures("two_versions")
def test_rollback_and_activate_move_the_active_version_and_keep_the_reason(
    adsml: Adsml, registry: ModelRegistry
) -> None:
    assert adsml("models", "rollback", NAME, "--reason", "worse on Mondays").status == 0
    active = registry.active(NAME)
    assert active is not None
    assert active.version == 1
    assert adsml("models", "activate", NAME, "2", "--reason", "Mondays mended").status == 0
    assert [e.reason for e in registry.events(NAME)][:2] == ["Mondays mended", "worse on Mondays"]
    assert "command line" in registry.events(NAME)[0].actor


def test_activating_what_is_not_there_is_not_found(adsml: Adsml) -> None:
    assert adsml("models", "activate", NAME, "7").status == 3


@pytest.mark.usefixtures("two_versions")
def test_verify_and_doctor_find_a_damaged_artifact(
    adsml: Adsml, registry: ModelRegistry, tmp_path: Path
) -> None:
    assert adsml("models", "verify").status == 0
    sound = [c for c in adsml("doctor", "--json").json()["checks"] if "model" in c["name"]]
    assert {c["health"] for c in sound} == {"ok"}

    [active] = registry.list(status=ModelStatus.ACTIVE)
    path = tmp_path / "artifacts" / active.artifact_uri
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    for cached in (tmp_path / "cache").rglob("*"):
        if cached.is_file():
            cached.unlink()

    ran = adsml("models", "verify", "--json")
    assert ran.status == 1
    assert [m["version"] for m in ran.json()["report"]["corrupt"]] == [2]
    examined = adsml("doctor", "--json")
    assert examined.status == 1
    [bad] = [c for c in examined.json()["checks"] if c["health"] == "failed" and "model" in c["name"]]
    assert NAME in bad["name"]
    assert "rollback" in bad["detail"]


def test_verify_tells_missing_corrupt_and_orphaned_artifacts_apart(
    adsml: Adsml, two_versions: list[ModelVersion], tmp_path: Path
) -> None:
    store = tmp_path / "artifacts"
    missing, corrupt = two_versions
    (store / missing.artifact_uri).unlink()
    # Still a zip of the right size; only the checksum tells.
    damaged = bytearray((store / corrupt.artifact_uri).read_bytes())
    damaged[-1] ^= 1
    (store / corrupt.artifact_uri).write_bytes(bytes(damaged))
    orphans = [store / NAME / "left-behind.zip", store / NAME / "older.zip"]
    for orphan in orphans:
        orphan.write_bytes(b"no row names it")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(orphans[1], (two_days_ago, two_days_ago))

    ran = adsml("models", "verify", "--json")
    assert ran.status == 1
    report = ran.json()["report"]
    assert report["checked"] == 2
    assert [(m["name"], m["version"]) for m in report["missing"]] == [(NAME, 1)]
    assert [(m["name"], m["version"]) for m in report["corrupt"]] == [(NAME, 2)]
    assert report["orphaned"] == [f"{NAME}/left-behind.zip", f"{NAME}/older.zip"]
    shown = adsml("models", "verify")
    assert shown.status == 1
    kinds = [line.strip("│ ").split()[:1] for line in shown.out.splitlines()]
    assert [kind for (kind,) in filter(None, kinds) if kind in {"missing", "corrupt", "orphaned"}] == [
        "missing", "corrupt", "orphaned", "orphaned",
    ]  # fmt: skip
    assert "does not match its checksum" in " ".join(shown.out.split())

    # Only what no registration on its way can own is removed; what is missing or corrupt is told until mended.
    swept = adsml("models", "verify", "--sweep", "--json")
    assert (swept.status, swept.json()["swept"]) == (1, [f"{NAME}/older.zip"])
    assert [path.exists() for path in orphans] == [True, False]


def test_doctor_says_that_the_artifact_store_cannot_be_written(
    adsml: Adsml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(tmp_path / "file" / "artifacts"))
    ran = adsml("doctor", "--json")
    assert ran.status == 1
    [bad] = [c for c in ran.json()["checks"] if c["health"] == "failed" and c["name"] != "families installed"]
    assert bad["name"] == "artifact store writable"
    assert "ADSML_ARTIFACT_URL" in bad["detail"]


def test_doctor_says_that_the_schema_is_absent(
    adsml: Adsml, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", empty_database_url)
    ran = adsml("doctor", "--json")
    assert ran.status == 1
    [bad] = [c for c in ran.json()["checks"] if c["name"] == "schema current"]
    assert bad["health"] == "failed"
    assert "adsml migrate" in bad["detail"]


def test_doctor_sends_nobody_to_migrate_what_this_version_is_too_old_for(
    adsml: Adsml, database: Database
) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))
        connection.execute(sa.text("UPDATE schema_notes SET value = '9999' WHERE name = 'oldest_code'"))
    [bad] = [c for c in adsml("doctor", "--json").json()["checks"] if c["name"] == "schema current"]
    assert "deploy the version that migrated it" in bad["detail"]
    assert "adsml migrate" not in bad["detail"]


def test_sweep_leaves_young_files_alone(adsml: Adsml, registry: ModelRegistry, tmp_path: Path) -> None:
    registry.register(Candidate(name=NAME, model_type="test", config_id=1, files={"a.json": b"{}"}))
    orphan = tmp_path / "artifacts" / "family_not_installed" / "1" / "adset" / "left-behind.zip"
    orphan.write_bytes(b"an upload on its way")
    ran = adsml("models", "verify", "--sweep", "--json")
    assert ran.json()["report"]["orphaned"]
    assert orphan.exists()
