"""What the command says when something is wrong, and the status it leaves with."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from adsml_common.cli import commands, family

from .conftest import Adsml


def test_a_bad_setting_is_named_with_its_reason(adsml: Adsml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_LOG_FORMAT", "xml")
    ran = adsml("models", "list")
    assert ran.status == 2
    assert "ADSML_LOG_FORMAT" in ran.said
    assert "xml" in ran.said


def test_a_password_never_shows(adsml: Adsml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", "mysql://ada:s3cret@db/adsml")
    ran = adsml("models", "list")
    assert ran.status == 2
    assert "mysql" in ran.said
    assert "s3cret" not in ran.out + ran.err


def test_an_absent_schema_says_how_to_get_one(
    adsml: Adsml, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", empty_database_url)
    assert adsml("migrate", "--check").status == 4
    ran = adsml("models", "list")
    assert ran.status == 4
    assert "adsml migrate" in ran.said
    assert adsml("migrate").status == 0
    assert adsml("migrate", "--check").status == 0
    assert adsml("models", "list").status == 0


def test_a_database_that_is_down_is_worth_a_retry(adsml: Adsml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", "postgresql://nobody:s3cret@127.0.0.1:1/none")
    ran = adsml("models", "list")
    assert ran.status == 1
    assert "database is unavailable" in ran.said
    assert "s3cret" not in ran.err


def test_errors_come_as_json_where_json_was_asked_for(adsml: Adsml) -> None:
    ran = adsml("models", "show", "classifier/1/adset", "--json")
    assert ran.status == 3
    assert ran.out == ""
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert error["reason"] == "NOT_FOUND"
    assert "classifier/1/adset" in error["message"]


def test_an_unknown_family_is_named_with_those_there_are(adsml: Adsml) -> None:
    ran = adsml("serve", "astrology")
    assert ran.status == 3
    assert "astrology" in ran.said


def test_a_family_that_cannot_be_imported_leaves_the_others_standing(
    adsml: Adsml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_family.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = EntryPoint("broken", "broken_family:family", family.GROUP)
    monkeypatch.setattr(family, "entry_points", lambda *, group: [broken])
    ran = adsml("models", "verify")
    assert ran.status == 0
    assert "a_library_that_is_not_installed" in ran.said


def test_a_command_that_cannot_be_imported_says_so_and_takes_no_other_down(
    adsml: Adsml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_command.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = commands._entries(commands.GROUP)
    broken = EntryPoint("broken", "broken_command:run", commands.GROUP)
    monkeypatch.setattr(commands, "_entries", lambda _: {**known, "broken": broken})
    ran = adsml("broken")
    assert ran.status == 4
    assert "a_library_that_is_not_installed" in ran.said
    assert adsml("models", "list").status == 0
    assert " broken " in adsml("--help").out


def test_a_wrong_option_is_a_usage_error(adsml: Adsml) -> None:
    assert adsml("models", "list", "--no-such-option").status == 2


@pytest.mark.parametrize("command", [(), ("models",), ("train",), ("runs",), ("evaluate",)])
def test_every_group_shows_its_help(adsml: Adsml, command: tuple[str, ...]) -> None:
    ran = adsml(*command, "--help")
    assert ran.status == 0
    assert "Usage" in ran.out
