"""The last sync of each account."""

from datetime import date, datetime

import sqlalchemy as sa

from adsml_common.database import Database
from adsml_common.schema import upsert
from adsml_common.store.tables import account_syncs


class SyncStore:
    """Reads and writes what `adsml sync` did."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, config_id: int, source: str, first: date, last: date, *, at: datetime) -> None:
        with self._database.write() as connection:
            asked = {"config_id": config_id, "source": source, "first_date": first, "last_date": last}
            upsert(connection, account_syncs, asked | {"started_at": at, "finished_at": None, "error": None})

    def end(self, config_id: int, *, at: datetime, error: str | None) -> None:
        with self._database.write() as connection:
            connection.execute(
                account_syncs.update()
                .where(account_syncs.c.config_id == config_id)
                .values(finished_at=at, error=error)
            )

    def is_done(self, config_id: int, source: str, last: date) -> bool:
        """Whether a sync from this source up to this day ended well."""
        query = sa.select(account_syncs.c.config_id).where(
            account_syncs.c.config_id == config_id,
            account_syncs.c.source == source,
            account_syncs.c.last_date >= last,
            account_syncs.c.finished_at.is_not(None),
            account_syncs.c.error.is_(None),
        )
        return bool(self._database.rows(query))
