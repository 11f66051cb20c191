"""Change events: one per entity, day and kind."""

from datetime import date

import pytest
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.store.changes import ChangeStore
from adsml_common.store.counts import UpsertCounts

ADSET = EntityRef(1, EntityType.ADSET, "s")
AD = EntityRef(1, EntityType.AD, "a")
DAY = date(2024, 3, 1)


@pytest.fixture
def store(database: Database) -> ChangeStore:
    return ChangeStore(database)


def test_what_goes_in_comes_out_by_day(store: ChangeStore) -> None:
    events = [
        ChangeEvent(AD, ChangeType.PAUSE, DAY),
        ChangeEvent(ADSET, ChangeType.AUDIENCE_CHANGE, DAY, {"from": "été", "share": 0.5}),
        ChangeEvent(ADSET, ChangeType.BUDGET_CHANGE, DAY, {"budget_before": 50.0, "budget_after": 80.0}),
        ChangeEvent(AD, ChangeType.REACTIVATE, date(2024, 3, 9)),
    ]
    assert store.upsert(reversed(events)) == UpsertCounts(inserted=4)
    assert store.list(1) == events
    assert store.list(1, entity=ADSET) == events[1:3]
    assert store.list(1, start=date(2024, 3, 2)) == events[3:]
    assert store.list(1, end=DAY) == events[:3]
    assert store.list(2) == []


def test_the_same_again_changes_nothing(store: ChangeStore) -> None:
    event = ChangeEvent(ADSET, ChangeType.BUDGET_CHANGE, DAY, {"budget_after": 80.0})
    store.upsert([event])
    assert store.upsert([event]) == UpsertCounts(unchanged=1)


def test_a_later_word_on_the_same_change_replaces_its_detail(store: ChangeStore) -> None:
    store.upsert([ChangeEvent(ADSET, ChangeType.BUDGET_CHANGE, DAY, {"budget_after": 80.0})])
    later = ChangeEvent(ADSET, ChangeType.BUDGET_CHANGE, DAY, {"budget_after": 90.0})
    paused = ChangeEvent(ADSET, ChangeType.PAUSE, DAY)
    assert store.upsert([paused, later]) == UpsertCounts(inserted=1, updated=1)
    assert store.list(1) == [later, paused]


def test_many_events_in_chunks(store: ChangeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsml_common.store.changes._CHUNK", 7)
    events = [
        ChangeEvent(EntityRef(1, EntityType.AD, f"{i:03d}"), ChangeType.CREATIVE_CHANGE, DAY)
        for i in range(40)
    ]
    assert store.upsert(events) == UpsertCounts(inserted=40)
    assert store.list(1) == events


def test_an_unusable_id_is_refused_and_nothing_is_written(store: ChangeStore) -> None:
    bad = ChangeEvent(EntityRef(1, EntityType.AD, ""), ChangeType.PAUSE, DAY)
    with pytest.raises(InvalidInput, match=r"changes\[1\]\.entity\.entity_id"):
        store.upsert([ChangeEvent(AD, ChangeType.PAUSE, DAY), bad])
    assert store.list(1) == []
