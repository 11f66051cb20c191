"""Daily rows on their way into the database: staged in a temporary table, then merged in one statement.

The database compares what is staged with what it holds, so rows that are there already cost no write, and the
same statements serve SQLite and PostgreSQL. Only the way into the temporary table differs.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.metrics import STORED
from adsml_common.store import pgcopy
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.tables import daily_metrics, entities

KINDS: Final[dict[str, str]] = {
    "entity_key": "bigint",
    "date": "date",
    **dict.fromkeys(STORED, "double"),
}

_STAGED: Final = sa.Table(
    "staged_daily",
    sa.MetaData(),
    sa.Column("entity_key", sa.BigInteger, nullable=False),
    sa.Column("date", sa.Date, nullable=False),
    *(sa.Column(name, sa.Double) for name in STORED),
    prefixes=["TEMPORARY"],
)
_SAME_KEY: Final = sa.and_(
    daily_metrics.c.entity_key == _STAGED.c.entity_key, daily_metrics.c.date == _STAGED.c.date
)
_SAME_VALUES: Final = sa.and_(
    *(daily_metrics.c[name].is_not_distinct_from(_STAGED.c[name]) for name in STORED)
)


def prepare(connection: Connection) -> None:
    """Set this transaction up for `stage` and `merge`; once is enough."""
    connection.execute(sa.schema.CreateTable(_STAGED, if_not_exists=True))
    if connection.dialect.name == "postgresql":
        # A few staged rows against a table of any size: look each up by the primary key. Left to its
        # estimates, far off while a table is first filled, the planner reads all of it for every chunk.
        for plan in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL {plan} = off")


def stage(connection: Connection, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Fill the temporary table with these rows and no others.

    Parameters
    ----------
    columns
        Arrays of shape (rows,) for every name in `KINDS`: integer keys, datetime64 days, floats. NaN is
        stored as NULL.
    """
    if connection.dialect.name == "postgresql":
        # A deleted row would be read again by every later statement of the transaction.
        connection.exec_driver_sql("TRUNCATE staged_daily")
        names = ", ".join(KINDS)
        with connection.connection.cursor() as cursor:  # type: ignore[attr-defined]
            with cursor.copy(f"COPY staged_daily ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(pgcopy.encode(columns, KINDS))
            cursor.execute("UPDATE staged_daily SET reach = NULL WHERE reach = 'NaN'")
        return
    connection.execute(_STAGED.delete())
    # sqlite3 stores NaN as NULL by itself.
    lists = [_plain(columns[name], kind) for name, kind in KINDS.items()]
    marks = ", ".join("?" * len(lists))
    connection.exec_driver_sql(
        f"INSERT INTO staged_daily VALUES ({marks})",  # noqa: S608  # question marks only
        list(zip(*lists, strict=True)),
    )


def _plain(values: npt.NDArray[Any], kind: str) -> list[Any]:
    if kind == "date":
        values = np.datetime_as_string(values.astype("datetime64[D]"), unit="D")
    return list(values.tolist())


def merge(
    connection: Connection, *, rows: int, source: str, loaded_at: datetime, keep_others: bool = False
) -> UpsertCounts:
    """Write what is staged and differs from what is stored; what is the same leaves the temporary table.

    The caller holds the account's lock, so nobody else writes its rows between the statements.

    Parameters
    ----------
    rows
        How many are staged.
    source, loaded_at
        Noted on every row that is written.
    keep_others
        Treat what is stored under another source as the same.
    """
    settled = sa.or_(_SAME_VALUES, daily_metrics.c.source != source) if keep_others else _SAME_VALUES
    same = sa.select(sa.literal(1)).where(_SAME_KEY, settled)
    unchanged = connection.execute(_STAGED.delete().where(same.exists())).rowcount
    if unchanged == rows:
        return UpsertCounts(unchanged=unchanged)
    stamp = {
        "source": sa.literal(source, sa.Text),
        "loaded_at": sa.literal(loaded_at, daily_metrics.c.loaded_at.type),
    }
    updated = connection.execute(
        daily_metrics.update().where(_SAME_KEY).values({name: _STAGED.c[name] for name in STORED} | stamp)
    ).rowcount
    inserted = rows - unchanged - updated
    if inserted:
        new = sa.select(*(_STAGED.c[name] for name in KINDS), *stamp.values())
        if unchanged or updated:
            known = sa.select(sa.literal(1)).select_from(daily_metrics).where(_SAME_KEY)
            new = new.where(~known.correlate(_STAGED).exists())
        connection.execute(
            daily_metrics.insert().from_select(
                [*KINDS, *stamp], new.order_by(_STAGED.c.entity_key, _STAGED.c.date)
            )
        )
    return UpsertCounts(inserted=inserted, updated=updated, unchanged=unchanged)


def changed_levels(connection: Connection) -> Sequence[tuple[str, date, date]]:
    """Levels of what is staged, with its first and last day: after `merge`, of what was written."""
    spans = (
        sa.select(
            _STAGED.c.entity_key,
            sa.func.min(_STAGED.c.date).label("first"),
            sa.func.max(_STAGED.c.date).label("last"),
        )
        .group_by(_STAGED.c.entity_key)
        .subquery()
    )
    found = connection.execute(
        sa.select(entities.c.entity_type, sa.func.min(spans.c.first), sa.func.max(spans.c.last))
        .join_from(spans, entities, entities.c.entity_key == spans.c.entity_key)
        .group_by(entities.c.entity_type)
        .order_by(entities.c.entity_type)
    )
    return [(entity_type, first, last) for entity_type, first, last in found]


def mark_revision(connection: Connection, entity_type: str, revision: int) -> None:
    """Note on every entity that is staged at one level that its rows changed."""
    changed = sa.select(_STAGED.c.entity_key).distinct()
    connection.execute(
        entities.update()
        .where(entities.c.entity_key.in_(changed), entities.c.entity_type == entity_type)
        .values(data_revision=revision)
    )
