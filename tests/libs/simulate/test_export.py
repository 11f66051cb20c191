"""Exports hold what the account holds, in the platform's own form."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_simulate import SimulatedAccount
from adsml_simulate.export import ExportFormat, write_export, write_truth

LAST_DAY = date(2026, 6, 30)


def pages(folder: Path, level: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "insights").glob(f"{level}-*.json"))]


@pytest.mark.parametrize("level", ["campaign", "adset", "ad"])
def test_insights_pages_give_the_daily_frame_back(
    lively: SimulatedAccount, tmp_path: Path, level: str
) -> None:
    write_export(lively, tmp_path / "out")
    rows = [row for page in pages(tmp_path / "out", level) for row in page["data"]]
    read = pd.DataFrame(
        {
            "entity_id": [row[f"{level}_id"] for row in rows],
            "date": pd.to_datetime([row["date_start"] for row in rows]),
            "spend": [float(row["spend"]) for row in rows],
            "impressions": [float(row["impressions"]) for row in rows],
            "clicks": [float(row["clicks"]) for row in rows],
            "leads": [leads(row)["lead"] for row in rows],
            "reach": [float(row["reach"]) for row in rows],
        }
    ).astype({"date": "datetime64[ns]"})
    own = (
        lively.daily[lively.daily["entity_type"] == level].drop(columns="entity_type").reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(read, own)
    assert all(row["date_start"] == row["date_stop"] for row in rows)


def leads(row: dict[str, Any]) -> dict[str, float]:
    counts = {a["action_type"]: float(a["value"]) for a in row.get("actions", [])}
    assert all(isinstance(a["value"], str) for a in row.get("actions", []))
    parts = ("onsite_conversion.lead_grouped", "offsite_conversion.fb_pixel_lead")
    assert counts.get("lead", 0.0) == sum(counts.get(name, 0.0) for name in parts)
    return {"lead": counts.get("lead", 0.0), **{name: counts.get(name, 0.0) for name in parts}}


def test_pages_look_like_the_platforms(lively: SimulatedAccount, tmp_path: Path) -> None:
    written = write_export(lively, tmp_path / "out", page_rows=300)
    read = pages(tmp_path / "out", "ad")
    assert [len(page["data"]) for page in read[:-1]] == [300] * (len(read) - 1)
    assert 0 < len(read[-1]["data"]) <= 300
    for page in read[:-1]:
        assert page["paging"]["cursors"]["after"] in page["paging"]["next"]
    assert "next" not in read[-1]["paging"]
    rows = [row for page in read for row in page["data"]]
    numbers = ("spend", "impressions", "clicks", "reach", "inline_link_clicks")
    assert all(isinstance(row[name], str) for row in rows for name in numbers)
    assert any("actions" not in row for row in rows)
    parts = pd.DataFrame([leads(row) for row in rows]).sum()
    assert parts["onsite_conversion.lead_grouped"] > 0
    assert parts["offsite_conversion.fb_pixel_lead"] > 0
    chosen = next(row for row in rows if row["clicks"] != "0")
    assert float(chosen["ctr"]) == pytest.approx(
        100 * int(chosen["clicks"]) / int(chosen["impressions"]), abs=1e-6
    )
    assert float(chosen["cpc"]) == pytest.approx(float(chosen["spend"]) / int(chosen["clicks"]), abs=1e-6)
    assert written.rows == len(lively.daily)
    assert all(path.is_file() for path in written.files)


def test_a_last_page_that_is_exactly_full_is_the_last(lively: SimulatedAccount, tmp_path: Path) -> None:
    campaigns = int((lively.daily["entity_type"] == "campaign").sum())
    write_export(lively, tmp_path / "out", page_rows=campaigns)
    (page,) = pages(tmp_path / "out", "campaign")
    assert len(page["data"]) == campaigns
    assert "next" not in page["paging"]


def test_tidy_csv_gives_the_daily_frame_back(lively: SimulatedAccount, tmp_path: Path) -> None:
    write_export(lively, tmp_path / "out", export_format=ExportFormat.CSV)
    read = pd.read_csv(
        tmp_path / "out" / "daily.csv", dtype={"entity_id": str, "parent_id": str}, parse_dates=["date"]
    )
    parents = {(e.ref.entity_type.value, e.ref.entity_id): e.parent_id for e in lively.entities}
    for row in read.sample(200, random_state=1).itertuples():
        parent = parents[row.entity_type, row.entity_id]
        assert (parent is None and pd.isna(row.parent_id)) or row.parent_id == parent
    pd.testing.assert_frame_equal(
        read[list(lively.daily.columns)], lively.daily, check_dtype=False, check_exact=True
    )


def test_changes_are_written_as_json_and_csv(lively: SimulatedAccount, tmp_path: Path) -> None:
    write_export(lively, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "changes.json").read_text())["changes"]
    assert [(row["date"], row["entity_id"], row["change_type"], row["detail"]) for row in told] == [
        (e.date.isoformat(), e.entity.entity_id, e.change_type.value, e.detail) for e in lively.changes
    ]
    table = pd.read_csv(tmp_path / "out" / "changes.csv", dtype=str)
    assert [json.loads(cell) for cell in table["detail"]] == [row["detail"] for row in told]
    assert list(table["config_id"]) == ["1"] * len(told)


def test_an_export_as_of_a_day_knows_nothing_later(lively: SimulatedAccount, tmp_path: Path) -> None:
    day = LAST_DAY - timedelta(days=30)
    write_export(lively, tmp_path / "out", as_of=day)
    rows = [row for page in pages(tmp_path / "out", "campaign") for row in page["data"]]
    assert max(row["date_start"] for row in rows) == day.isoformat()
    seen = lively.as_of(day)
    assert (
        sum(leads(row)["lead"] for row in rows) == seen.loc[seen["entity_type"] == "campaign", "leads"].sum()
    )
    told = json.loads((tmp_path / "out" / "changes.json").read_text())["changes"]
    assert len(told) == sum(e.date <= day for e in lively.changes) < len(lively.changes)


def test_a_folder_with_something_in_it_is_refused(lively: SimulatedAccount, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InvalidInput, match="not empty"):
        write_export(lively, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InvalidInput, match="as_of"):
        write_export(lively, tmp_path / "new", as_of=LAST_DAY + timedelta(days=9))
    assert not (tmp_path / "new").exists()


def test_truth_is_written_as_tables(lively: SimulatedAccount, tmp_path: Path) -> None:
    files = write_truth(lively, tmp_path)
    rows = {path.stem: len(pd.read_csv(path)) for path in files}
    truth = lively.truth
    assert rows == {
        "entities": len(truth.entities),
        "effects": len(truth.effects),
        "anomalies": 0,
    }
