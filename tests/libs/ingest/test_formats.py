"""One made-up account in every format: whatever it is written as, the same rows come out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adsml_ingest import Format, import_files, read_frame
from pandas.testing import assert_frame_equal
from support.exports import Account, as_json, insights_rows, make_account, tidy_csv, write_csv

ACCOUNT = make_account()


def _check(path: Path, kind: Format, *, reach: bool = True) -> None:
    rows, entities = read_frame(path)
    expected = ACCOUNT.summed()
    assert_frame_equal(rows, expected if reach else expected.assign(reach=float("nan")))
    told = dict(zip(entities["entity_id"], entities["parent_id"], strict=True))
    assert {child: told[child] for child in ACCOUNT.parent} == dict(ACCOUNT.parent)
    summary = import_files([path], config_id=1, store=None)
    assert {file.format for file in summary.files} == {kind}
    assert summary.built["adset"] == (rows["entity_type"] == "adset").sum()


def test_tidy_csv(tmp_path: Path) -> None:
    rows = ACCOUNT.summed()
    path = tidy_csv(tmp_path / "tidy.csv", rows, ACCOUNT.parent)
    found, _ = read_frame(path)
    assert_frame_equal(found, rows)


def test_tidy_parquet(tmp_path: Path) -> None:
    rows = ACCOUNT.summed()
    rows.assign(parent_id=rows["entity_id"].map(ACCOUNT.parent)).to_parquet(tmp_path / "tidy.parquet")
    found, entities = read_frame(tmp_path / "tidy.parquet")
    assert_frame_equal(found, rows)
    assert set(entities["parent_id"].dropna()) == set(ACCOUNT.parent.values())


def _page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": rows, "paging": {"cursors": {"before": "MAZDZD", "after": "NzIZD"}}}


def _lines(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


INSIGHTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "page": lambda rows: json.dumps(_page(rows)),
    "pretty page": lambda rows: json.dumps(_page(rows), indent=2),
    "list of rows": lambda rows: json.dumps(rows, indent=1),
    "list of pages": lambda rows: json.dumps([_page(rows[:5]), _page(rows[5:])], indent=2),
    "json lines": _lines,
    "one page per line": lambda rows: _lines([_page(rows[:5]), _page(rows[5:])]),
    "pages one after the other": lambda rows: "\n".join(
        json.dumps(_page(part), indent=2) for part in (rows[:3], rows[3:])
    ),
    "paging first": lambda rows: json.dumps(
        {"paging": {"cursors": {"before": "x"}}, "summary": {"spend": "1"}, "data": rows}
    ),
}


@pytest.mark.parametrize("shape", INSIGHTS)
def test_insights_json(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "insights.json"
    path.write_text(INSIGHTS[shape](insights_rows(ACCOUNT)), encoding="utf-8")
    _check(path, Format.INSIGHTS)


def test_insights_names_and_objective(tmp_path: Path) -> None:
    _, entities = read_frame(as_json(tmp_path / "insights.json", insights_rows(ACCOUNT)))
    assert dict(zip(entities["entity_id"], entities["name"], strict=True)) == dict(ACCOUNT.name)
    by_level = entities.groupby("entity_type")["objective"].agg(set)
    assert by_level["campaign"] == {"OUTCOME_LEADS"}
    assert by_level["ad"] == {None}


def _airbyte_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Airbyte turns the API's texts into numbers."""
    out = {**row, **{name: float(row[name]) for name in ("spend", "impressions", "clicks", "reach")}}
    if "actions" in row:
        out["actions"] = [{**action, "value": float(action["value"])} for action in row["actions"]]
    return out


AIRBYTE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "protocol message": lambda row: {
        "type": "RECORD",
        "record": {"stream": "ads_insights", "data": _airbyte_numbers(row), "emitted_at": 1_772_000_000_000},
    },
    "raw table, version 1": lambda row: {
        "_airbyte_ab_id": "0c1b2c3d", "_airbyte_emitted_at": 1_772_000_000_000,
        "_airbyte_data": _airbyte_numbers(row),
    },
    "raw table, version 2": lambda row: {
        "_airbyte_raw_id": "0c1b2c3d", "_airbyte_extracted_at": "2026-03-09T10:00:00.000Z",
        "_airbyte_loaded_at": None, "_airbyte_meta": {"changes": []},
        "_airbyte_data": json.dumps(_airbyte_numbers(row)),
    },
    "flattened": lambda row: {
        "_airbyte_raw_id": "0c1b2c3d", "_airbyte_extracted_at": "2026-03-09T10:00:00.000Z",
        **_airbyte_numbers(row),
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", AIRBYTE)
def test_airbyte_json_lines(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    messages: list[Any] = [AIRBYTE[shape](row) for row in insights_rows(ACCOUNT)]
    if shape == "protocol message":
        messages.insert(0, {"type": "LOG", "log": {"level": "INFO", "message": "starting"}})
        messages.append({"type": "STATE", "state": {"data": {}}})
        messages.append({"type": "RECORD", "record": {"stream": "ads", "data": {"id": "1"}, "emitted_at": 1}})
    path.write_text(_lines(messages), encoding="utf-8")
    _check(path, Format.AIRBYTE)


@pytest.mark.parametrize("capitals", [False, True])
def test_airbyte_flattened_csv(capitals: bool, tmp_path: Path) -> None:
    rows = [AIRBYTE["flattened"](row) for row in insights_rows(ACCOUNT)]
    header = list(dict.fromkeys(name for row in rows for name in row))
    cells = [
        [json.dumps(row[name]) if name == "actions" and name in row else row.get(name, "") for name in header]
        for row in rows
    ]
    names = [name.upper() for name in header] if capitals else header
    _check(write_csv(tmp_path / "flat.csv", names, cells), Format.AIRBYTE)


def test_airbyte_raw_csv(tmp_path: Path) -> None:
    header = ["_airbyte_ab_id", "_airbyte_emitted_at", "_airbyte_data"]
    cells = [["0c1b", 1_772_000_000_000, json.dumps(_airbyte_numbers(row))] for row in insights_rows(ACCOUNT)]
    _check(write_csv(tmp_path / "raw.csv", header, cells), Format.AIRBYTE)


@pytest.mark.parametrize("actions_as", ["list", "text"])
def test_airbyte_parquet(actions_as: str, tmp_path: Path) -> None:
    rows = [AIRBYTE["flattened"](row) for row in insights_rows(ACCOUNT)]
    frame = pd.DataFrame(rows).assign(date_start=lambda f: pd.to_datetime(f["date_start"]).dt.date)
    if actions_as == "text":
        frame["actions"] = [
            None if not isinstance(cell, list) else json.dumps(cell) for cell in frame["actions"]
        ]
    frame["_airbyte_extracted_at"] = pd.to_datetime(frame["_airbyte_extracted_at"])
    frame["_airbyte_meta"] = None
    frame.to_parquet(tmp_path / "flat.parquet")
    _check(tmp_path / "flat.parquet", Format.AIRBYTE)


FIVETRAN_ACCOUNT = "1700252260223815"


def fivetran(directory: Path, account: Account = ACCOUNT) -> Path:
    """The connector's tables."""
    daily, actions = [], []
    for index, row in enumerate(account.rows()):
        day = row["date"].strftime("%Y-%m-%d")
        daily.append(
            [row["ad"], day, FIVETRAN_ACCOUNT, row["impressions"], row["clicks"], row["spend"], row["reach"]]
        )
        leads = row["leads"]
        parts = [("offsite_conversion.fb_pixel_lead", leads - 1), ("onsite_conversion.lead_grouped", 1)]
        listed = [("lead", leads), *parts] if index % 2 else parts
        for place, (kind, value) in enumerate([("link_click", 4), *(listed if leads else [])]):
            actions.append(
                ["2jmj7l5rSw0yVb", row["ad"], day, place, "2026-03-09 18:41:01.193000", kind, value]
            )
    write_csv(
        directory / "basic_ad.csv",
        ["ad_id", "date", "account_id", "impressions", "inline_link_clicks", "spend", "reach"],
        daily,
    )
    write_csv(
        directory / "basic_ad_actions.csv",
        ["_fivetran_id", "ad_id", "date", "index", "_fivetran_synced", "action_type", "value"],
        actions,
    )
    ads = [i for i in account.parent if account.parent[i] in account.parent]
    stamps = ["2026-03-01T14:21:04.468", "2026-02-21T17:57:38"]
    write_csv(
        directory / "ad_history.csv",
        [
            "id",
            "account_id",
            "ad_set_id",
            "campaign_id",
            "creative_id",
            "name",
            "_fivetran_synced",
            "updated_time",
        ],
        [
            [
                i,
                FIVETRAN_ACCOUNT,
                account.parent[i],
                account.parent[account.parent[i]],
                9,
                account.name[i],
                *stamps,
            ]
            for i in ads
        ],
    )
    write_csv(
        directory / "ad_set_history.csv",
        ["id", "account_id", "campaign_id", "name", "_fivetran_synced", "updated_time"],
        [
            [i, FIVETRAN_ACCOUNT, account.parent[i], account.name[i], *stamps]
            for i in account.parent
            if i not in ads
        ],
    )
    write_csv(
        directory / "campaign_history.csv",
        ["id", "account_id", "name", "_fivetran_synced", "updated_time", "daily_budget", "status"],
        [
            [i, FIVETRAN_ACCOUNT, account.name[i], *stamps, 5000 if at else "", "ACTIVE"]
            for at, i in enumerate(sorted(set(account.parent.values()) - set(account.parent)))
        ],
    )
    return directory


def test_fivetran_directory(tmp_path: Path) -> None:
    fivetran(tmp_path)
    _check(tmp_path, Format.FIVETRAN)
    _, entities = read_frame(tmp_path)
    assert dict(zip(entities["entity_id"], entities["name"], strict=True)) == dict(ACCOUNT.name)
    shares = entities[entities["entity_type"] == "adset"].set_index("parent_id")["shares_budget"].to_dict()
    assert list(shares.values()) == [False, True]  # the second campaign alone has a budget of its own
    assert set(entities[entities["entity_type"] == "campaign"]["status"]) == {"ACTIVE"}


ENGLISH = ["Campaign name", "Campaign ID", "Ad set name", "Ad set ID", "Ad name", "Ad ID", "Day"]
ENGLISH += ["Amount spent (EUR)", "Impressions", "Reach", "Clicks (all)", "Link clicks", "Leads"]


def ads_manager_cells(account: Account) -> list[list[Any]]:
    """Rows under `ENGLISH`, numbers with thousands separators."""
    return [
        [
            account.name[row["campaign"]], row["campaign"], account.name[row["adset"]], row["adset"],
            account.name[row["ad"]], row["ad"], row["date"].strftime("%Y-%m-%d"), f"{row['spend']:,.2f}",
            f"{row['impressions']:,.0f}", f"{row['reach']:,.0f}", f"{row['clicks']:.0f}", "--",
            f"{row['leads']:.0f}" if row["leads"] else "",
        ]
        for row in account.rows()
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_ads_manager_csv(encoding: str, tmp_path: Path) -> None:
    total = ["", "", "", "", "", "", "", "123,456.78", "9,999", "--", "1", "", ""]
    path = write_csv(
        tmp_path / "report.csv", ENGLISH, [*ads_manager_cells(ACCOUNT), total], encoding=encoding
    )
    _check(path, Format.ADS_MANAGER)
    summary = import_files([path], config_id=1, store=None)
    assert summary.files[0].totals == 1
    assert summary.currency == "EUR"


def test_files_of_one_account_together(tmp_path: Path) -> None:
    rows = insights_rows(ACCOUNT)
    first = as_json(tmp_path / "a.json", rows[:10])
    second = as_json(tmp_path / "b.json", _page(rows[10:]))
    found, _ = read_frame([first, second])
    assert_frame_equal(found, ACCOUNT.summed())
