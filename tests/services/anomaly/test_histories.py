"""Series of stored entities: read once, and again when their rows have changed."""

from datetime import date

import numpy as np
import pytest
from adsml_anomaly.histories import Histories, series
from adsml_anomaly.models.channels import Days
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.metrics import MetricStore
from support.daily import daily_frame

START, LAST = date(2024, 1, 2), date(2024, 1, 12)
IDS = ["1", "2", "3"]


class Counting(MetricStore):
    """Notes whose rows are read."""

    read: list[list[str]]

    def each(self, config_id, **given):  # type: ignore[no-untyped-def]
        self.read.append(list(given["entity_ids"]))
        return super().each(config_id, **given)


@pytest.fixture
def store(database: Database) -> Counting:
    store = Counting(database)
    store.read = []
    store.upsert_daily(1, daily_frame(ids=IDS[:2], days=10), source="test")
    return store


def ask(histories: Histories, *, last_day: date = LAST, ids: list[str] = IDS) -> dict[EntityRef, Days]:
    return histories.of(1, entity_type=EntityType.ADSET, entity_ids=ids, start=START, last_day=last_day)


def same(found: dict[EntityRef, Days], store: MetricStore) -> bool:
    read = series(store.daily(1, start=START), 1)
    fresh = {ref: days.until(days.index(LAST)) for ref, days in read.items()}
    return found.keys() == fresh.keys() and all(
        one.first_day == fresh[ref].first_day and np.array_equal(one.rows, fresh[ref].rows, equal_nan=True)
        for ref, one in found.items()
    )


def test_rows_are_read_once_and_again_for_the_entity_that_changed(store: Counting) -> None:
    histories = Histories(store, capacity=10)
    assert same(ask(histories), store)
    assert same(ask(histories), store)
    assert store.read == [["1", "2"]]
    changed = daily_frame(ids=IDS[:2], days=10)
    changed.loc[3, "spend"] += 1
    store.upsert_daily(1, changed, source="test")
    assert same(ask(histories), store)
    assert store.read[1:] == [[changed.loc[3, "entity_id"]]]
    store.upsert_daily(1, daily_frame(ids=["3"], days=4), source="test")
    assert same(ask(histories), store)
    assert store.read[2:] == [["3"]]


def test_another_range_is_another_series_and_the_oldest_make_room(store: Counting) -> None:
    histories = Histories(store, capacity=1)
    longer = ask(histories, last_day=date(2024, 1, 20))
    assert {len(one.rows) for one in longer.values()} == {19}
    assert same(ask(histories), store)
    assert len(store.read) == 2
    assert same(ask(histories), store)
    assert len(store.read) == 3
    assert len(store.read[2]) == 1
