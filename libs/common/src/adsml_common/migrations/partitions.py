"""Months of `daily_metrics` on PostgreSQL: a partition each, so that old days are dropped and not deleted row by row.

Rows of a month that has none lie in the partition ``daily_metrics_other``, and are found like all others. By month
alone, and not by account too: a hash of the entity on top of it made every read of an account slower (docs/scaling.md).
"""

from datetime import date
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.engine import Connection

TABLE = "daily_metrics"
OTHER = f"{TABLE}_other"
MONTHS_BACK = 48
MONTHS_AHEAD = 18


def extend(connection: Connection, *, today: date) -> list[str]:
    """Make the partitions of the months around a day that are not there yet, and tell which.

    A month that has rows in `OTHER` already is left there: to move them is not for a moment in which services write.
    """
    connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {OTHER} PARTITION OF {TABLE} DEFAULT")
    have = set(
        connection.execute(
            sa.text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)"
            ),
            {"table": TABLE},
        ).scalars()
    )
    made = []
    for first, after in months(today):
        name = f"{TABLE}_{first:%Y_%m}"
        if name in have or _holds(connection, first, after):
            continue
        # Names and days of ours; a bound parameter is not for a definition.
        connection.exec_driver_sql(
            f"CREATE TABLE {name} PARTITION OF {TABLE} FOR VALUES FROM ('{first}') TO ('{after}')"
        )
        made.append(name)
    return made


def months(today: date) -> list[tuple[date, date]]:
    """First days of the months from `MONTHS_BACK` before to `MONTHS_AHEAD` after, each with that of the next."""
    this = today.year * 12 + today.month - 1
    numbers = range(this - MONTHS_BACK, this + MONTHS_AHEAD + 2)
    days = [date(number // 12, number % 12 + 1, 1) for number in numbers]
    return list(pairwise(days))


def _holds(connection: Connection, first: date, after: date) -> bool:
    query = sa.text(f"SELECT EXISTS (SELECT 1 FROM {OTHER} WHERE date >= :first AND date < :after)")  # noqa: S608
    return bool(connection.execute(query, {"first": first, "after": after}).scalar_one())
