"""What a config is bound to, and the list of accounts."""

from datetime import date

import pandas as pd
from adsml_common.database import Database
from adsml_common.store.accounts import Account, AccountStore
from adsml_common.store.metrics import MetricStore

ROW = pd.DataFrame(
    {
        "entity_type": ["ad"], "entity_id": ["1"], "date": [pd.Timestamp("2024-10-07")], "spend": [1.0],
        "impressions": [10.0], "clicks": [1.0], "leads": [0.0],
    }
)  # fmt: skip


def test_an_account_is_bound_piece_by_piece(database: Database) -> None:
    store = AccountStore(database)
    assert store.get(1) == Account()
    assert store.currency(1) is None
    with MetricStore(database).load(1, source="test") as load:
        load.bind(Account(account_id="555", currency_code="EUR"))
        load.bind(Account(time_zone="Europe/Berlin", id_kind="id"))
        assert load.account.account_id == "555"
    assert store.get(1) == Account("555", None, "EUR", "Europe/Berlin", "id")
    assert store.currency(1) == "EUR"


def test_the_list_has_accounts_with_rows_and_accounts_that_are_only_bound(database: Database) -> None:
    metrics = MetricStore(database)
    metrics.upsert_daily(2, ROW, source="test")
    with metrics.load(1, source="test") as load:
        load.bind(Account(currency_code="EUR"))
    listed = AccountStore(database).list()
    assert [(one.config_id, one.account.currency_code, one.last_date) for one in listed] == [
        (1, "EUR", None),
        (2, None, date(2024, 10, 7)),
    ]
