"""`adsml train`, `forecast` and `evaluate` as a person or a script runs them, with what is wrong in what they are given."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from adsml_common.cli.main import main
from adsml_common.database import Database
from adsml_common.store.metrics import MetricStore
from adsml_forecasting.evaluation.study import read_long
from support.forecasting import account

START = date(2024, 1, 1)


@dataclass(frozen=True)
class Ran:
    """What a command left behind; `said` is standard error as one line."""

    status: int
    out: str
    said: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


Adsml = Callable[..., Ran]


@pytest.fixture
def adsml(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Adsml:
    """`adsml ...` on an account with campaigns of 90 and of 10 days."""
    path = tmp_path / "adsml.db"
    shutil.copy(sqlite_template, path)
    database = Database.open(f"sqlite:///{path}")
    try:
        MetricStore(database).upsert_daily(1, account({"1": 90, "2": 10}), source="test")
    finally:
        database.close()
    monkeypatch.setenv("ADSML_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ADSML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["adsml", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, " ".join(err.split()))

    return run


ONE = ("--config-id=1", "--entity-type=campaign", "--entity-id=1")
TWO = ("--config-id=1", "--entity-type=campaign", "--entity-id=2")
FEW = ("--config-id=1", "--entity-type=campaign", "--metric=leads", "--workers=1", "--json")


def test_what_was_trained_answers_the_forecast(adsml: Adsml) -> None:
    before = adsml("forecast", *ONE, "--json").json()["forecast"]
    assert before["answered_by"]["source"] == "ANSWER_SOURCE_DEFAULTS"
    for job in ("ensemble-weights", "prophet"):
        ran = adsml("train", job, *FEW)
        assert ran.status == 0, ran.said
        items = {one["key"]: one for one in ran.json()["items"]}
        assert items["1/campaign/1/leads"]["status"] == "TRAINED"
        short = items["1/campaign/2/leads"]
        assert short["status"] == "SKIPPED"
        assert "10 days" in short["reason"]
        assert "58" in short["reason"]
    # Poisson counts with a weekly season: the ensemble's bar, last week repeated, is far off.
    after = adsml("forecast", *ONE, "--json").json()["forecast"]
    assert after["answered_by"]["source"] == "ANSWER_SOURCE_MODEL"
    assert len(after["days"]) == 7
    assert all(day["interval"]["lower"] <= day["value"] <= day["interval"]["upper"] for day in after["days"])
    read = adsml("forecast", *ONE, "--metric=cpl", "--method=ema")
    assert (read.status, "cpl of campaign 1" in read.out) == (0, True)
    first = " ".join(read.out.split())
    assert first.startswith("Cost per lead of campaign 1 in the 7 days from 2024-03-31: ")
    assert "expected, with 90% probability" in first
    assert "; the week before had " in first


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("train", "prophet", "--metric=likes"), 42, "--metric: 'likes' is not known; expected spend"),
        (("train", "ensemble-weights", "--entity-type=galaxy"), 42, "--entity-type: 'galaxy' is not known"),
        (("train", "prophet", "--config-id=one"), 42, "one"),
        (("train", "ensemble-weights", "--shard-index=2", "--shard-count=2"), 42, "expected 0 to 1"),
        (("train", "prophet", "--attribution-lag-days=99"), 2, "--attribution-lag-days"),
        (("forecast", "--config-id=1", "--entity-id=9"), 3, "9"),
        (("forecast", *ONE, "--metric=likes"), 2, "--metric"),
        (("forecast", *ONE, "--method=oracle"), 42, "expected one of PROPHET"),
        (("forecast", "--config-id=1", "--entity-id=1", "--entity-type=x"), 2, "--entity-type"),
        (("forecast", *TWO, "--method=prophet"), 4, "10 days"),
        (("forecast", *ONE, "--horizon-days=0"), 2, "--horizon-days"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(
    adsml: Adsml, words: tuple[str, ...], status: int, said: str
) -> None:
    ran = adsml(*words)
    assert (ran.status, said in ran.said) == (status, True), ran.said
    assert ran.out == ""


def rows(line: Callable[[int], str], *, count: int = 40, head: str = "series_id,ds,y") -> str:
    return "\n".join([head, *(line(at) for at in range(count))])


def day(at: int) -> str:
    return (START + timedelta(days=at)).isoformat()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "can't be read as CSV"),
        ("series_id,ds,y\n", "has no rows"),
        (rows(lambda at: f"a;{day(at)};5", head="series_id;ds;y"), "has no column series_id, ds, y"),
        (rows(lambda at: f'a,{day(at)},"5,{at}"'), "line 2: y '5,0' is not a number"),
        (
            rows(lambda at: f"a,{'31.12.2024' if at == 3 else day(at)},5"),
            "line 5: ds '31.12.2024' is not a date",
        ),
        (
            rows(lambda at: f"a,{'2250-02-01' if at == 3 else day(at)},5"),
            "line 5: ds '2250-02-01' is more than 3660",
        ),
        (rows(lambda at: f"a,{day(at // 2)},5"), "line 3: ds '2024-01-01' is there twice"),
        (
            rows(lambda at: f"a,2024-01-01T{at:02d}:00,5", count=20),
            "line 3: ds '2024-01-01T01:00' is there twice for this series; expected one row a day",
        ),
        (rows(lambda at: f"a,{day(at)},"), "no series has a value before its last 7 days"),
        (rows(lambda at: f"a,{day(at)},inf"), "is infinite"),
        (rows(lambda at: f"a,{day(at)},5", count=7), "expected longer series"),
        (
            rows(lambda at: f"a,{day(at)},5,{'train' if at > 9 else 'test'}", head="series_id,ds,y,part"),
            "test day",
        ),
        (rows(lambda at: f"a,{day(at)},5,maybe", head="series_id,ds,y,part"), "neither 'train' nor 'test'"),
    ],
)
def test_a_file_that_cannot_be_evaluated_says_where_and_why(
    adsml: Adsml, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "series.csv"
    path.write_text(text)
    ran = adsml("evaluate", "forecasting", f"--data={path}")
    assert (ran.status, said in ran.said) == (42, True), ran.said


def test_dates_with_the_offset_of_summer_and_of_winter_are_days_as_written(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text(rows(lambda at: f"a,{day(at)}T00:00:00{'+01:00' if at < 20 else '+02:00'},5"))
    assert [found.date() for found in read_long(path)["ds"]] == [START + timedelta(at) for at in range(40)]


def test_an_evaluation_begins_with_a_verdict(adsml: Adsml, tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text(rows(lambda at: f"a,{day(at)},{10 + 5 * (at % 7)}", count=70))
    ran = adsml(
        "evaluate", "forecasting", f"--data={path}", "--methods=EMA,SEASONAL_NAIVE,MEAN", "--workers=1"
    )
    assert ran.status == 0, ran.said
    assert ran.out.startswith("The ensemble did ")
    assert "(seasonal naive)" in ran.out


def test_what_else_can_be_wrong_with_an_evaluation(adsml: Adsml, tmp_path: Path) -> None:
    good, other = tmp_path / "a.csv", tmp_path / "b.csv"
    good.write_text(rows(lambda at: f"a,{day(at)},5"))
    other.write_text(rows(lambda at: f"b,{day(40 + at)},5", count=7))
    absent = adsml("evaluate", "forecasting", f"--data={tmp_path / 'none.csv'}")
    assert (absent.status, "there is no such file" in absent.said) == (42, True)
    stranger = adsml("evaluate", "forecasting", f"--data={good}", f"--test={other}")
    assert (stranger.status, "series 'b' is not in the data file" in stranger.said) == (42, True)
    method = adsml("evaluate", "forecasting", f"--data={good}", "--methods=EMA,ORACLE")
    assert (method.status, "'ORACLE' is no method; expected PROPHET" in method.said) == (42, True)
