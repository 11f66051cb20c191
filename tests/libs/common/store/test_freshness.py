"""How far accounts reach, as Prometheus reads it."""

from datetime import UTC, date, datetime

import pandas as pd
from adsml_common.database import Database
from adsml_common.store.accounts import AccountStore
from adsml_common.store.freshness import account_gauges
from adsml_common.store.metrics import MetricStore
from adsml_common.store.syncs import SyncStore

NOW = datetime(2024, 10, 8, 1, tzinfo=UTC)


def test_synced_accounts_tell_their_last_day_and_whether_the_sync_failed(database: Database) -> None:
    row = {
        "entity_type": ["ad"], "entity_id": ["1"], "date": [pd.Timestamp("2024-10-07")], "spend": [1.0],
        "impressions": [10.0], "clicks": [1.0], "leads": [0.0],
    }  # fmt: skip
    metrics, syncs = MetricStore(database), SyncStore(database)
    for config_id in (1, 2):
        metrics.upsert_daily(config_id, pd.DataFrame(row), source="test")
    for config_id, error in ((1, None), (3, "the token is gone")):
        syncs.begin(config_id, "s3://x", date(2024, 9, 10), date(2024, 10, 7), at=NOW)
        syncs.end(config_id, at=NOW, error=error)
    assert syncs.is_done(1, "s3://x", date(2024, 10, 7))
    assert not syncs.is_done(3, "s3://x", date(2024, 10, 7))
    last, failed = account_gauges(AccountStore(database))
    # Account 2 comes by hand; of account 3 there is no row yet.
    assert [(one.labels["config_id"], one.value) for one in last.samples] == [
        ("1", datetime(2024, 10, 7, tzinfo=UTC).timestamp())
    ]
    assert [(one.labels["config_id"], one.value) for one in failed.samples] == [("1", 0.0), ("3", 1.0)]
