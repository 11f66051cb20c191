"""Daily rows into and out of SQLite and a real PostgreSQL with its defaults (fsync on); then a full PostgreSQL.

    python benchmarks/bench_store.py [--quick] [--rows 1000000] [--scale-rows 5000000] [--models 100000]
                                     [--only sqlite|postgresql|scale]

First one account of `rows` daily rows on each database: loaded, loaded again unchanged, loaded with a tenth changed,
read. Rows are 200 days of each entity, in chunks as an import brings them, all in one transaction.

Then PostgreSQL with `scale-rows` daily rows in ten accounts and `models` registered models: how long each hot query of
the services takes and by which index it finds its rows. Exit status 1 where one of them reads a big table from end to
end. Prints tables and writes benchmarks/results/store.json; `--quick` takes a fiftieth of everything.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import store_scale
from adsml_common.cli.output import table
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.store.metrics import MetricStore

ROOT = Path(__file__).parents[1]
# The tests' PostgreSQL, which is no package that could be imported otherwise.
sys.path.insert(0, str(ROOT / "tests"))
from support.databases import postgresql_database, postgresql_server  # noqa: E402 - needs the path above

DAYS = 200
CHUNK = 50_000
START = date(2024, 1, 1)
QUICK = 50


def frames(rows: int, *, seed: int = 0, raise_spend: float = 0.0) -> Iterator[pd.DataFrame]:
    """Daily frames of `CHUNK` rows; a share `raise_spend` of the rows costs 1 more."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"2384{i:011d}" for i in range(-(-rows // DAYS))], dtype=object)
    first = np.datetime64(START, "ns")
    for start in range(0, rows, CHUNK):
        row = np.arange(start, min(rows, start + CHUNK))
        spend = rng.gamma(2.0, 20.0, len(row)).round(2)
        yield pd.DataFrame(
            {
                "entity_type": np.full(len(row), "adset", dtype=object),
                "entity_id": ids[row // DAYS],
                "date": first + (row % DAYS).astype("timedelta64[D]"),
                "spend": spend + (row % 100 < 100 * raise_spend),
                "impressions": rng.poisson(3000, len(row)).astype(float),
                "clicks": rng.poisson(40, len(row)).astype(float),
                "leads": rng.poisson(2, len(row)).astype(float),
                "reach": np.where(row % 2, np.nan, 1500.0),
            }
        )


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def megabytes() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(url: str, rows: int) -> dict[str, float]:
    """Every figure of one account in a database that is empty before."""
    database = Database.open(url)
    database.migrate()
    store = MetricStore(database)

    def load(raise_spend: float) -> None:
        with store.load(1, source="benchmark") as into:
            for frame in frames(rows, raise_spend=raise_spend):
                into.add(frame)

    out: dict[str, float] = {"making_the_rows_s": timed(lambda: sum(map(len, frames(rows))))}
    making = out["making_the_rows_s"]
    before = megabytes()
    for name, share in (("load", 0.0), ("again", 0.0), ("tenth_changed", 0.1)):
        seconds = timed(partial(load, share)) - making
        out[f"{name}_s"] = seconds
        out[f"{name}_rows_per_s"] = rows / seconds
    out["memory_growth_mb"] = megabytes() - before
    out["read_all_s"] = timed(lambda: store.daily(1))
    out["read_all_rows_per_s"] = rows / out["read_all_s"]
    every = sorted(set(store.daily(1, start=START, end=START)["entity_id"]))

    def read(ids: list[str]) -> None:
        store.daily(
            1, entity_type=EntityType.ADSET, entity_ids=ids, start=START, end=START + timedelta(days=59)
        )

    one = [timed(partial(read, [every[i % len(every)]])) for i in range(200)]
    out["read_one_entity_60_days_p50_ms"] = 1000 * statistics.median(one)
    many = [timed(partial(read, every[:1000])) for _ in range(7)]
    out[f"read_{len(every[:1000])}_entities_60_days_p50_ms"] = 1000 * statistics.median(many)
    version = [timed(lambda: store.data_version(1, EntityType.ADSET)) for _ in range(200)]
    out["data_version_p50_ms"] = 1000 * statistics.median(version)
    database.close()
    return out


def scale(url: str, *, rows: int, models: int) -> tuple[dict[str, float], dict[str, store_scale.Hot]]:
    """Fill a PostgreSQL that is empty before: what that took, and its hot queries."""
    database = Database.open(url)
    heard = store_scale.Heard(database)
    database.migrate()
    store = MetricStore(database)
    with tempfile.TemporaryDirectory(prefix="adsml-store-") as made:
        figures = store_scale.fill_days(store, frames, rows=rows)
        figures |= store_scale.fill_models(database, Path(made), models=models)
        store_scale.analyzed(database)
        ids = sorted(set(store.daily(1, start=START, end=START)["entity_id"]))
        hot = store_scale.hot_queries(database, heard, Path(made), ids)
    figures |= store_scale.sizes(database)
    database.close()
    return figures, hot


def show(title: str, results: dict[str, dict[str, float]]) -> None:
    """A table with a column for each database."""
    figures = list(dict.fromkeys(figure for found in results.values() for figure in found))
    rows = [
        (figure, *(f"{found[figure]:,.2f}" if figure in found else "" for found in results.values()))
        for figure in figures
    ]
    table(title, ("", *results), rows, right=tuple(results))


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scale-rows", type=int, default=5_000_000)
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of everything")
    parser.add_argument("--only", choices=("sqlite", "postgresql", "scale"), action="append")
    asked = parser.parse_args()
    rows, scale_rows, models = (
        size // (QUICK if asked.quick else 1) for size in (asked.rows, asked.scale_rows, asked.models)
    )
    wanted = asked.only or ["sqlite", "postgresql", "scale"]
    results: dict[str, dict[str, float]] = {}
    told: dict[str, Any] = {"rows": rows, "scale_rows": scale_rows, "models": models}
    whole: list[str] = []
    if "sqlite" in wanted:
        with tempfile.TemporaryDirectory(prefix="adsml-store-") as folder:
            results["sqlite"] = measure(f"sqlite:///{folder}/adsml.db", rows)
            results["sqlite"]["file_mb"] = (Path(folder) / "adsml.db").stat().st_size / 2**20
    if {"postgresql", "scale"} & set(wanted):
        with postgresql_server(durable=True) as server:
            if "postgresql" in wanted:
                with postgresql_database(server) as url:
                    results["postgresql"] = measure(url, rows)
            if "scale" in wanted:
                with postgresql_database(server) as url:
                    figures, hot = scale(url, rows=scale_rows, models=models)
                show(f"PostgreSQL, {scale_rows:,} daily rows, {models:,} models", {"": figures})
                lines = [
                    (what, f"{one.p50_ms:,.1f}", f"{one.server_ms:,.2f}", "; ".join(one.way))
                    for what, one in hot.items()
                ]
                table(
                    "hot queries",
                    ("query", "p50 ms", "server ms", "found by"),
                    lines,
                    right=("p50 ms", "server ms"),
                )
                whole = [
                    f"{what}: all of {', '.join(one.read_whole)}"
                    for what, one in hot.items()
                    if one.read_whole
                ]
                told["scale"] = {figure: round(value, 3) for figure, value in figures.items()}
                told["hot_queries"] = {what: asdict(one) for what, one in hot.items()}
    if results:
        show(f"store, {rows:,} daily rows", results)
    told |= {
        name: {figure: round(value, 3) for figure, value in found.items()} for name, found in results.items()
    }
    told |= {
        "command": " ".join(["python benchmarks/bench_store.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    path = ROOT / "benchmarks" / "results" / "store.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")
    for line in whole:
        print(line)
    return int(bool(whole))


if __name__ == "__main__":
    sys.exit(main())
