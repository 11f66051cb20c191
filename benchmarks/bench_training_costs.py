"""What one item of each training job costs: processor seconds, memory, bytes of its model.

Each job trains a few items of one simulated account in a process of its own, in one thread, on SQLite. The first
item, with the compiling and reading that it brings, is told apart. Before an account's first detector a process learns
what its entities have in common: that is measured for accounts of several sizes. Writes
benchmarks/results/training_costs.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "training_costs.json"
JOBS = {"anomaly-detectors": 60, "classifiers": 2, "prophet": 12, "ensemble-weights": 4}
"""How many items of each."""
ENTITIES, DAYS = 200, 180
SIZES = (50, 200, 1_000)
"""Entities of the accounts whose first detector is timed."""


def prepare(url: str) -> dict[str, int]:
    """The accounts; bytes and rows of the database when it held the first."""
    from adsml_common.database import Database
    from adsml_simulate import presets, simulate_account
    from adsml_simulate.storing import write_to_store

    database = Database.open(url)
    database.migrate()
    settings = presets.large(last_day=presets.yesterday(), config_id=1, days=DAYS, entities=ENTITIES)
    account = simulate_account(settings, seed=1)
    write_to_store(account, database)
    stored = {"rows": len(account.daily), "bytes": Path(url.removeprefix("sqlite:///")).stat().st_size}
    for config_id, entities in enumerate(SIZES, start=2):
        settings = presets.large(
            last_day=presets.yesterday(), config_id=config_id, days=DAYS, entities=entities
        )
        write_to_store(simulate_account(settings, seed=config_id), database)
    database.close()
    return stored


def train(job: str, url: str, folder: Path) -> dict[str, Any]:
    """Some items of a job, here."""
    from adsml_common.database import Database
    from adsml_common.registry.artifacts import ArtifactStore
    from adsml_common.registry.registry import ModelRegistry
    from adsml_common.training.records import Item, ItemStatus

    database = Database.open(url)
    registry = ModelRegistry(database, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "cache"))
    items, train_one = _job(job, database, registry)
    costs: list[float] = []
    sizes: list[int] = []
    tried: list[Item] = []
    for item in items:
        began = time.process_time()
        try:
            result = train_one(item)
        except Exception as error:
            sys.stderr.write(f"{item.key}: {error}\n")
            continue
        costs.append(time.process_time() - began)
        tried.append(item)
        if result.status is ItemStatus.TRAINED and result.model is not None:
            sizes.append(result.model.size_bytes)
        if len(tried) == JOBS[job]:
            break
    learning: dict[int, float] = {}
    if job == "anomaly-detectors":
        for config_id, entities in enumerate(SIZES, start=2):
            first, second = _job(job, database, registry, config_id=config_id)[0][:2]
            seconds = []
            for item in (first, second):
                began = time.process_time()
                train_one(item)
                seconds.append(time.process_time() - began)
            learning[entities] = round(seconds[0] - seconds[1], 2)
    database.close()
    return {
        **({"learning_processor_seconds": learning} if learning else {}),
        "items": len(costs),
        "first_processor_seconds": round(costs[0], 2),
        "processor_seconds": round(median(costs[1:]), 3),
        "most_processor_seconds": round(max(costs[1:]), 3),
        "model_bytes": round(median(sizes)) if sizes else None,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _job(job: str, database: Any, registry: Any, *, config_id: int = 1) -> tuple[Any, Any]:
    """Items and trainer of a job."""
    from functools import partial

    if job == "anomaly-detectors":
        from adsml_anomaly.training.detectors import DetectorTrainer
        from adsml_anomaly.training.items import items_of

        return items_of(database, [config_id]), DetectorTrainer(database, registry, run_id="costs")
    if job == "classifiers":
        from adsml_classifier.training.job import AccountTrainer
        from adsml_classifier.training.job import items_of as accounts
        from adsml_classifier.training.recipe import Recipe

        return accounts([1]), AccountTrainer(database, registry, run_id="costs", recipe=Recipe())
    from adsml_common.domain.entities import EntityType
    from adsml_common.domain.metrics import Metric
    from adsml_common.store.metrics import MetricStore
    from adsml_forecasting.training import jobs as training

    store = MetricStore(database)
    items = training.items(
        store, family="prophet" if job == "prophet" else "ensemble", config_ids=[1],
        entity_types=[EntityType.CAMPAIGN], metrics=[Metric.LEADS, Metric.SPEND], attribution_lag_days=0,
    )  # fmt: skip
    one = training.train_prophet if job == "prophet" else training.train_ensemble
    # A level is all its series at once; an entity is one.
    entities = [item for item in items if item.entity_id is not None]
    return entities, partial(one, store=store, registry=registry, run_id="costs")


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", nargs=3, metavar=("JOB", "URL", "FOLDER"), help="one job, in this process")
    parser.add_argument(
        "--only", nargs="+", choices=JOBS, default=list(JOBS), help="these jobs; others are kept"
    )
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(train(asked.job[0], asked.job[1], Path(asked.job[2]))))
        return
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory(prefix="adsml-bench-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'adsml.db'}"
        stored = prepare(url)
        jobs = json.loads(RESULTS.read_text())["jobs"] if RESULTS.exists() else {}
        for job in asked.only:
            done = subprocess.run(
                [sys.executable, __file__, "--job", job, url, str(folder)],
                env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            jobs[job] = json.loads(done.stdout) | {"load_average": round(os.getloadavg()[0], 1)}
    result = {
        "cpus": os.cpu_count(),
        "daily_rows": stored["rows"],
        "bytes_per_daily_row": round(stored["bytes"] / stored["rows"]),
        "jobs": jobs,
    }
    figures = list(dict.fromkeys(figure for costs in jobs.values() for figure in costs))
    table = Table("job", *figures, title="one item")
    for job, costs in jobs.items():
        table.add_row(job, *(str(costs.get(figure, "")) for figure in figures))
    Console().print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
