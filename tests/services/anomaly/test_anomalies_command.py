"""`adsml anomalies` and `adsml scan-anomalies`, as a person and as a CronJob run them."""

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_common.cli.main import main
from adsml_common.database import Database
from adsml_common.store.metrics import MetricStore
from adsml_simulate import SimulatedAccount

from .conftest import LAST_DAY

OUT = LAST_DAY + timedelta(days=1)


@pytest.fixture
def environment(trained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trained account, to be asked by commands."""
    folder = tmp_path / "account"
    shutil.copytree(trained_folder, folder)
    monkeypatch.setenv("ADSML_DATABASE_URL", f"sqlite:///{folder / 'adsml.db'}")
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(folder / "artifacts"))
    monkeypatch.setenv("ADSML_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adsml", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def outage(folder: Path, account: SimulatedAccount, *, days: int = 1) -> None:
    """Days on which one campaign and all below it have no delivery, and the rest goes on as a week before."""
    frame = account.daily
    campaign = frame[frame["entity_type"] == "campaign"]["entity_id"].iloc[0]
    below = {campaign} | {one.ref.entity_id for one in account.entities if one.parent_id == campaign}
    below |= {one.ref.entity_id for one in account.entities if one.parent_id in below}
    database = Database.open(f"sqlite:///{folder / 'adsml.db'}")
    for step in range(days):
        day = OUT + timedelta(days=step)
        rows = frame[frame["date"] == pd.Timestamp(day - timedelta(days=7))].copy()
        rows["date"], rows["reach"] = pd.Timestamp(day), np.nan
        rows.loc[rows["entity_id"].isin(below), ["spend", "impressions", "clicks", "leads"]] = 0.0
        MetricStore(database).upsert_daily(1, rows, source="test")
    database.close()


def test_it_says_which_days_it_looked_at_and_what_happened_by_cause(
    environment: Path,
    account: SimulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outage(environment, account, days=2)
    last = OUT + timedelta(days=1)
    assert run(monkeypatch, "anomalies", "--config-id", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    said = " ".join(" ".join(lines).split())
    assert said.startswith(f"Account 1, from {last - timedelta(days=13)} to {last}: ")
    assert "a day at stake" in said
    assert f"since {OUT}, still open" in said
    assert "entities looked at" in said
    assert f"The account's data end on {last}, " in said, "it is long ago, and that is said"
    assert run(monkeypatch, "anomalies", "--config-id", "1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    [stopped] = [one for one in told["incidents"] if one["kind"] == "INCIDENT_KIND_NO_DELIVERY"]
    assert stopped["scope"] == "INCIDENT_SCOPE_SUBTREE"
    assert (stopped["state"], stopped["first_date"]["day"]) == ("INCIDENT_STATE_OPEN", OUT.day)
    assert len(stopped["children"]) >= 2
    assert told["incidents"][0] == stopped, "what costs most comes first"


def test_nothing_out_of_line_is_said(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "anomalies",
        "--config-id",
        "1",
        "--false-alarms",
        "0.01",
        "--first-date",
        str(LAST_DAY),
        "--min-stake",
        "1e9",
    )
    assert run(monkeypatch, *arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Account 1: nothing out of line on {LAST_DAY}." in said


def test_some_entities_day_by_day(
    environment: Path,
    account: SimulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outage(environment, account)
    campaign = account.daily[account.daily["entity_type"] == "campaign"]["entity_id"].iloc[0]
    words = ("anomalies", "--config-id", "1", "--entity-type", "campaign", "--entity-id", campaign)
    assert run(monkeypatch, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"Campaign {campaign}: 1 day out of line."
    assert lines[1].startswith(f"  {OUT}  critical  No spend; usual is ")
    assert f"Judged by its own model (anomaly/1/campaign/{campaign}, version 1)." in " ".join(
        " ".join(lines).split()
    )
    assert run(monkeypatch, *words, "--json") == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert result["report"]["answered_by"]["model"]["name"] == f"anomaly/1/campaign/{campaign}"
    assert result["report"]["days"][0]["summary"].startswith("No spend; usual is")
    assert run(monkeypatch, *words, "--entity-id", "no-such") == 0
    assert "Campaign no-such was not judged: campaign no-such of account 1 is not stored" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_scan_keeps_incidents_and_says_how_many(
    environment: Path,
    account: SimulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outage(environment, account)
    words = (
        "scan-anomalies",
        "--as-of-date",
        str(OUT),
        "--workers",
        "1",
        "--request-id",
        "a-night",
        "--json",
    )
    assert run(monkeypatch, *words) == 0
    [item] = json.loads(capsys.readouterr().out)["items"]
    assert (item["key"], item["status"]) == ("1", "TRAINED")
    assert f" as of {OUT}" in item["reason"]
    assert run(monkeypatch, *words) == 0
    [again] = json.loads(capsys.readouterr().out)["items"]
    assert again["attempts"] == 1, "the same request again does nothing twice"
    assert run(monkeypatch, *words[:-3]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(one.startswith("  account 1: ") and one.endswith(" a day at stake") for one in lines)
    assert lines[-1] == "What they are: adsml anomalies --config-id 1"
