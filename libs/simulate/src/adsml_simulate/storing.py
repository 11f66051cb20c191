"""Writes an account to the store."""

from datetime import date

from adsml_common.database import Database
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.metrics import MetricStore

from adsml_simulate.account import SimulatedAccount


def write_to_store(
    account: SimulatedAccount, database: Database, *, as_of: date | None = None
) -> dict[str, UpsertCounts]:
    """Write entities, daily rows and change log: all or nothing, and twice is the same as once.

    As seen at the end of a day with `as_of`; all leads in without. Counts by ``entities``, ``rows`` and ``changes``.
    `InvalidInput` if the day is not one of the account's, `Unavailable` if the database does not answer.
    """
    last, source = as_of or account.settings.last_day, f"simulate:seed={account.seed}"
    with MetricStore(database).load(account.settings.config_id, source=source) as load:
        return {
            "entities": load.entities(account.entities),
            "rows": load.add(account.as_of(as_of)),
            "changes": load.changes(event for event in account.changes if event.date <= last),
        }
