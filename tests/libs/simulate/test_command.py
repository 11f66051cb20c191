"""`adsml simulate`, as a person calls it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import typer
from adsml_common.domain.errors import InvalidInput
from adsml_simulate.cli import simulate
from typer.testing import CliRunner, Result


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, list(arguments))


def test_an_export_and_its_facts(tmp_path: Path) -> None:
    out = tmp_path / "account"
    result = run(str(out), "--seed", "4", "--last-day", "2026-06-30", "--days", "60", "--truth", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["first_day"], told["last_day"]) == ("2026-05-02", "2026-06-30")
    assert (told["campaigns"], told["adsets"], told["ads"]) == (4, 15, 45)
    rows = [
        row
        for path in (out / "insights").glob("campaign-*.json")
        for row in json.loads(path.read_text())["data"]
    ]
    assert told["spend"] == pytest.approx(sum(float(row["spend"]) for row in rows))
    assert (out / "truth" / "entities.csv").is_file()


def test_faults_are_injected_and_labelled(tmp_path: Path) -> None:
    out = tmp_path / "account"
    result = run(
        str(out), "--preset", "clean", "--format", "csv", "--last-day", "2026-06-30", "--anomalies", "2",
        "--truth", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    labels = pd.read_csv(out / "truth" / "anomalies.csv")
    assert json.loads(result.stdout)["anomalies"] == labels["incident"].nunique() > 0


def test_people_are_told_what_comes_next(tmp_path: Path) -> None:
    out = tmp_path / "account"
    result = run(str(out), "--format", "csv", "--days", "40", "--config-id", "7")
    assert result.exit_code == 0, result.output
    assert f"adsml import {out / 'daily.csv'} --config-id 7" in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "name a new folder"),
        (["x", "--format", "store"], "not used"),
        (["--format", "store", "--truth"], "--truth needs a folder"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: list[str], what: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, InvalidInput)
    assert what in str(result.exception)
