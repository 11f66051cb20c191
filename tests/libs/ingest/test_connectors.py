"""What is particular to Airbyte's and Fivetran's ways of keeping rows."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_common.store.accounts import AccountStore
from adsml_ingest import Clicks, ImportOptions, OnError, import_files, read_frame
from adsml_ingest.importer import scratch_store
from support.exports import as_json, insights_rows, make_account, write_csv

ROW = insights_rows(make_account())[0]


def _airbyte(path: Path, *rows: tuple[Any, dict[str, Any]]) -> Path:
    path.write_text(
        "\n".join(json.dumps({"_airbyte_extracted_at": at, "_airbyte_data": row}) for at, row in rows)
    )
    return path


@pytest.mark.parametrize(
    ("early", "late"),
    [("2026-03-09T10:00:00.000Z", "2026-03-10T09:00:00Z"), (1_772_000_000_000, 1_772_000_000_001),
     ("2026-03-09T10:00:00+02:00", "2026-03-09T09:00:00+00:00")],
)  # fmt: skip
@pytest.mark.parametrize("late_first", [False, True])
def test_of_two_syncs_the_later_counts(early: Any, late: Any, late_first: bool, tmp_path: Path) -> None:
    rows = [(early, {**ROW, "spend": "1.00"}), (late, {**ROW, "spend": "2.00"})]
    path = _airbyte(tmp_path / "sync.jsonl", *(reversed(rows) if late_first else rows))
    found, _ = read_frame(path)
    assert set(found["spend"]) == {2.0}
    assert import_files([path], config_id=1, store=None).superseded == 1


def test_one_sync_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    at = "2026-03-09T10:00:00.000Z"
    path = _airbyte(tmp_path / "sync.jsonl", (at, {**ROW, "spend": "1.00"}), (at, {**ROW, "spend": "2.00"}))
    with pytest.raises(InvalidInput, match=r"line 2: .* has spend 2 here and spend 1 in line 1"):
        read_frame(path)


def test_a_later_sync_speaks_for_the_whole_day_of_an_entity(tmp_path: Path) -> None:
    def part(age: str, spend: str) -> dict[str, Any]:
        return {**ROW, "age": age, "gender": "female", "spend": spend}

    path = _airbyte(
        tmp_path / "sync.jsonl",
        ("2026-03-09T10:00:00Z", part("18-24", "1.00")),
        ("2026-03-09T10:00:00Z", part("25-34", "5.00")),
        ("2026-03-10T10:00:00Z", part("18-24", "2.00")),
    )
    found, _ = read_frame(path)
    # People of 25 to 34 were counted otherwise meanwhile: the later sync no longer has them.
    assert set(found["spend"]) == {2.0}
    assert found["reach"].isna().all()


def test_broken_envelopes_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "sync.jsonl"
    lines = [
        json.dumps({"_airbyte_data": ROW}),
        json.dumps({"_airbyte_data": "{"}),
        json.dumps({"_airbyte_data": 5}),
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidInput) as refused:
        read_frame(path)
    assert [violation.path for violation in refused.value.violations] == [
        f"{path}, line 2",
        f"{path}, line 3",
    ]


@pytest.mark.parametrize(("clicks", "count"), [(None, 9.0), (Clicks.ALL, 9.0), (Clicks.LINK, 4.0)])
def test_which_clicks(clicks: Clicks | None, count: float, tmp_path: Path) -> None:
    path = as_json(tmp_path / "x.json", [{**ROW, "clicks": "9", "inline_link_clicks": "4"}])
    found, _ = read_frame(path, options=ImportOptions(clicks=clicks))
    assert set(found["clicks"]) == {count}


def test_link_clicks_stand_in_where_there_are_no_others(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "clicks"}
    path = as_json(tmp_path / "x.json", [{**row, "inline_link_clicks": "4"}])
    assert set(read_frame(path)[0]["clicks"]) == {4.0}
    assert "clicks are link clicks" in import_files([path], config_id=1, store=None).files[0].notes[0]


def test_leads_may_be_other_actions(tmp_path: Path) -> None:
    row = {
        **ROW,
        "actions": [{"action_type": "lead", "value": "3"}, {"action_type": "contact_total", "value": "2"}],
    }
    path = as_json(tmp_path / "x.json", [row])
    assert set(read_frame(path)[0]["leads"]) == {3.0}
    assert set(read_frame(path, options=ImportOptions(lead_actions=("contact_total",)))[0]["leads"]) == {2.0}


def test_levels_by_the_ids_that_are_there(tmp_path: Path) -> None:
    campaign = {
        name: value for name, value in ROW.items() if name.split("_")[0] not in ("ad", "adset", "actions")
    }
    path = as_json(
        tmp_path / "x.json", [{**campaign, "date_start": "2026-03-05", "date_stop": "2026-03-05"}, ROW]
    )
    found, _ = read_frame(path)
    # The campaign's own row stands; the day that only its ad has a row for is their sum.
    assert found["entity_type"].tolist() == ["ad", "adset", "campaign", "campaign"]
    assert found["date"].dt.day.tolist() == [1, 1, 1, 5]


def test_an_ad_without_its_ad_set_still_counts_for_its_campaign(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if not name.startswith("adset")}
    path = as_json(tmp_path / "x.json", [row])
    found, _ = read_frame(path)
    assert found["entity_type"].tolist() == ["ad", "campaign"]
    notes = import_files([path], config_id=1, store=None).notes
    assert notes == ("1 daily rows of campaigns are sums of what is below them, reach left out",)


BASIC = ["ad_id", "date", "account_id", "impressions", "inline_link_clicks", "spend", "reach"]
ACTIONS = ["_fivetran_id", "ad_id", "date", "index", "_fivetran_synced", "action_type", "value"]


def _fivetran(directory: Path, actions: list[list[Any]]) -> Path:
    write_csv(directory / "basic_ad.csv", BASIC, [["7", "2026-03-01", "1", 100, 10, 5.0, 60]])
    write_csv(directory / "basic_ad_actions.csv", ACTIONS, actions)
    return directory


def _action(
    kind: str, value: Any, *, index: int = 0, day: str = "2026-03-01", at: str = "2026-03-02"
) -> list[Any]:
    return ["k", "7", day, index, f"{at} 10:00:00.000", kind, value]


@pytest.mark.parametrize(
    ("actions", "leads"),
    [
        ([_action("lead", 3), _action("onsite_conversion.lead_grouped", 1, index=1),
          _action("offsite_conversion.fb_pixel_lead", 2, index=2)], 3.0),
        ([_action("onsite_conversion.lead_grouped", 1),
          _action("offsite_conversion.fb_pixel_lead", 2, index=1)], 3.0),
        # Action breakdowns list a type several times, told apart by their index.
        ([_action("lead", 3), _action("lead", 2, index=1)], 5.0),
        # Synced again, the last value counts.
        ([_action("lead", 3), _action("lead", 4, at="2026-03-05")], 4.0),
        ([_action("lead", 3), _action("lead", 3)], 3.0),
        ([_action("link_click", 9)], 0.0),
        ([], 0.0),
    ],
)  # fmt: skip
def test_leads_of_the_actions_table(actions: list[list[Any]], leads: float, tmp_path: Path) -> None:
    found, _ = read_frame(_fivetran(tmp_path, actions))
    assert found["leads"].tolist() == [leads]


def test_actions_without_a_day_are_left_out_and_said(tmp_path: Path) -> None:
    _fivetran(tmp_path, [_action("lead", 3), _action("lead", 4, day="2026-03-02")])
    assert import_files([tmp_path], config_id=1, store=None).notes == (
        "1 ad(s) with unknown parent are in no sum",
        "1 lead actions (4 leads) have no row in basic_ad for their ad and day: left out",
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_action("lead", "x")], "value 'x' is not a number"),
        ([_action("lead", -1)], "value '-1' is negative"),
        ([_action("lead", 1, day="2026-02-30")], "date '2026-02-30' is not a day"),
        (
            [_action("lead", 1), _action("lead", 2)],
            "ad 7 on 2026-03-01 has leads 2 here and leads 1 in line 2",
        ),
    ],
)
def test_bad_actions_name_their_line(rows: list[list[Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"basic_ad_actions\.csv, line {1 + len(rows)}: {said}"):
        read_frame(_fivetran(tmp_path, rows))


def test_days_are_never_loaded_without_their_leads(tmp_path: Path) -> None:
    """Not even with skip: rows whose leads could not be read would be wrong."""
    _fivetran(tmp_path, [_action("lead", 3)])
    with (tmp_path / "basic_ad_actions.csv").open("ab") as stream:
        stream.write(b'k,7,2026-03-01,"9')
    for options in (ImportOptions(), ImportOptions(on_error=OnError.SKIP)):
        with pytest.raises(InvalidInput, match="opens a quote"):
            read_frame(tmp_path, options=options)
    (tmp_path / "basic_ad_actions.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(InvalidInput, match=r"name the file basic_ad_actions\.csv"):
        read_frame(tmp_path)
    (tmp_path / "elsewhere.csv").unlink()
    with pytest.raises(InvalidInput, match="has no leads: they are in the table basic_ad_actions"):
        read_frame(tmp_path)
    assert len(read_frame(tmp_path, options=ImportOptions(assume_zero=frozenset({"leads"})))[0]) == 1


def test_of_two_versions_of_an_entity_the_last_updated_counts(tmp_path: Path) -> None:
    _fivetran(tmp_path, [])
    header = ["id", "account_id", "ad_set_id", "campaign_id", "name", "_fivetran_synced", "updated_time"]
    rows = [
        ["7", "1", "70", "700", "second", "2026-03-01T00:00:00", "2026-02-02T00:00:00"],
        ["7", "1", "70", "700", "first", "2026-03-09T00:00:00", "2026-02-01T00:00:00"],
        ["7", "1", "70", "700", "synced last", "2026-03-02T00:00:00", "2026-02-02T00:00:00"],
    ]
    write_csv(tmp_path / "ad_history.csv", header, rows)
    _, entities = read_frame(tmp_path)
    assert entities[["entity_id", "parent_id", "name"]].to_numpy().tolist() == [
        ["700", None, None], ["70", "700", None], ["7", "70", "synced last"],
    ]  # fmt: skip


def test_tables_that_are_not_needed_are_passed_over(tmp_path: Path) -> None:
    _fivetran(tmp_path, [_action("lead", 3)])
    write_csv(tmp_path / "basic_ad_action_values.csv", ACTIONS, [_action("lead", 46_787.82)])
    summary = import_files([tmp_path], config_id=1, store=None)
    assert [file.notes for file in summary.files if "holds nothing that is needed" in str(file.notes)] != []
    assert read_frame(tmp_path)[0]["leads"].tolist() == [3.0]


def test_the_history_of_accounts_tells_currency_and_time_zone(tmp_path: Path) -> None:
    _fivetran(tmp_path, [_action("lead", 3)])
    header = ["id", "name", "currency", "timezone_name", "updated_time", "_fivetran_synced"]
    rows = [
        ["1", "A", "SEK", "Europe/Stockholm", "2026-02-01", "2026-03-01"],
        ["1", "A", "EUR", "Europe/Helsinki", "2026-02-02", "2026-03-01"],
    ]
    write_csv(tmp_path / "account_history.csv", header, rows)
    with scratch_store() as (store, _):
        import_files([tmp_path], config_id=1, store=store)
        [account] = [one.account for one in AccountStore(store._database).list()]
        assert (account.account_id, account.currency_code, account.time_zone) == (
            "1",
            "EUR",
            "Europe/Helsinki",
        )
        write_csv(
            tmp_path / "account_history.csv",
            header,
            [["1", "A", "USD", "America/New_York", "2026-03-02", ""]],
        )
        with pytest.raises(InvalidInput) as refused:
            import_files([tmp_path], config_id=1, store=store)
    assert {one.path for one in refused.value.violations} == {"currency", "time_zone"}


def test_histories_alone_give_the_tree(tmp_path: Path) -> None:
    header = ["id", "account_id", "campaign_id", "name", "_fivetran_synced", "updated_time"]
    write_csv(
        tmp_path / "ad_set_history.csv", header, [["70", "1", "700", "Broad", "2026-03-01", "2026-03-01"]]
    )
    rows, entities = read_frame(tmp_path)
    assert rows.empty
    assert entities["entity_id"].tolist() == ["700", "70"]


def test_parquet_tables(tmp_path: Path) -> None:
    day = {
        "ad_id": [7], "date": pd.to_datetime(["2026-03-01"]).date, "spend": [5.0], "impressions": [9],
        "inline_link_clicks": [1], "_fivetran_synced": pd.to_datetime(["2026-03-02"]),
    }  # fmt: skip
    action = {"ad_id": ["7"], "date": ["2026-03-01"], "action_type": ["lead"], "value": [2.0], "index": [0]}
    pd.DataFrame(day).to_parquet(tmp_path / "basic_ad.parquet")
    pd.DataFrame(action).to_parquet(tmp_path / "basic_ad_actions.parquet")
    found, _ = read_frame(tmp_path)
    assert found[["entity_id", "leads"]].to_numpy().tolist() == [["7", 2.0]]
