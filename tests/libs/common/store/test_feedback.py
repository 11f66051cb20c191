"""Feedback: appended, never changed; the last word counts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import Feedback, FeedbackStore

ADSET = EntityRef(1, EntityType.ADSET, "s")
AD = EntityRef(1, EntityType.AD, "a")
DAY = date(2024, 3, 1)
WORD = Feedback(
    "classifier", ADSET, DAY, "ada", "low", "saw it", recorded_at=datetime(2024, 3, 2, 9, 30, tzinfo=UTC)
)


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    EntityStore(database).upsert([Entity(ADSET), Entity(AD)])
    return FeedbackStore(database)


def test_what_goes_in_comes_out(store: FeedbackStore) -> None:
    assert store.record(WORD) == (True, None)
    assert store.latest("classifier", 1) == [WORD]
    assert store.latest("anomaly", 1) == []
    assert store.latest("classifier", 2) == []


def test_a_retry_is_harmless(store: FeedbackStore) -> None:
    store.record(WORD)
    assert store.record(replace(WORD, recorded_at=datetime.now(UTC))) == (False, WORD)
    assert store.history("classifier", 1) == [WORD]


def test_the_last_word_counts_and_the_others_are_kept(store: FeedbackStore) -> None:
    words = [WORD, replace(WORD, person="bob", label="moderate"), replace(WORD, label="high_performer")]
    assert [store.record(word) for word in words] == [(True, None), (True, None), (True, words[0])]
    assert store.latest("classifier", 1) == [words[2]]
    assert store.history("classifier", 1) == words


def test_going_back_to_a_former_word_is_a_new_word(store: FeedbackStore) -> None:
    assert store.record(WORD)[0]
    assert store.record(replace(WORD, label="moderate"))[0]
    assert store.record(WORD)[0]
    assert len(store.history("classifier", 1)) == 3


def test_filters_and_order(store: FeedbackStore) -> None:
    later = replace(WORD, date=date(2024, 3, 5))
    other = replace(WORD, entity=AD)
    for word in (later, WORD, other):
        store.record(word)
    assert store.latest("classifier", 1) == [other, WORD, later]
    assert store.latest("classifier", 1, entity_ids=["a"]) == [other]
    assert store.history("classifier", 1) == [later, WORD, other]


def test_an_unknown_entity_is_not_found(store: FeedbackStore) -> None:
    with pytest.raises(NotFound):
        store.record(replace(WORD, entity=EntityRef(1, EntityType.AD, "nobody")))


@pytest.mark.parametrize("name", ["family", "person", "label"])
def test_an_empty_word_is_refused(store: FeedbackStore, name: str) -> None:
    with pytest.raises(InvalidInput) as error:
        store.record(replace(WORD, **{name: " "}))
    assert error.value.violations[0].path == name


def test_the_same_word_from_many_threads_is_one(store: FeedbackStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(new for new, _ in pool.map(store.record, [WORD] * 16)) == 1
    assert len(store.history("classifier", 1)) == 1
