"""Tables that Airbyte, Fivetran or dlt fill in a database, read by window through SQLAlchemy.

A table is streamed into a CSV file: from there on it is read as the export of the same connector is.
"""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_ingest.connectors import ENVELOPE
from adsml_ingest.files import SourceFile
from adsml_ingest.importer import Fetched
from adsml_ingest.sync.config import AccountSource, SourceUnavailable

_DAYS: Final = ("date_start", "date", "date_day")
_ROWS: Final = 5_000


def fetch(account: AccountSource, first: date, last: date, spool: Path) -> Fetched:
    """The rows of the account's tables from first to last.

    Raises `SourceUnavailable` if a table is not there, or the database does not answer.
    """
    if not account.tables:
        raise SourceUnavailable(
            'a database needs its tables: tables = ["schema.table", ...], the daily one first'
        )
    try:
        url = sa.make_url(account.source)
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
        )
        try:
            with engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    # A day that is stored as a moment is midnight in UTC.
                    connection.exec_driver_sql("SET TIME ZONE 'UTC'")
                tables = [_reflect(connection, name) for name in account.tables]
                paths = {table: spool / f"{table.name}.csv" for table in tables}
                for table, path in paths.items():
                    _spool(connection, table, tables[0], first, last, path)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0][:300]
        raise SourceUnavailable(f"{account.shown} can't be read: {said}") from None
    return Fetched([SourceFile(Path(f"{account.shown}/{path.name}"), path) for path in paths.values()])


def _reflect(connection: Connection, name: str) -> sa.Table:
    schema, _, table = name.rpartition(".")
    try:
        return sa.Table(table, sa.MetaData(), schema=schema or None, autoload_with=connection)
    except sa.exc.NoSuchTableError:
        raise SourceUnavailable(f"the database has no table {name}; check tables and the rights") from None


def _spool(
    connection: Connection, table: sa.Table, daily: sa.Table, first: date, last: date, path: Path
) -> None:
    """Stream the wanted rows of a table into a CSV file."""
    query, of_days = sa.select(*table.columns), table
    is_child = "_dlt_parent_id" in table.columns and "_dlt_id" in daily.columns and table is not daily
    if is_child and _day_of(table) is None:
        query, of_days = query.join(daily, daily.c["_dlt_id"] == table.c["_dlt_parent_id"]), daily
    day = _day_of(of_days)
    if day is not None and connection.dialect.name == "sqlite":  # days are text there
        query = query.where(sa.func.date(day).between(first.isoformat(), last.isoformat()))
    elif day is not None:
        query = query.where(sa.cast(day, sa.Date).between(first, last))
    streamed = connection.execution_options(stream_results=True, yield_per=_ROWS)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([column.name for column in table.columns])
        for row in streamed.execute(query):
            writer.writerow(json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in row)


def _day_of(table: sa.Table) -> sa.ColumnElement[Any] | None:
    """The column of the day."""
    if ENVELOPE in table.columns and "date_start" not in table.columns:
        day: sa.ColumnElement[Any] = sa.cast(table.c[ENVELOPE], sa.JSON)["date_start"].as_string()
        return day
    return next((table.c[name] for name in _DAYS if name in table.columns), None)
