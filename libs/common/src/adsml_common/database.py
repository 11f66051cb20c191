"""The database: one engine for SQLite or PostgreSQL, transactions, and what its failures mean."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from adsml_common.database_errors import translated
from adsml_common.domain.errors import FailedPrecondition, Unavailable
from adsml_common.schema import OLDEST_CODE, SCHEMA_NOTES, dumps
from adsml_common.settings import SettingsError, masked_url

CONNECT_SECONDS = 5
LOCK_SECONDS = 30
STATEMENT_SECONDS = 60
BULK_STATEMENT_SECONDS = 900
POOL_SECONDS = 10
_WRITE = "adsml_write"
_MIGRATION_LOCK = 0x6164736D6C  # "adsml" in ASCII: the key of PostgreSQL's advisory lock


class SchemaStatus(StrEnum):
    """How the database's schema stands to this version of adsml."""

    CURRENT = "current"
    ABSENT = "absent"
    BEHIND = "behind"
    AHEAD = "ahead"
    TOO_NEW = "too new"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Revision of the schema found and the one this version of adsml brings.

    ``AHEAD`` means migrated by a newer version, with which this one goes on working: migrations add first and take
    away a release later. ``TOO_NEW``: older than `oldest_code`, the oldest revision whose code can work with the
    schema, or no release's at all.
    """

    current: str | None
    head: str
    status: SchemaStatus
    oldest_code: str | None = None

    @property
    def usable(self) -> bool:
        return self.status in (SchemaStatus.CURRENT, SchemaStatus.AHEAD)


class Database:
    """Connections to one database; threads may share it.

    Every connection failure, from any use of the engine, is raised as `Unavailable`, without SQL text or password.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect: str = engine.dialect.name

    @classmethod
    def open(cls, url: str, *, pool_size: int = 5) -> "Database":
        """Prepare the engine; nothing is connected yet. Under load `pool_size` more connections are opened.

        Raises `SettingsError` for a URL that is neither SQLite's nor PostgreSQL's.
        """
        parsed = _parse(url)
        if parsed.drivername == "sqlite":
            return cls(_sqlite_engine(parsed, pool_size))
        return cls(_postgresql_engine(parsed, pool_size))

    @property
    def shown(self) -> str:
        return masked_url(self.engine.url.render_as_string(hide_password=True))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; what is written through it is rolled back."""
        with _plain_errors(), self.engine.connect() as connection:
            yield connection

    def rows(self, query: sa.Executable) -> Sequence[sa.Row[Any]]:
        """What one query gives."""
        with self.read() as connection:
            return connection.execute(query).all()

    @contextmanager
    def write(self, *, bulk: bool = False) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back if anything is raised inside.

        On SQLite it takes the only writer's place at its start, so that what is read inside stays true until the
        commit. Statements of a `bulk` one may take minutes.
        """
        with _plain_errors(), self.engine.connect() as plain:
            connection = plain.execution_options(**{_WRITE: True})
            with connection.begin():
                if bulk and self.dialect == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{BULK_STATEMENT_SECONDS}s'")
                yield connection

    def lock(self, connection: Connection, name: str) -> None:
        """Hold others that ask for the same name until this transaction ends.

        On SQLite a write transaction keeps all others out already.
        """
        if self.dialect == "postgresql":
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
            )

    def ping(self) -> None:
        """Raise `Unavailable` where the database gives no sign of life."""
        with self.read() as connection:
            connection.execute(sa.text("SELECT 1"))

    def migrate(self) -> None:
        """Bring the schema to this version's revision: idempotent, and safe if two processes do it at once.

        All steps are one transaction. A schema that is ahead stays; raises `FailedPrecondition` where it is too new.
        """
        from adsml_common.migrations import upgrade  # noqa: PLC0415  # Alembic is not needed to serve

        with self.write(bulk=True) as connection:
            if self.dialect == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BULK_STATEMENT_SECONDS}s'")
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            state = _schema_state(connection)
            if state.status is SchemaStatus.TOO_NEW:
                raise self._unusable(state)
            # A release that was rolled back finds the schema of the newer one, and leaves it.
            if state.status is not SchemaStatus.AHEAD:
                upgrade(connection)

    def schema_state(self) -> SchemaState:
        """The schema's revision, for services, which check it but never change it."""
        with self.read() as connection:
            return _schema_state(connection)

    def require_schema(self) -> None:
        """Raise `FailedPrecondition` where this version can't work with the schema; says how to mend it."""
        state = self.schema_state()
        if not state.usable:
            raise self._unusable(state)

    def _unusable(self, state: SchemaState) -> FailedPrecondition:
        found = "has no schema yet" if state.current is None else f"has schema revision {state.current}"
        cure = f"this version needs {state.head}: run `adsml migrate`"
        if state.status is SchemaStatus.TOO_NEW:
            newer = f", or one of revision {state.oldest_code} or newer" if state.oldest_code else ""
            cure = f"which this version (of {state.head}) can't work with: deploy the version that migrated it{newer}"
        return FailedPrecondition(
            f"the database {self.shown} {found}, {cure}",
            metadata={"schema_current": state.current or "", "schema_needed": state.head},
        )

    def close(self) -> None:
        self.engine.dispose()


def _schema_state(connection: Connection) -> SchemaState:
    from adsml_common.migrations import head_revision, known_revisions  # noqa: PLC0415

    head, known = head_revision(), known_revisions()
    tables = sa.inspect(connection)
    current = None
    if tables.has_table("alembic_version"):
        current = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    if current is None:
        return SchemaState(None, head, SchemaStatus.ABSENT)
    if current in known:
        return SchemaState(current, head, SchemaStatus.CURRENT if current == head else SchemaStatus.BEHIND)
    oldest = None
    if tables.has_table(SCHEMA_NOTES.name):
        query = sa.select(SCHEMA_NOTES.c.value).where(SCHEMA_NOTES.c.name == OLDEST_CODE)
        oldest = connection.execute(query).scalar()
    # Code that knows the revision is of it or of a newer one.
    status = SchemaStatus.AHEAD if oldest in known else SchemaStatus.TOO_NEW
    return SchemaState(current, head, status, oldest)


def _parse(url: str) -> URL:
    expected = "expected sqlite:///path or postgresql://user:password@host/name"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            f"ADSML_DATABASE_URL={masked_url(url)}: is not a database URL; {expected}"
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise SettingsError(
                f"ADSML_DATABASE_URL={url}: names no file; a database in memory can't be shared between "
                "connections, give it a path: sqlite:///adsml.db"
            )
        return parsed.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingsError(f"ADSML_DATABASE_URL={masked_url(url)}: {kind} is not supported; {expected}")


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"ADSML_DATABASE_URL={url}: its folder {folder} can't be made: {error.strerror}"
        ) from None
    engine = _engine(url, pool_size, connect_args={"timeout": LOCK_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would open transactions at moments of its own; `_begin` below does it instead.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
        _enter_wal(connection)
        # What was confirmed stays, even if the machine loses power: a commit waits for the disk.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -32768")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Changing the mode asks for the file alone and does not wait for others, so two processes that create a
    # database at once would fail here without a second try.
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _postgresql_engine(url: URL, pool_size: int) -> Engine:
    engine = _engine(
        url,
        pool_size,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "adsml",
            # A server that vanished without a word is noticed within about half a minute.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: psycopg.Connection[Any], record: Any) -> None:
        record.info["pid"] = os.getpid()
        # Not as start-up options: connection poolers in front of PostgreSQL refuse those.
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET statement_timeout = '{STATEMENT_SECONDS}s'; SET lock_timeout = '{LOCK_SECONDS}s'; "
                "SET idle_in_transaction_session_timeout = '300s'; SET TimeZone = 'UTC'"
            )
        connection.commit()

    @event.listens_for(engine, "checkout")
    def _checked_out(_connection: object, record: Any, proxy: Any) -> None:
        # A forked child must not talk over its parent's socket.
        if record.info["pid"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise DisconnectionError("this connection belongs to another process")

    return engine


def _engine(url: URL, pool_size: int, **more: Any) -> Engine:
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        json_serializer=dumps,
        hide_parameters=True,
        **more,
    )

    @event.listens_for(engine, "handle_error", retval=True)
    def _translate(context: ExceptionContext) -> BaseException | None:
        return None if context.is_pre_ping else translated(context.original_exception)

    return engine


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Failures that come from the pool or straight from the driver, not through SQLAlchemy's own handling."""
    try:
        yield
    except PoolTimeout:
        raise Unavailable("the database is unavailable: every connection is in use") from None
    except (psycopg.Error, sqlite3.Error) as error:
        told = translated(error)
        if told is None:
            raise
        raise told from error
