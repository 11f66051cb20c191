"""`adsml report` with every family, on an account without a model: a person reads what the commands say."""

import contextlib
import io
import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adsml_common.cli import family
from adsml_common.cli.main import main
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.store.accounts import Account, bind_account
from adsml_common.store.entities import EntityStore
from adsml_common.store.tables import accounts
from adsml_simulate import AnomalyKind, SimulatedAccount, inject_anomalies, presets, simulate_account
from adsml_simulate.presets import with_clear_changes
from adsml_simulate.storing import write_to_store
from support.report_pages import HOSTILE

LAST = date(2026, 6, 30)


@pytest.fixture(scope="module")
def account() -> SimulatedAccount:
    """The demo's: an ad set that stops delivering on the last day, a change that worked, one that hurt."""
    clear = with_clear_changes(simulate_account(presets.demo(last_day=LAST), seed=13))
    return inject_anomalies(
        clear, list(AnomalyKind), rate=0.5, seed=13, entity_type=EntityType.ADSET, earliest_day=60
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, account: SimulatedAccount) -> Path:
    """A store with the account; a campaign of it has a name that would be markup."""
    folder = tmp_path_factory.mktemp("account")
    database = Database.open(f"sqlite:///{folder / 'adsml.db'}")
    database.migrate()
    write_to_store(account, database)
    hostile = EntityRef(1, EntityType.CAMPAIGN, account.tree.campaign_ids[0])
    EntityStore(database).upsert([Entity(hostile, name=HOSTILE)])
    with database.write() as connection:
        bind_account(connection, 1, Account(account_name="Northwind", currency_code="USD"))
    database.close()
    return folder


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Settings that find the account."""
    monkeypatch.setenv("ADSML_DATABASE_URL", f"sqlite:///{folder / 'adsml.db'}")
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(folder / "artifacts"))
    monkeypatch.setenv("ADSML_CACHE_DIR", str(folder / "cache"))


@pytest.fixture
def report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page goes."""
    use(monkeypatch, folder)
    path = folder / "report.html"
    path.unlink(missing_ok=True)
    return path


def adsml(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adsml", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def told(folder: Path) -> tuple[str, dict[str, Any]]:
    """A page with every family, and what the command says of it."""
    path, out = folder / "whole.html", io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(out):
        use(monkeypatch, folder)
        command = ("report", "--config-id", "1", "--output", str(path), "--most", "8", "--json")
        assert adsml(monkeypatch, *command) == 0
    return path.read_text(encoding="utf-8"), json.loads(out.getvalue())


def sections(page: str) -> dict[str, str]:
    """The page's sections by their anchor."""
    return dict(re.findall(r'<section id="([a-z-]+)".*?>(.*?)</section>', page, re.DOTALL))


def test_the_first_screen_is_right_about_the_simulated_truth(
    account: SimulatedAccount, told: tuple[str, dict[str, Any]]
) -> None:
    names = {one.ref.entity_id: str(one.name) for one in account.entities}
    anomalies = account.truth.anomalies
    hit = anomalies[anomalies["target"] & (anomalies["date"] == pd.Timestamp(LAST))]
    stopped = {names[str(one)] for one in hit["entity_id"]}
    better, worse = (names[one.entity_id] for one in account.planned[-2:])
    findings = told[1]["findings"]
    assert 3 <= len(findings) <= 7
    assert [one for one in findings if any(one["head"].startswith(f"{name} ") for name in stopped)], (
        "the incident"
    )
    by_verdict = {
        verdict: [one for one in findings if one["head"].endswith(f"{verdict}:")]
        for verdict in ("worked", "hurt")
    }
    assert f"creative change of 2 Jun in {better}" in by_verdict["worked"][0]["head"]
    assert f"audience change of 9 Jun in {worse}" in by_verdict["hurt"][0]["head"]
    for one in by_verdict["worked"] + by_verdict["hurt"]:
        assert re.search(r"\d leads a week (more|fewer), worth USD [\d,]+", one["text"])
    money = [one["weekly"] for one in findings if one["weekly"] is not None]
    assert money == sorted(money, reverse=True)


def test_every_section_has_something_to_say(told: tuple[str, dict[str, Any]]) -> None:
    page, _ = told
    found = sections(page)
    assert list(found) == ["today", "overview", "alarms", "tiers", "changes", "forecasts", "behind"]
    assert "could not answer" not in page
    assert found["forecasts"].count("<svg") == 2 * (1 + 4 + 8), (
        "the account, four campaigns in its place, eight by day"
    )
    assert "forecast of a week ago" in found["forecasts"]
    assert "high performer" in found["tiers"]
    assert "No model is trained" in found["behind"]
    assert "As of Tue 30 Jun 2026" in found["today"], "these days are not today's"
    assert "Next week should bring leads:" in found["today"]
    assert "<script>alert" not in page


def test_a_family_that_is_missing_or_fails_takes_no_other_down(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {name: one for name, one in family.installed().items() if name == "classifier"}
    monkeypatch.setattr(family, "installed", lambda: here)
    monkeypatch.setenv("ADSML_CLASSIFIER_PORT", "none")
    assert adsml(monkeypatch, "report", "--config-id", "1", "--output", str(report)) == 0
    found = sections(report.read_text(encoding="utf-8"))
    assert "The classifier family could not answer" in found["behind"]
    assert "ADSML_CLASSIFIER_PORT" in found["behind"]
    assert "adsml-impact" in found["behind"]
    assert "<svg" in found["overview"]


def test_every_account_has_a_page_and_the_list_says_what_comes_first(
    report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An account of which nothing was loaded is named there, and stops no other one."""
    database = Database.open(f"sqlite:///{report.parent / 'adsml.db'}")
    with database.write() as connection:
        bind_account(connection, 2, Account(account_name="Empty <shop>"))
    monkeypatch.setattr(family, "installed", dict)
    url = f"file://{report.parent / 'pages'}"
    assert adsml(monkeypatch, "report", "--all", "--output", url, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == f"{url}/index.html"
    assert [one["output"] for one in told["accounts"]] == [f"{url}/1.html"]
    assert [one["config_id"] for one in told["failed"]] == [2]
    index = (report.parent / "pages" / "index.html").read_text(encoding="utf-8")
    assert 'href="1.html"' in index
    assert "Empty &lt;shop&gt;" in index
    assert "No report: account 2 has no daily rows" in index
    assert 'class="stale"' in index, "data that end in June"
    with database.write() as connection:
        connection.execute(accounts.delete().where(accounts.c.config_id == 2))
    database.close()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--config-id", "7"), 3),
        (("--config-id", "1", "--output", "report.pdf"), 42),
        (("--config-id", "1", "--output", "no-such-folder/report.html"), 42),
        (("--config-id", "1", "--all"), 42),
        ((), 42),
        (("--all", "--output", "ftq://pages"), 42),
    ],
)
@pytest.mark.usefixtures("report")
def test_what_cannot_be_reported_is_said(
    arguments: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert adsml(monkeypatch, "report", *arguments) == status
    assert "error:" in capsys.readouterr().err
