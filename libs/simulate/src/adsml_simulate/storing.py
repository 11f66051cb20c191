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

    Raises
    ------
    InvalidInput
        If the day is not one of the account's.
    Unavailable
        If the database does not answer.
    """
    settings = account.settings
    last = as_of or settings.last_day
    frame = account.daily if as_of is None else account.as_of(as_of)
    source = f"simulate:seed={account.seed}"
    with MetricStore(database).load(settings.config_id, source=source) as load:
        return {
            "entities": load.entities(account.entities),
            "rows": load.add(frame),
            "changes": load.changes(event for event in account.changes if event.date <= last),
        }
