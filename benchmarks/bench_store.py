"""Daily rows into and out of the store, on SQLite and on a real PostgreSQL with its defaults (fsync on).

    python benchmarks/bench_store.py [--rows 1000000]

Prints a table and writes benchmarks/results/store.json. Rows are 100 ad sets' worth of days per entity, in
chunks as an import brings them, all in one transaction.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from adsml_common.database import Database  # noqa: E402
from adsml_common.domain.entities import EntityType  # noqa: E402
from adsml_common.store.metrics import MetricStore  # noqa: E402
from support.databases import postgresql_server  # noqa: E402

DAYS = 200
CHUNK = 50_000
START = date(2024, 1, 1)


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
    """Every figure of one database, empty before."""
    database = Database.open(url)
    database.migrate()
    store = MetricStore(database)

    def load(**changes: float) -> None:
        with store.load(1, source="benchmark") as into:
            for frame in frames(rows, **changes):
                into.add(frame)

    out: dict[str, float] = {"making_the_rows_s": timed(lambda: list(map(len, frames(rows))))}
    making = out["making_the_rows_s"]
    before = megabytes()
    for name, share in (("load", 0.0), ("again", 0.0), ("tenth_changed", 0.1)):
        seconds = timed(lambda share=share: load(raise_spend=share)) - making
        out[f"{name}_s"] = seconds
        out[f"{name}_rows_per_s"] = rows / seconds
    out["memory_growth_mb"] = megabytes() - before
    out["read_all_s"] = timed(lambda: store.daily(1))
    out["read_all_rows_per_s"] = rows / out["read_all_s"]
    ids = [frame["entity_id"].iloc[0] for frame in frames(rows)] or [""]
    every = sorted(set(store.daily(1, start=START, end=START)["entity_id"]))
    window = {"entity_type": EntityType.ADSET, "start": START, "end": START + timedelta(days=59)}
    one = [timed(lambda i=i: store.daily(1, entity_ids=[ids[i % len(ids)]], **window)) for i in range(200)]
    out["read_one_entity_60_days_p50_ms"] = 1000 * statistics.median(one)
    batch = every[:1000]
    many = [timed(lambda: store.daily(1, entity_ids=batch, **window)) for _ in range(7)]
    out["read_1000_entities_60_days_p50_ms"] = 1000 * statistics.median(many)
    version = [timed(lambda: store.data_version(1, EntityType.ADSET, ids[0])) for _ in range(200)]
    out["data_version_p50_ms"] = 1000 * statistics.median(version)
    database.close()
    return out


def main() -> None:
    """Measure both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results["sqlite"] = measure(f"sqlite:///{folder}/adsml.db", rows)
        results["sqlite"]["file_mb"] = (Path(folder) / "adsml.db").stat().st_size / 2**20
    with postgresql_server(durable=True) as url:
        results["postgresql"] = measure(url, rows)
    table = Table(title=f"store, {rows:,} daily rows", title_justify="left")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for figure in results["sqlite"]:
        table.add_row(figure, *(f"{found.get(figure, float('nan')):,.2f}" for found in results.values()))
    Console().print(table)
    path = ROOT / "benchmarks" / "results" / "store.json"
    path.parent.mkdir(exist_ok=True)
    told = {
        "command": f"python benchmarks/bench_store.py --rows {rows}",
        "date": datetime.now(UTC).date().isoformat(),
        "rows": rows,
        **{
            name: {figure: round(value, 3) for figure, value in found.items()}
            for name, found in results.items()
        },
    }
    path.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
