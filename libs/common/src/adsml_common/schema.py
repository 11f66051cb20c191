"""What every table shares: one MetaData, constraint names that migrations can rely on, portable types."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, DateTime, Integer, MetaData, String, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment in time: aware datetimes in, UTC out.

    ``timestamptz`` on PostgreSQL; on SQLite, which has no zones, UTC as ISO text, so that order is kept.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone; pass an aware datetime")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(postgresql.JSONB(), "postgresql")
"""Binary JSON on PostgreSQL, text on SQLite."""

BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""A generated 64-bit key; SQLite generates keys only for the type it calls INTEGER, which is 64 bits too."""


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def key_text(length: int) -> String:
    """Text that is compared byte by byte on both databases, so that both sort as Python does."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def insert_into(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def upsert(connection: Connection, table: Table, *rows: Mapping[str, Any]) -> None:
    """Insert rows of the same columns; where a row of its primary key is there, that one takes its values."""
    insert = insert_into(connection, table)
    keys = table.primary_key.columns
    values = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=values), list(rows))


def dumps(value: object) -> str:
    """JSON as it is stored: keys sorted, no NaN (which is not JSON and which PostgreSQL refuses)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


SCHEMA_NOTES: Final = Table(
    "schema_notes",
    METADATA,
    Column("name", key_text(64), primary_key=True),
    Column("value", key_text(64), nullable=False),
)
"""What the schema says of itself to code that does not know its revision."""

OLDEST_CODE: Final = "oldest_code"
"""Name of the note with the revision of the oldest code that can work with the schema."""
