"""Entities: what is unknown never erases what is known."""

import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import FRAME_COLUMNS, EntityStore

CAMPAIGN = EntityRef(1, EntityType.CAMPAIGN, "c")
ADSET = EntityRef(1, EntityType.ADSET, "s")


@pytest.fixture
def store(database: Database) -> EntityStore:
    return EntityStore(database)


def test_what_goes_in_comes_out(store: EntityStore) -> None:
    entity = Entity(ADSET, "c", "Spring — été 🌱", "ACTIVE", "LEAD_GENERATION", True)
    assert store.upsert([entity]) == UpsertCounts(inserted=1)
    assert store.get(ADSET) == entity


def test_unknown_does_not_erase_what_is_known(store: EntityStore) -> None:
    store.upsert([Entity(ADSET, "c", "Spring", "ACTIVE", shares_budget=False)])
    assert store.upsert([Entity(ADSET, status="PAUSED", objective="LEADS")]) == UpsertCounts(updated=1)
    assert store.get(ADSET) == Entity(ADSET, "c", "Spring", "PAUSED", "LEADS", False)


def test_the_same_again_changes_nothing(store: EntityStore) -> None:
    entities = [Entity(ADSET, "c", "Spring"), Entity(CAMPAIGN, name="All")]
    store.upsert(entities)
    assert store.upsert([*entities, Entity(ADSET)]) == UpsertCounts(unchanged=2)


def test_one_named_twice_counts_once_and_the_later_word_wins(store: EntityStore) -> None:
    counts = store.upsert([Entity(ADSET, name="old", status="ACTIVE"), Entity(ADSET, name="new")])
    assert counts == UpsertCounts(inserted=1)
    assert store.get(ADSET) == Entity(ADSET, name="new", status="ACTIVE")


def test_more_than_one_chunk(store: EntityStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsml_common.store.entities._CHUNK", 7)
    entities = [Entity(EntityRef(1, EntityType.AD, f"{i:02d}"), name=str(i)) for i in range(50)]
    assert store.upsert(entities) == UpsertCounts(inserted=50)
    assert store.upsert(entities[:30]) == UpsertCounts(unchanged=30)
    assert store.list(1) == entities


def test_list_filters_and_sorts(store: EntityStore) -> None:
    ads = [Entity(EntityRef(1, EntityType.AD, name), parent_id="s") for name in ("Z", "a", "é")]
    other = Entity(EntityRef(1, EntityType.AD, "b"), parent_id="t")
    elsewhere = Entity(EntityRef(2, EntityType.AD, "a"), parent_id="s")
    store.upsert([elsewhere, other, *reversed(ads), Entity(CAMPAIGN)])
    assert store.list(1, parent_id="s") == ads
    assert store.list(1, entity_type=EntityType.CAMPAIGN) == [Entity(CAMPAIGN)]
    assert store.list(1, entity_ids=["b", "Z", "nobody"]) == [ads[0], other]
    assert store.list(3) == []


def test_an_unknown_one_is_not_found(store: EntityStore) -> None:
    with pytest.raises(NotFound, match="adset s of account 1"):
        store.get(ADSET)


def test_frame(store: EntityStore) -> None:
    assert list(store.frame(1).columns) == list(FRAME_COLUMNS)
    assert store.frame(1).empty
    store.upsert([Entity(ADSET, "c", "Spring", shares_budget=True), Entity(CAMPAIGN)])
    frame = store.frame(1)
    assert frame.to_dict("records") == [
        {
            "entity_type": "adset",
            "entity_id": "s",
            "parent_id": "c",
            "name": "Spring",
            "status": None,
            "objective": None,
            "shares_budget": True,
        },
        {"entity_type": "campaign", "entity_id": "c"}
        | dict.fromkeys(["parent_id", "name", "status", "objective", "shares_budget"]),
    ]


@pytest.mark.parametrize(
    ("entity", "place"),
    [
        (Entity(EntityRef(0, EntityType.AD, "1")), "config_id"),
        (Entity(EntityRef(1, EntityType.AD, "")), "entities[0].entity_id"),
        (Entity(EntityRef(1, EntityType.AD, "x" * 65)), "entities[0].entity_id"),
        (Entity(ADSET, parent_id=""), "entities[0].parent_id"),
        (Entity(ADSET, name="a\0b"), "entities[0].name"),
    ],
)
def test_what_no_database_could_hold_is_refused(store: EntityStore, entity: Entity, place: str) -> None:
    with pytest.raises(InvalidInput) as error:
        store.upsert([entity])
    assert error.value.violations[0].path == place
    assert store.list(1) == []
