"""Daily rows on their way into the database: staged in a temporary table, then merged in one statement.

The database compares what is staged with what it holds, so rows that are there already cost no write, and the same
statements serve SQLite and PostgreSQL. Only the way into the temporary table differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.metrics import STORED
from adsml_common.schema import insert_into
from adsml_common.store import pgcopy
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.tables import daily_metrics, entities, restated_metrics

KINDS: Final[dict[str, str]] = {
    "entity_key": "bigint",
    "date": "date",
    **dict.fromkeys(STORED, "double"),
}
"""Columns of a daily row as models read it."""
STAGED_KINDS: Final = KINDS | {"fetched_at": "double"}
SUMS_SOURCE: Final = "sums"
"""Source of rows that were built; they never replace rows of another source."""
_UNTOLD: Final = ("leads", "reach")
"""Columns that a source may not tell; what is stored then stays."""


def _temporary(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])


def spans_table(name: str) -> sa.Table:
    """A temporary table of entities with a first and a last day."""
    days = (sa.Column(day, sa.Date, nullable=False) for day in ("first_date", "last_date"))
    return _temporary(name, sa.Column("entity_key", sa.BigInteger, primary_key=True), *days)


STAGED: Final = _temporary(
    "staged_daily",
    sa.Column("entity_key", sa.BigInteger, nullable=False),
    sa.Column("date", sa.Date, nullable=False),
    *(sa.Column(name, sa.Double) for name in STORED),
    sa.Column("fetched_at", sa.Double, nullable=False),
)
TOUCHED: Final = spans_table("touched_entities")
"""Entities of which rows were written in this transaction, and the days from first to last of them."""
_SEEN: Final = _temporary(
    "seen_rows",
    sa.Column("entity_key", sa.BigInteger, primary_key=True),
    sa.Column("date", sa.Date, primary_key=True),
)
"""Rows of a window that the source still holds."""
SAME_KEY: Final = sa.and_(
    daily_metrics.c.entity_key == STAGED.c.entity_key, daily_metrics.c.date == STAGED.c.date
)
_SAME_VALUES: Final = sa.and_(
    *(
        sa.or_(STAGED.c[name].is_(None), daily_metrics.c[name].is_not_distinct_from(STAGED.c[name]))
        if name in _UNTOLD
        else daily_metrics.c[name] == STAGED.c[name]
        for name in STORED
    )
)
_LESS: Final = sa.and_(
    daily_metrics.c.source != SUMS_SOURCE,
    sa.or_(
        STAGED.c.impressions < daily_metrics.c.impressions,
        sa.and_(STAGED.c.leads.is_not(None), STAGED.c.leads < daily_metrics.c.leads),
    ),
)
"""What is staged says less than what is stored: days only grow, so it may be the older."""


def prepare(connection: Connection) -> None:
    """Set this transaction up for `stage` and `merge`; once is enough."""
    for table in (STAGED, TOUCHED, _SEEN):
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        connection.execute(table.delete())
    if connection.dialect.name == "postgresql":
        # A few staged rows against a table of any size: look each up by the primary key. Left to its
        # estimates, far off while a table is first filled, the planner reads all of it for every chunk.
        for plan in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL {plan} = off")


def stage(connection: Connection, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Fill the temporary table with these rows and no others: arrays of shape (rows,) by name of `STAGED_KINDS`.

    NaN is stored as NULL, and leaves what is stored as it is.
    """
    if connection.dialect.name == "postgresql":
        # A deleted row would be read again by every later statement of the transaction.
        connection.exec_driver_sql("TRUNCATE staged_daily")
        names = ", ".join(STAGED_KINDS)
        with connection.connection.cursor() as cursor:  # type: ignore[attr-defined]
            with cursor.copy(f"COPY staged_daily ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(pgcopy.encode(columns, STAGED_KINDS))
            for name in _UNTOLD:
                if np.isnan(columns[name]).any():
                    cursor.execute(f"UPDATE staged_daily SET {name} = NULL WHERE {name} = 'NaN'")  # noqa: S608
        return
    connection.execute(STAGED.delete())
    # sqlite3 stores NaN as NULL by itself.
    lists = [_plain(columns[name], kind) for name, kind in STAGED_KINDS.items()]
    marks = ", ".join("?" * len(lists))
    connection.exec_driver_sql(
        f"INSERT INTO staged_daily VALUES ({marks})",  # noqa: S608  # question marks only
        list(zip(*lists, strict=True)),
    )


def _plain(values: npt.NDArray[Any], kind: str) -> list[Any]:
    if kind == "date":
        values = np.datetime_as_string(values.astype("datetime64[D]"), unit="D")
    return list(values.tolist())


def drop_older(connection: Connection, *, whatever: bool) -> int:
    """Take out what is staged and was fetched before what is stored; how many rows.

    Where `whatever`, the whole file is older than what is stored: every row that is stored already.
    """
    stored = sa.select(sa.literal(1)).where(SAME_KEY, daily_metrics.c.source != SUMS_SOURCE)
    if whatever:
        stored = stored.where(sa.not_(_SAME_VALUES))
    else:
        stored = stored.where(STAGED.c.fetched_at > 0, daily_metrics.c.fetched_at > STAGED.c.fetched_at)
    return connection.execute(STAGED.delete().where(stored.exists())).rowcount


def merge(connection: Connection, *, rows: int, source: str, loaded_at: datetime) -> UpsertCounts:
    """Write what is staged (`rows`) and differs from what is stored; what is the same leaves the temporary table.

    The caller holds the account's lock, so nobody else writes its rows between the statements. Values that are
    replaced are kept in `restated_metrics`. Built sums leave what another source has reported as it is.
    """
    built = source == SUMS_SOURCE
    settled = sa.or_(_SAME_VALUES, daily_metrics.c.source != source) if built else _SAME_VALUES
    same = sa.select(sa.literal(1)).where(SAME_KEY, settled)
    if not built:
        # Fetched again and still the same: an older file must not replace it from now on.
        connection.execute(
            daily_metrics.update()
            .where(SAME_KEY, settled, STAGED.c.fetched_at > daily_metrics.c.fetched_at)
            .values(fetched_at=STAGED.c.fetched_at)
        )
    unchanged = connection.execute(STAGED.delete().where(same.exists())).rowcount
    if unchanged == rows:
        return UpsertCounts(unchanged=unchanged)
    fallen = 0
    if _keep_restated(connection, SAME_KEY, daily_metrics.c.loaded_at != loaded_at) and not built:
        less = sa.select(sa.func.count()).where(SAME_KEY, STAGED.c.fetched_at == 0, _LESS)
        fallen = connection.execute(less).scalar_one()
    stamp = {
        "source": sa.literal(source, sa.Text),
        "loaded_at": sa.literal(loaded_at, daily_metrics.c.loaded_at.type),
    }
    values = {
        name: sa.func.coalesce(STAGED.c[name], daily_metrics.c[name]) if name in _UNTOLD else STAGED.c[name]
        for name in (*STORED, "fetched_at")
    }
    updated = connection.execute(daily_metrics.update().where(SAME_KEY).values(values | stamp)).rowcount
    inserted = rows - unchanged - updated
    if inserted:
        staged = [
            sa.func.coalesce(STAGED.c.leads, 0.0) if name == "leads" else STAGED.c[name]
            for name in STAGED_KINDS
        ]
        new = sa.select(*staged, *stamp.values())
        if unchanged or updated:
            known = sa.select(sa.literal(1)).select_from(daily_metrics).where(SAME_KEY)
            new = new.where(~known.correlate(STAGED).exists())
        connection.execute(
            daily_metrics.insert().from_select(
                [*STAGED_KINDS, *stamp], new.order_by(STAGED.c.entity_key, STAGED.c.date)
            )
        )
    return UpsertCounts(inserted=inserted, updated=updated, unchanged=unchanged, fallen=fallen)


def note_seen(connection: Connection) -> None:
    """Note that the source holds what is staged; see `delete_unseen`."""
    connection.execute(
        insert_into(connection, _SEEN)
        .from_select(["entity_key", "date"], sa.select(STAGED.c.entity_key, STAGED.c.date).where(sa.true()))
        .on_conflict_do_nothing()
    )


def stage_unseen(
    connection: Connection, config_id: int, entity_types: Sequence[str], first: date, last: date
) -> int:
    """Stage the stored rows of a window that the source no longer holds; how many. Built rows are no source's."""
    connection.execute(STAGED.delete())
    seen = sa.select(sa.literal(1)).where(
        _SEEN.c.entity_key == daily_metrics.c.entity_key, _SEEN.c.date == daily_metrics.c.date
    )
    return connection.execute(
        STAGED.insert().from_select(
            list(STAGED_KINDS),
            sa.select(*(daily_metrics.c[name] for name in STAGED_KINDS))
            .join_from(entities, daily_metrics, daily_metrics.c.entity_key == entities.c.entity_key)
            .where(
                entities.c.config_id == config_id,
                entities.c.entity_type.in_(entity_types),
                daily_metrics.c.date.between(first, last),
                daily_metrics.c.source != SUMS_SOURCE,
                ~seen.exists(),
            ),
        ),
        execution_options={"preserve_rowcount": True},
    ).rowcount


def stage_keys(connection: Connection, keys: Iterable[tuple[int, date]]) -> None:
    """Stage entities and days alone, such as those of rows that were deleted."""
    connection.execute(STAGED.delete())
    rows = [{"entity_key": key, "date": day, "fetched_at": 0.0} for key, day in keys]
    connection.execute(STAGED.insert(), rows)


def delete_staged(connection: Connection) -> None:
    """Delete the stored rows that are staged, keeping their values as restated ones."""
    _keep_restated(connection, SAME_KEY)
    staged = sa.select(sa.literal(1)).where(SAME_KEY)
    connection.execute(daily_metrics.delete().where(staged.exists()))


def _keep_restated(connection: Connection, *where: sa.ColumnElement[bool]) -> int:
    """Keep the values of some stored rows as restated ones; of how many."""
    kept = ("entity_key", "date", "loaded_at", *STORED)
    replaced = sa.select(*(daily_metrics.c[name] for name in kept)).where(*where)
    insert = insert_into(connection, restated_metrics).from_select(kept, replaced)
    return connection.execute(insert.on_conflict_do_nothing()).rowcount


_SPANS: Final = (
    sa.select(
        STAGED.c.entity_key,
        sa.func.min(STAGED.c.date).label("first_date"),
        sa.func.max(STAGED.c.date).label("last_date"),
    )
    .where(sa.true())
    .group_by(STAGED.c.entity_key)
)


def note_touched(connection: Connection) -> None:
    """Note the entities and days that are staged: after `merge`, those that were written."""
    insert = insert_into(connection, TOUCHED).from_select(["entity_key", "first_date", "last_date"], _SPANS)
    connection.execute(widened(connection, insert))


def widened(connection: Connection, insert: Any, **more: Any) -> Any:
    """An insertion of first and last days that widens those of a row that is there, and sets `more` of it."""
    on_sqlite = connection.dialect.name == "sqlite"
    smaller, larger = (sa.func.min, sa.func.max) if on_sqlite else (sa.func.least, sa.func.greatest)
    table, new = insert.table, insert.excluded
    days = {
        "first_date": smaller(table.c.first_date, new.first_date),
        "last_date": larger(table.c.last_date, new.last_date),
    }
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=days | more)


def changed_levels(connection: Connection) -> Sequence[tuple[str, date, date]]:
    """Levels of what is staged, with its first and last day: after `merge`, of what was written."""
    spans = _SPANS.subquery()
    found = connection.execute(
        sa.select(entities.c.entity_type, sa.func.min(spans.c.first_date), sa.func.max(spans.c.last_date))
        .join_from(spans, entities, entities.c.entity_key == spans.c.entity_key)
        .group_by(entities.c.entity_type)
        .order_by(entities.c.entity_type)
    )
    return [(entity_type, first, last) for entity_type, first, last in found]


def mark_revision(connection: Connection, entity_type: str, revision: int) -> None:
    """Note on every entity that is staged at one level that its rows changed."""
    changed = sa.select(STAGED.c.entity_key).distinct()
    connection.execute(
        entities.update()
        .where(entities.c.entity_key.in_(changed), entities.c.entity_type == entity_type)
        .values(data_revision=revision)
    )
