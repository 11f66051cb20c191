"""Broken files: each is refused with its line, its column where one is to blame, and the cure."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_ingest import DateOrder, Format, ImportOptions, import_files
from support.exports import as_json, insights_rows, make_account

TIDY = "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads"
ROWS = insights_rows(make_account())
TODAY = ImportOptions(today=date(2026, 4, 1))
GOOD = "ad,1,10,2026-03-01,12.50,900,11,2"
ADS = "Campaign name;Day;Amount spent (EUR);Impressions;Clicks (all);Leads"


@dataclass(frozen=True)
class Broken:
    """A file, and what must be said of it.

    Attributes
    ----------
    content
        Bytes, or text to be written as UTF-8.
    where
        What follows the path: the line.
    says
        Texts that the description holds, the cure among them.
    name
        Of the file.
    options
        Of the import.
    """

    content: bytes | str
    where: str
    says: tuple[str, ...]
    name: str = "broken.csv"
    options: ImportOptions = TODAY


def tidy(*rows: str, header: str = TIDY) -> str:
    return "\n".join([header, GOOD, *rows]) + "\n"


BROKEN = {
    "decimal comma": Broken(
        tidy('ad,2,10,2026-03-02,"1.250,50",900,11,2'),
        ", line 3",
        ("spend '1.250,50' is not a number", "this file uses decimal commas: pass --decimal ,"),
    ),
    "thousands separators": Broken(
        tidy('ad,2,10,2026-03-02,"1,250.50",900,11,2'), ", line 3", ("spend '1,250.50'", "pass --decimal .")
    ),
    "word for a number": Broken(
        tidy("ad,2,10,2026-03-02,1,many,11,2"), ", line 3", ("impressions 'many' is not a number", "1250.50")
    ),
    "empty number": Broken(
        tidy("ad,2,10,2026-03-02,1,900,11,"), ", line 3", ("leads is empty", "write 0 for a day without any")
    ),
    "negative": Broken(
        tidy("ad,2,10,2026-03-02,-1,900,11,2"), ", line 3", ("spend '-1' is negative", "--allow-negative")
    ),
    "not a number": Broken(
        tidy("ad,2,10,2026-03-02,NaN,900,11,2"), ", line 3", ("spend 'NaN' is not a finite number", "write 0")
    ),
    "infinite": Broken(
        tidy("ad,2,10,2026-03-02,inf,900,11,2"), ", line 3", ("spend 'inf' is not a finite number", "write 0")
    ),
    "underscores": Broken(
        tidy("ad,2,10,2026-03-02,1_000,900,11,2"), ", line 3", ("spend '1_000'", "1250.50")
    ),
    "future date": Broken(
        tidy("ad,2,10,2026-04-03,1,900,11,2"),
        ", line 3",
        ("date '2026-04-03' lies in the future", "2026-04-02"),
    ),
    "impossible date": Broken(
        tidy("ad,2,10,2026-02-30,1,900,11,2"),
        ", line 3",
        ("date '2026-02-30' is not a day of the calendar", "correct"),
    ),
    "zero as a date": Broken(
        tidy("ad,2,10,1970-01-01,1,900,11,2"), ", line 3", ("date '1970-01-01' is before 2000", "correct")
    ),
    "date with slashes": Broken(
        tidy("ad,2,10,03/02/2026,1,900,11,2"), ", line 3", ("date '03/02/2026'", "pass --date-order dmy")
    ),
    "moment": Broken(
        tidy("ad,2,10,2026-03-02T07:00:00+0000,1,900,11,2"),
        ", line 3",
        ("is a time, not a day", "account's time zone"),
    ),
    "no date": Broken(tidy("ad,2,10,,1,900,11,2"), ", line 3", ("date is empty", "YYYY-MM-DD")),
    "unknown level": Broken(
        tidy("keyword,2,10,2026-03-02,1,900,11,2"),
        ", line 3",
        ("entity_type 'keyword'", "expected campaign, adset, ad"),
    ),
    "no id": Broken(tidy("ad,,10,2026-03-02,1,900,11,2"), ", line 3", ("entity_id is empty", "needs the id")),
    "long id": Broken(
        tidy(f"ad,{'9' * 65},10,2026-03-02,1,900,11,2"), ", line 3", ("has 65 characters", "at most 64")
    ),
    "id rounded by a spreadsheet": Broken(
        tidy("ad,2.38557E+16,10,2026-03-02,1,900,11,2"),
        ", line 3",
        ("entity_id '2.38557E+16' is an id that lost its last digits", "keep the id as text"),
    ),
    "two parents": Broken(
        tidy("ad,1,11,2026-03-02,1,900,11,2"),
        ", line 3",
        ("parent_id '11' is the adset of ad 1, which belonged to 10 in an earlier row", "correct the ids"),
    ),
    "contradiction": Broken(
        tidy("ad,1,10,2026-03-01,13.50,900,11,2"),
        ", line 3",
        ("ad 1 on 2026-03-01 has spend 13.5 here and spend 12.5 in line 2", "keep one row per entity"),
    ),
    "too many cells": Broken(
        tidy("ad,2,10,2026-03-02,1,250.50,900,11,2"),
        ", line 3",
        ("has 9 cells where the header has 8", "quote cells that contain ','"),
    ),
    "too few cells": Broken(
        tidy("ad,2,10,2026-03-02,1"), ", line 3", ("has 5 cells", "write the missing cells")
    ),
    "line in a quoted cell is counted": Broken(
        tidy('ad,"two\nlines",10,2026-03-02,1,900,11,2', "ad,2,10,2026-03-02,x,900,11,2"),
        ", line 3",
        ("holds a line break", "correct the id"),
    ),
    "unclosed quote": Broken(
        tidy('ad,"2,10,2026-03-02,1,900,11,2', *["ad,3,10,2026-03-02,1,900,11,2"] * 3),
        ", line 3",
        ("opens a quote that is never closed", "close it"),
    ),
    "empty file": Broken(b"", "", ("is empty (0 bytes)", "export it again")),
    "blank lines": Broken(b"\n\n  \n", "", ("holds nothing but blank lines", "export it again")),
    "header only": Broken(TIDY + "\n", "", ("has a header but no rows", "export it again")),
    "missing column": Broken(
        f"{TIDY.removesuffix(',leads')}\nad,1,10,2026-03-01,1,900,11\n",
        ", line 1",
        ("has no column for leads; it has entity_type", "pass --assume-zero leads"),
    ),
    "duplicate column": Broken(
        f"{TIDY},Spend\n{GOOD},1\n",
        ", line 1",
        ("'Spend' is the name of columns 5 and 9", "rename or remove one"),
    ),
    "unknown table": Broken(
        "day,cost\n2026-03-01,5\n", ", line 1", ("is of no kind that is known", "expected Insights API JSON")
    ),
    "preamble": Broken(
        f"Report of March\n\n{tidy()}", ", line 1", ("is of no kind", "line 3 looks like a header: remove")
    ),
    "Windows-1252": Broken(
        tidy("ad,été,10,2026-03-02,1,900,11,2").encode("cp1252"),
        ", line 3",
        ("byte 0xe9 is not UTF-8", "pass --encoding cp1252"),
    ),
    "wrong encoding given": Broken(
        tidy("ad,été,10,2026-03-02,1,900,11,2"),
        ", line 3",
        ("byte 0xc3 is not ASCII", "pass the right --encoding"),
        options=ImportOptions(encoding="ascii"),
    ),
    "binary": Broken(bytes(range(256)) * 9, "", ("is binary, not text", "import a CSV, JSON or Parquet")),
    "workbook": Broken(b"PK\x03\x04rest", "", ("is a zip archive that can't be read", "unpack it")),
    "compressed": Broken(b"\x1f\x8brest", "", ("is a damaged gzip file", "download it again")),
    "damaged Parquet": Broken(
        b"PAR1" + b"x" * 99, "", ("is a damaged Parquet file", "export it again"), name="x.parquet"
    ),
    "truncated JSON": Broken(
        '{"data": [\n{"ad_id": "1", "date_start": "2026-03-01", "date_stop": "2026-03-01", "spend": "1",'
        ' "impressions": "5", "clicks": "0"},\n{"ad_id": "2", "date_sta',
        ", line 3",
        ("is cut off in the middle", "download or export it again"),
        name="x.json",
    ),
    "malformed JSON": Broken(
        '[\n{"ad_id": "1", "date_start": "2026-03-01", "date_stop": "2026-03-01", "spend": "1",'
        ' "impressions": "5", "clicks": "0"},\n{"ad_id": "2" "spend": "3"}\n]',
        ", line 3",
        ("is not valid JSON", "export it again"),
        name="x.json",
    ),
    "bad line of JSON lines": Broken(
        "\n".join([*(json.dumps(row) for row in ROWS[:3]), '{"ad_id": "2", "da', "{}"]),
        ", line 4",
        ("is cut off in the middle", "export it again"),
        name="x.jsonl",
    ),
    "error answer of the API": Broken(
        '{"error": {"message": "Invalid OAuth access token", "code": 190}}',
        ", line 1",
        ("is an error answer of the API: Invalid OAuth access token", "repeat the request"),
        name="x.json",
    ),
    "page without rows": Broken('{"data": []}', "", ("holds no rows", "export it again"), name="x.json"),
    "rows of periods": Broken(
        json.dumps([{**ROWS[0], "date_stop": "2026-03-31"}], indent=1),
        ", line 2",
        ("is more than one day", "time_increment=1"),
        name="x.json",
    ),
    "rows of the account": Broken(
        json.dumps(
            [{"account_id": "1", "date_start": "2026-03-01", "date_stop": "2026-03-01", "spend": "1",
              "impressions": "5"}]
        ),
        "",
        ("has no campaign_id, adset_id or ad_id: these are totals of the account", "level=ad"),
        name="x.json",
    ),
    "actions not asked for": Broken(
        json.dumps([{**ROWS[0], "actions": None}]),
        "",
        ("has clicks but no actions in any row", "request the field actions"),
        name="x.json",
    ),
    "actions are no list": Broken(
        json.dumps([{**ROWS[0], "actions": {"lead": 3}}]),
        ", line 1",
        ("actions is not a list of actions", "json.dumps"),
        name="x.json",
    ),
    "id lost digits in floating point": Broken(
        json.dumps([{**ROWS[0], "ad_id": 2.3854695759200548e16}]),
        ", line 1",
        ("ad_id '2.3854695759200548e+16' is an id that lost its last digits", "keep the id as text"),
        name="x.json",
    ),
    "several accounts": Broken(
        json.dumps([{**row, "account_id": str(9 + i % 2)} for i, row in enumerate(ROWS)]),
        "",
        ("the rows belong to 2 ad accounts: 9 (", "choose one of them with --account-id"),
        name="x.json",
    ),
    "another account": Broken(
        json.dumps(ROWS),
        "",
        ("has no row of the account asked for", "check --account-id"),
        name="x.json",
        options=ImportOptions(account_id="act_5"),
    ),
    "two currencies": Broken(
        "Campaign name,Day,Currency,Amount spent,Impressions,Clicks (all),Leads\n"
        "A,2026-03-01,EUR,1,2,1,0\nA,2026-03-02,USD,1,2,1,0\n",
        "",
        ("the money is in 2 currencies: EUR", "import each on its own"),
    ),
    "period of Ads Manager": Broken(
        "Campaign name,Reporting starts,Reporting ends,Amount spent (EUR),Impressions,Clicks (all),Leads\n"
        "A,2026-03-01,2026-03-31,1,2,1,0\n",
        ", line 2",
        ("Reporting starts '2026-03-01' to 2026-03-31 is more than one day", "Breakdown > By time > Day"),
    ),
    "only totals": Broken(f"{ADS}\n;;1;2;1;0\n", "", ("has no rows but totals (1)", "export it by day")),
    "unclear dates": Broken(
        f"{ADS}\nA;01/02/2026;1;2;1;0\n".replace(";", ","),
        ", line 1",
        ("Day holds dates such as 01/02/2026 that can be read two ways", "--date-order dmy"),
    ),
    "unclear numbers": Broken(
        "Jour;Nom de la campagne;Montant dépensé (EUR);Impressions;Clics (tous);Prospects\n"
        "01/02/2026;A;1.250;2;1;0\n",
        ", line 1",
        ("Montant dépensé (EUR) can be read two ways", "pass --decimal , or --decimal ."),
    ),
    "wrong kind forced": Broken(
        tidy(), ", line 1", ("has no headers of Ads Manager", "--column spend=Header"),
        options=ImportOptions(format=Format.ADS_MANAGER),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file_names_place_and_cure(kind: str, tmp_path: Path) -> None:
    broken = BROKEN[kind]
    path = tmp_path / broken.name
    path.write_bytes(broken.content.encode() if isinstance(broken.content, str) else broken.content)
    with pytest.raises(InvalidInput) as refused:
        import_files([path], config_id=1, store=None, options=broken.options)
    found = refused.value.violations
    match = [v for v in found if v.path in (f"{path}{broken.where}", broken.where)]
    assert match, [f"{v.path}: {v.description}" for v in found]
    for text in broken.says:
        assert any(text in violation.description for violation in match), [v.description for v in match]


def test_every_bad_row_is_counted_and_the_first_few_shown(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text(tidy(*(f"ad,{i},10,2026-03-02,x,900,11,2" for i in range(2, 102))))
    with pytest.raises(InvalidInput) as refused:
        import_files([path], config_id=1, store=None)
    *shown, rest = refused.value.violations
    assert [violation.path for violation in shown] == [f"{path}, line {line}" for line in range(3, 8)]
    assert rest.description == "95 more rows like line 7"


def test_all_that_is_wrong_with_a_row_is_said(tmp_path: Path) -> None:
    path = tmp_path / "row.csv"
    path.write_text(tidy("ad,2,10,2026-02-30,-1,x,11,2"))
    with pytest.raises(InvalidInput) as refused:
        import_files([path], config_id=1, store=None)
    assert len(refused.value.violations) == 3


def test_all_files_are_looked_at(tmp_path: Path) -> None:
    bad = [tmp_path / f"{name}.csv" for name in "ab"]
    for path in bad:
        path.write_text(tidy("ad,2,10,2026-03-02,x,900,11,2"))
    with pytest.raises(InvalidInput) as refused:
        import_files([*bad, tmp_path / "absent.csv"], config_id=1, store=None)
    assert {v.path for v in refused.value.violations} == {
        f"{bad[0]}, line 3", f"{bad[1]}, line 3", str(tmp_path / "absent.csv"),
    }  # fmt: skip


def test_more_clicks_than_impressions_warn(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(tidy("ad,2,10,2026-03-02,1,5,11,2"))
    summary = import_files([path], config_id=1, store=None)
    assert summary.warnings == (
        f"{path}, line 3: clicks '11' are more than the 5 impressions; loaded as they are",
    )
    assert summary.rows_rejected == 0


def test_parquet_names_the_row(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "entity_type": "ad", "entity_id": [str(i) for i in range(9)], "date": pd.Timestamp("2026-03-01"),
            "spend": [1.0] * 8 + [-1.0], "impressions": 5, "clicks": 1, "leads": 0,
        }
    )  # fmt: skip
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InvalidInput, match=r"row 9: spend '-1.0' is negative"):
        import_files([tmp_path / "rows.parquet"], config_id=1, store=None)


def test_options_that_can_never_work_are_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        ImportOptions(decimal=";", encoding="klingon", assume_zero=frozenset({"spend"}))
    assert [violation.path for violation in refused.value.violations] == [
        "decimal",
        "assume_zero",
        "encoding",
    ]


@pytest.mark.parametrize("order", ["dmy", "mdy"])
def test_the_cure_for_dates_cures(order: str, tmp_path: Path) -> None:
    path = tmp_path / "dates.csv"
    path.write_text(f"{TIDY}\nad,2,10,03/02/2026,1,900,11,2\n")
    options = ImportOptions(date_order=DateOrder(order))
    summary = import_files([path], config_id=1, store=None, options=options)
    assert summary.first_day == (date(2026, 2, 3) if order == "dmy" else date(2026, 3, 2))


CURES: dict[str, tuple[Callable[[Path], Path], ImportOptions]] = {
    "decimal comma": (
        lambda path: _write(path, tidy('ad,2,10,2026-03-02,"1.250,50",900,11,2').replace("12.50", '"12,50"')),
        ImportOptions(decimal=","),
    ),
    "thousands": (
        lambda path: _write(path, tidy('ad,2,10,2026-03-02,"1,250.50",900,11,2')),
        ImportOptions(decimal="."),
    ),
    "encoding": (
        lambda path: _write(path, tidy('ad,é,10,2026-03-02,1250.50,900,11,2').encode("cp1252")),
        ImportOptions(encoding="cp1252"),
    ),
    "assume zero": (
        lambda path: _write(
            path, "entity_type,entity_id,date,spend,impressions,clicks\nad,2,2026-03-02,1263,9,1\n"
        ),
        ImportOptions(assume_zero=frozenset({"leads"})),
    ),
    "account": (
        lambda path: as_json(path, [{**ROWS[0], "account_id": str(i), "spend": "1263"} for i in (8, 9)]),
        ImportOptions(account_id="act_9"),
    ),
}  # fmt: skip


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("cure", CURES)
def test_the_cure_that_is_named_cures(cure: str, tmp_path: Path) -> None:
    write, options = CURES[cure]
    path = write(tmp_path / "cured.csv")
    with pytest.raises(InvalidInput):
        import_files([path], config_id=1, store=None)
    summary = import_files([path], config_id=1, store=None, options=options)
    assert summary.rows["ad"] >= 1
    assert summary.rows_rejected == 0
