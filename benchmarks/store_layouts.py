"""How `daily_metrics` could be partitioned on PostgreSQL: what each layout costs to load, read, merge into and prune.

    python benchmarks/store_layouts.py [--entities 4600] [--months 36]

The rows are ten accounts' with the columns of the real table, the same in every layout, in a PostgreSQL with its
defaults. Reads and merges are the server's own times, medians of several. Prints a table and writes
benchmarks/results/store_layouts.json.
"""

# ruff: noqa: S608 - all names and numbers are our own
import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from adsml_common.cli.output import table
from adsml_common.database import Database
from store_scale import SIZE

ROOT = Path(__file__).parents[1]
# The tests' PostgreSQL, which is no package that could be imported otherwise.
sys.path.insert(0, str(ROOT / "tests"))
from support.databases import postgresql_database, postgresql_server  # noqa: E402 - needs the path above

ACCOUNTS = 10
START = date(2023, 1, 1)
TIMES = 7
_HASH = "PARTITION BY HASH (entity_key)"
_RANGE = "PARTITION BY RANGE (date)"

Connection: TypeAlias = "psycopg.Connection[Any]"


def months(start: date, count: int, *, step: int = 1) -> Iterator[tuple[str, date, date]]:
    """Names and bounds of parts of `step` months; `start` is a first of January."""
    for at in range(0, count, step):
        first, then = (date(start.year + (at + more) // 12, (at + more) % 12 + 1, 1) for more in (0, step))
        yield f"{first:%Y_%m}", first, then


def by_range(parent: str, count: int, *, step: int = 1) -> Iterator[str]:
    for name, first, then in months(START, count, step=step):
        yield f"CREATE TABLE {parent}_{name} PARTITION OF {parent} FOR VALUES FROM ('{first}') TO ('{then}')"


def by_hash(parent: str, parts: int, *, within: str = "") -> Iterator[str]:
    for at in range(parts):
        rule = f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {at})"
        yield f"CREATE TABLE {parent}_h{at} PARTITION OF {parent} {rule} {within}"


@dataclass(frozen=True)
class Layout:
    """The clause of the table, the statements that make its parts, and those by which the first month goes."""

    clause: str
    parts: list[str]
    prune: list[str]


def layouts(count: int) -> dict[str, Layout]:
    """All that are compared."""
    name, _, then = next(months(START, 1))
    delete = [f"DELETE FROM t WHERE date < '{then}'", "VACUUM t"]
    both = list(by_hash("t", 8, within=_RANGE))
    for at in range(8):
        both += by_range(f"t_h{at}", count)
    return {
        "whole": Layout("", [], delete),
        "by month": Layout(_RANGE, list(by_range("t", count)), [f"DROP TABLE t_{name}"]),
        "by quarter": Layout(_RANGE, list(by_range("t", count, step=3)), [f"DROP TABLE t_{name}"]),
        "by a hash of the entity, 16": Layout(_HASH, list(by_hash("t", 16)), delete),
        "by hash, 8, and month": Layout(_HASH, both, [f"DROP TABLE t_h{at}_{name}" for at in range(8)]),
    }


def fill(connection: Connection, *, entities: int, days: int) -> None:
    """The rows, in a table of their own, entity by entity."""
    connection.execute("CREATE UNLOGGED TABLE rows (LIKE daily_metrics)")
    numbers = {"entities": entities, "days": days, "start": START}
    connection.execute(
        """INSERT INTO rows (entity_key, date, spend, impressions, clicks, leads, reach, source, loaded_at, fetched_at)
        SELECT entity, %(start)s::date + day, round((20 + 20 * random())::numeric, 2), floor(3000 * random()),
            floor(40 * random()), floor(3 * random()), floor(1500 * random()), 'benchmark', now(), 0
        FROM generate_series(1, %(entities)s) AS entity, generate_series(0, %(days)s - 1) AS day""",
        numbers,
    )
    connection.execute("ANALYZE rows")


def measure(connection: Connection, layout: Layout, *, entities: int, days: int) -> dict[str, float]:
    """The figures of one layout."""

    def run(statement: str) -> None:
        connection.execute(statement)

    def median_ms(statement: Callable[[int], str]) -> float:
        def once(at: int) -> float:
            explained = connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement(at)}")
            return float(explained.fetchall()[0][0][0]["Execution Time"])

        return statistics.median(once(at) for at in range(TIMES))

    run("DROP TABLE IF EXISTS t")
    run(
        f"CREATE TABLE t (LIKE daily_metrics INCLUDING DEFAULTS, PRIMARY KEY (entity_key, date)) {layout.clause}"
    )
    for part in layout.parts:
        run(part)
    found = {"load_s": timed(lambda: run("INSERT INTO t SELECT * FROM rows"))}
    run("VACUUM ANALYZE t")
    [[size]] = connection.execute(f"SELECT {SIZE.format(table='t')}").fetchall()
    found["bytes_a_row"] = float(size) / (entities * days)
    each, last = entities // ACCOUNTS, f"date '{START}' + {days}"

    def of_account(at: int, *, since: int = days) -> str:
        return f"entity_key BETWEEN {at * each + 1} AND {(at + 1) * each} AND date >= {last} - {since}"

    found["account_90_days_ms"] = median_ms(lambda at: f"SELECT * FROM t WHERE {of_account(at, since=90)}")
    found["account_all_days_ms"] = median_ms(lambda at: f"SELECT * FROM t WHERE {of_account(at)}")
    found["entity_ms"] = median_ms(lambda at: f"SELECT * FROM t WHERE entity_key = {at * each + 5}")
    changed = ", ".join(
        f"{name} = excluded.{name}" for name in ("spend", "impressions", "clicks", "leads", "reach")
    )
    found["merge_30_days_ms"] = median_ms(
        lambda at: (
            f"INSERT INTO t SELECT * FROM rows WHERE {of_account(at, since=30)} "
            f"ON CONFLICT (entity_key, date) DO UPDATE SET {changed}"
        )
    )
    found["first_month_goes_ms"] = 1e3 * timed(lambda: [run(one) for one in layout.prune])
    return found


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=4_600)
    parser.add_argument("--months", type=int, default=36)
    asked = parser.parse_args()
    days = [*months(START, asked.months)][-1][2].toordinal() - START.toordinal()
    found: dict[str, dict[str, float]] = {}
    with postgresql_server(durable=True) as server, postgresql_database(server) as url:
        database = Database.open(url)
        database.migrate()
        database.close()
        plain = url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(plain, autocommit=True) as connection:
            fill(connection, entities=asked.entities, days=days)
            for name, layout in layouts(asked.months).items():
                found[name] = measure(connection, layout, entities=asked.entities, days=days)
                print(name, found[name], file=sys.stderr, flush=True)
    figures = list(found["whole"])
    lines = [(name, *(f"{one[figure]:,.1f}" for figure in figures)) for name, one in found.items()]
    table(f"{asked.entities * days:,} daily rows", ("layout", *figures), lines, right=tuple(figures))
    written = {
        "rows": asked.entities * days,
        "layouts": {
            name: {figure: round(value, 2) for figure, value in one.items()} for name, one in found.items()
        },
        "command": " ".join(["python benchmarks/store_layouts.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    (ROOT / "benchmarks" / "results" / "store_layouts.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
