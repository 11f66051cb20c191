"""An account in the store is the account."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_common.database import Database
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_simulate import SimulatedAccount
from adsml_simulate.storing import write_to_store

LAST_DAY = date(2026, 6, 30)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(f"sqlite:///{tmp_path / 'adsml.db'}")
    opened.migrate()
    yield opened
    opened.close()


def test_what_is_stored_is_read_back(lively: SimulatedAccount, database: Database) -> None:
    first = write_to_store(lively, database)
    assert first["rows"].inserted == len(lively.daily)
    pd.testing.assert_frame_equal(MetricStore(database).daily(1), lively.daily)
    assert sorted(EntityStore(database).list(1), key=lambda e: e.ref) == sorted(
        lively.entities, key=lambda e: e.ref
    )
    stored = ChangeStore(database).list(1)
    assert {(e.date, e.entity): e for e in stored} == {(e.date, e.entity): e for e in lively.changes}
    again = write_to_store(lively, database)
    assert again["rows"].changed == again["changes"].changed == 0


def test_leads_that_arrive_later_update_the_rows(lively: SimulatedAccount, database: Database) -> None:
    early = LAST_DAY - timedelta(days=10)
    write_to_store(lively, database, as_of=early)
    assert MetricStore(database).last_date(1) == early
    counts = write_to_store(lively, database)["rows"]
    assert counts.updated > 0
    assert counts.inserted > 0
    np.testing.assert_array_equal(MetricStore(database).daily(1)["leads"], lively.daily["leads"])
