"""A change log is read whole or not at all, and every fault is named with its place."""

import json
from datetime import date
from pathlib import Path

import pytest
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_ingest.change_log import KnownAccount, read_changes
from adsml_simulate import presets, simulate_account
from adsml_simulate.export import write_changes

HEADER = "entity_type,entity_id,change_type,date,budget_before,budget_after,description\n"


def written(tmp_path: Path, text: str, name: str = "changes.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as told:
        read_changes(path, account=KnownAccount(1))
    return [(one.path, one.description) for one in told.value.violations]


def test_a_row_is_an_event(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "adset,7,budget_change,2026-06-15,50,80.5,for the fair\n")
    assert read_changes(path, account=KnownAccount(1)).events == [
        ChangeEvent(
            EntityRef(1, EntityType.ADSET, "7"),
            ChangeType.BUDGET_CHANGE,
            date(2026, 6, 15),
            {"budget_before": 50.0, "budget_after": 80.5, "description": "for the fair"},
        )
    ]


@pytest.mark.parametrize("kind", ["changes.csv", "changes.json"])
def test_what_the_simulator_exports_comes_back(tmp_path: Path, kind: str) -> None:
    account = simulate_account(presets.demo(last_day=date(2026, 6, 30), config_id=1, days=60), seed=2)
    write_changes(list(account.changes), tmp_path)
    assert read_changes(tmp_path / kind, account=KnownAccount(1)).events == list(account.changes)


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        HEADER + "adset,7,pause,2026-06-15,,,\nshop,,budget,2026-13-01,,,\nad,9,pause,2026-06-15,-1,x,\n",
    )
    found = faults(path)
    assert {place for place, _ in found} == {"changes.csv: line 3", "changes.csv: line 4"}
    said = " ".join(text for _, text in found)
    for name in (
        "entity_type 'shop'",
        "change_type 'budget'",
        "entity_id is empty",
        "'2026-13-01'",
        "'-1'",
        "'x'",
    ):
        assert name in said


def test_another_accounts_change_is_refused(tmp_path: Path) -> None:
    body = [
        {"config_id": 2, "entity_type": "ad", "entity_id": "9", "change_type": "pause", "date": "2026-06-15"}
    ]
    [(place, text)] = faults(written(tmp_path, json.dumps(body), "log.json"))
    assert place == "log.json: changes[0]"
    assert "config_id is 2" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entity_type,entity_id\n", "has no column change_type, date"),
        ('{"changes": 3}', "has no list of changes"),
        ("[3]", "is not an object"),
        ("{nonsense", "is not valid JSON"),
    ],
)
def test_what_is_no_change_log_says_what_was_expected(tmp_path: Path, text: str, said: str) -> None:
    assert said in faults(written(tmp_path, text))[0][1]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    [(place, text)] = faults(tmp_path / "none.csv")
    assert place.endswith("none.csv")
    assert "does not exist" in text


ACTIVITY = {"event_type": "update_ad_creative", "event_time": "2026-06-15T10:00:00+0000", "object_id": "9"}


def test_activities_come_as_pages_or_line_by_line(tmp_path: Path) -> None:
    later = {**ACTIVITY, "event_time": 1781690400}  # 2026-06-17 10:00 UTC, as a number
    text = "".join(json.dumps(one) + "\n" for one in (later, ACTIVITY))
    log = read_changes(
        written(tmp_path, text, "log.jsonl"), account=KnownAccount(1, time_zone="Europe/Berlin")
    )
    assert [(event.date, event.entity.entity_id) for event in log.events] == [
        (date(2026, 6, 15), "9"), (date(2026, 6, 17), "9"),
    ]  # fmt: skip
    page = {"data": [ACTIVITY], "paging": {"next": "https://graph.facebook.com/..."}}
    [(_, said)] = faults(written(tmp_path, json.dumps(page), "page.json"))
    assert "names a next one (paging.next)" in said


def test_a_history_whose_time_is_not_known_is_refused_with_its_line(tmp_path: Path) -> None:
    text = "Activity,Activity details,Item changed,Date and time\nAd paused,,V (ID: 1234567),yesterday\n"
    [(place, said)] = faults(written(tmp_path, text))
    assert place == "changes.csv: line 2"
    assert "'yesterday' is no time that is known" in said


def test_levels_and_kinds_may_be_written_as_people_do(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "Ad set,7,Budget change,2026-06-15,50,80,\n")
    [event] = read_changes(path, account=KnownAccount(1)).events
    assert (event.entity.entity_type, event.change_type) == (EntityType.ADSET, ChangeType.BUDGET_CHANGE)
