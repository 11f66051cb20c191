"""`adsml import` as a person and as a script see it."""

import json
from pathlib import Path

import pytest
import typer
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.store.metrics import MetricStore
from adsml_ingest.cli import import_
from support.exports import as_json, insights_rows, make_account
from typer.testing import CliRunner

ACCOUNT = make_account()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command("import")(import_)
    return app


def test_a_person_is_told_what_was_done(run: CliRunner, database: Database, tmp_path: Path) -> None:
    path = as_json(tmp_path / "insights.json", insights_rows(ACCOUNT))
    result = run.invoke(_app(), [str(path), "--config-id", "1"])
    assert result.exit_code == 0, result.output
    rows = len(MetricStore(database).daily(1))
    done = f"Loaded {rows} daily rows into account 1 ({rows} new, 0 changed); 0 were there already."
    assert result.stdout.splitlines()[0] == done
    assert max(map(len, result.stdout.splitlines())) <= 80
    said = " ".join(result.output.split())
    assert "daily rows of campaigns are sums of what is below them, reach left out" in said
    assert "2026-03-01 to 2026-03-04" in result.output
    again = run.invoke(_app(), [str(path), "--config-id", "1"])
    ads = len(MetricStore(database).daily(1, entity_type=EntityType.AD))
    assert again.stdout.startswith("Loaded 0 daily rows into account 1 (0 new, 0 changed)")
    assert f"; {ads} were there already." in again.output


def test_a_script_gets_one_object(run: CliRunner, tmp_path: Path) -> None:
    rows = insights_rows(ACCOUNT)
    rows[1]["impressions"] = "many"
    path = as_json(tmp_path / "insights.json", rows)
    options = ["--config-id", "1", "--on-error", "skip", "--rejects", str(tmp_path), "--json"]
    result = run.invoke(_app(), [str(path), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["rows_read"] == len(rows)
    assert told["rows_rejected"] == 1
    assert told["rows"]["ad"] == len(rows) - 1
    assert told["loaded"]["inserted"] == sum(told["rows"].values())
    assert told["first_day"] == "2026-03-01"
    assert Path(told["reject_files"][0]).exists()
    assert "impressions 'many' is not a number" in told["problems"][0]


def test_a_trial_loads_nothing(run: CliRunner, database: Database, tmp_path: Path) -> None:
    path = as_json(tmp_path / "insights.json", insights_rows(ACCOUNT))
    result = run.invoke(_app(), [str(path), "--config-id", "1", "--check-only"])
    assert result.stdout.startswith("Checked, nothing loaded: 54 daily rows of 2026-03-01 to 2026-03-04")
    assert MetricStore(database).config_ids() == []


def test_a_bad_file_is_an_error_of_the_data(run: CliRunner, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n1,2\n")
    result = run.invoke(_app(), [str(path), "--config-id", "1"])
    assert isinstance(result.exception, InvalidInput)


def test_a_new_sqlite_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", f"sqlite:///{tmp_path / 'new' / 'adsml.db'}")
    path = as_json(tmp_path / "insights.json", insights_rows(ACCOUNT))
    result = CliRunner().invoke(_app(), [str(path), "--config-id", "1"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "adsml.db").exists()
