"""Ad accounts: which account a config is, its currency and time zone, and how its entities are named.

A config is bound at its first load. Later loads are held against it, since rows of a second account, another
currency, or names in place of ids would mix with what is stored without a trace.
"""

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.schema import insert_into
from adsml_common.store.tables import account_levels, account_syncs, accounts


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of an ad account; unknown is None.

    `account_id` is without ``act_``, `currency_code` ISO 4217, `time_zone` an IANA name. `id_kind`: whether its
    entities are stored under the platform's ids or, for want of them, their names. `click_kind`: all clicks or link
    clicks.
    """

    account_id: str | None = None
    account_name: str | None = None
    currency_code: str | None = None
    time_zone: str | None = None
    id_kind: Literal["id", "name"] | None = None
    click_kind: Literal["all", "link"] | None = None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account with how far its rows reach, and its last sync."""

    config_id: int
    account: Account
    first_date: date | None
    last_date: date | None
    sync_source: str | None
    sync_started_at: datetime | None
    sync_finished_at: datetime | None
    sync_error: str | None


FIELDS = tuple(field.name for field in fields(Account))


def read_account(connection: Connection, config_id: int) -> Account:
    row = connection.execute(
        sa.select(*(accounts.c[name] for name in FIELDS)).where(accounts.c.config_id == config_id)
    ).one_or_none()
    return Account(*row) if row is not None else Account()


def bind_account(connection: Connection, config_id: int, account: Account) -> None:
    """Note what is known of an account; what is None stays as it is."""
    now = datetime.now(UTC)
    known = {name: value for name in FIELDS if (value := getattr(account, name)) is not None}
    insert = insert_into(connection, accounts).values(
        config_id=config_id, **known, created_at=now, updated_at=now
    )
    differs = (accounts.c[name].is_distinct_from(insert.excluded[name]) for name in known)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[accounts.c.config_id],
            set_={name: insert.excluded[name] for name in (*known, "updated_at")},
            where=sa.or_(sa.false(), *differs),
        )
    )


class AccountStore:
    """Reads accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, config_id: int) -> Account:
        with self._database.read() as connection:
            return read_account(connection, config_id)

    def currency(self, config_id: int) -> str | None:
        """ISO 4217 code of the account's money, None where no load said it."""
        return self.get(config_id).currency_code

    def list(self) -> list[AccountStatus]:
        """Every account that was ever loaded or synced, in order of its config."""
        span = (
            sa.select(
                account_levels.c.config_id,
                sa.func.min(account_levels.c.first_date).label("first_date"),
                sa.func.max(account_levels.c.last_date).label("last_date"),
            )
            .group_by(account_levels.c.config_id)
            .subquery()
        )
        known = sa.union(*(sa.select(t.c.config_id) for t in (accounts, span, account_syncs))).subquery()
        query = (
            sa.select(
                known.c.config_id,
                *(accounts.c[name] for name in FIELDS),
                *(span.c[name] for name in ("first_date", "last_date")),
                *(account_syncs.c[name] for name in ("source", "started_at", "finished_at", "error")),
            )
            .select_from(known)
            .outerjoin(accounts, accounts.c.config_id == known.c.config_id)
            .outerjoin(span, span.c.config_id == known.c.config_id)
            .outerjoin(account_syncs, account_syncs.c.config_id == known.c.config_id)
            .order_by(known.c.config_id)
        )
        rows = self._database.rows(query)
        after = 1 + len(FIELDS)
        return [AccountStatus(row[0], Account(*row[1:after]), *row[after:]) for row in rows]
