"""Every method of every service against 20,000 messages made from the contracts: random, boundary and mutated ones.

    python benchmarks/bench_fuzz.py [--quick] [--calls 20000] [--family classifier] [--minutes 60] [--seed 1]

Models are trained first, where the family has jobs that take seconds, so that what is behind them is met too. Prints
what came back by method and status, and writes benchmarks/results/fuzz.json, where runs of other seeds and families
stay: 20,000 calls can be made in parts. Exit status 1 where anything came back that never should: UNKNOWN, INTERNAL, a
dead server, a word of what it is made of. `--quick` makes 500 calls a service.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
from adsml_common.cli.output import table
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.messages import ENTITY_TYPE
from adsml_common.training.launchers import LocalLauncher
from adsml_simulate import AccountSettings, simulate_account
from adsml_simulate.storing import write_to_store
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_account import train_classifiers

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
# The tests' makers of messages, which are no package that could be imported otherwise.
sys.path.insert(0, str(ROOT / "tests"))
from support.families import build, servable, settings_of  # noqa: E402 - needs the path above
from support.fuzzing import Fuzzer, Maker, World  # noqa: E402 - needs the path above

LAST_DAY = date(2026, 3, 31)


def prepare(folder: Path, families: list[str]) -> tuple[str, list[tuple[int, str]]]:
    """Store an account and train what trains in seconds; URL of the database, and the entities."""
    url = f"sqlite:///{folder / 'adsml.db'}"
    account = simulate_account(
        AccountSettings(last_day=LAST_DAY, days=90, config_id=1, campaigns=2, adsets=4, ads=8), seed=3
    )
    database = Database.open(url)
    database.migrate()
    write_to_store(account, database)
    if "classifier" in families:
        artifacts = ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "cache")
        train_classifiers(database, ModelRegistry(database, artifacts), config_id=1)
    database.close()
    env = {
        **os.environ,
        "ADSML_DATABASE_URL": url,
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
    }
    if "anomaly" in families:
        command = [sys.executable, "-m", "adsml_common.cli", "train", "anomaly-detectors", "--config-id", "1"]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return url, [(ENTITY_TYPE.to_wire(one.ref.entity_type), one.ref.entity_id) for one in account.entities]


def fuzz(name: str, url: str, entities: list[tuple[int, str]], folder: Path, asked: Any) -> dict[str, Any]:
    """One service's figures."""
    builder = build(name, settings_of(name, database_url=url, folder=folder, log_level="ERROR"))
    world = World(1, entities, LAST_DAY, names=(f"{name}/1",))
    with builder.start() as server, grpc.insecure_channel(server.target) as channel:
        began = time.monotonic()
        fuzzer = Fuzzer(channel, builder.services, Maker(world, seed=asked.seed))
        report = fuzzer.run(asked.calls, until=lambda: time.monotonic() - began > 60 * asked.minutes)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    return {
        "calls": report.calls,
        "seconds": round(time.monotonic() - began),
        "serving_afterwards": health.status == health_pb2.HealthCheckResponse.SERVING,
        "codes": dict(sorted(report.codes.items())),
        "faults": [[method, word, data.hex()] for method, word, data in report.faults[:50]],
        "fault_count": len(report.faults),
    }


def write(found: dict[str, Any], seed: int) -> None:
    """Put these runs beside those of other seeds and families."""
    told: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, one in found.items():
        runs = told.setdefault(name, {}).setdefault("runs", {})
        kept = runs.get(f"seed {seed}")
        if kept is not None and kept["calls"] > one["calls"] and not one["fault_count"]:
            continue  # the longer run began with the same calls
        runs[f"seed {seed}"] = {"date": datetime.now(UTC).date().isoformat(), **one}
        told[name]["calls"] = sum(run["calls"] for run in runs.values())
        told[name]["fault_count"] = sum(run["fault_count"] for run in runs.values())
        print(f"{name}: {told[name]['calls']:,} calls in all runs kept, {told[name]['fault_count']} faults")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")


def main() -> int:
    """Fuzz, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="another default: --calls 500")
    parser.add_argument("--calls", type=int)
    parser.add_argument("--minutes", type=float, default=60.0, help="longest for one service")
    parser.add_argument("--family", action="append", help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    asked.calls = asked.calls or (500 if asked.quick else 20_000)
    # Valid requests to train are recorded and start nothing: thousands of training processes would be no test.
    setattr(LocalLauncher, "launch", lambda *_: None)  # noqa: B010 - an assignment would not pass the types
    names = asked.family or servable()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="adsml-fuzz-") as made:
        folder = Path(made)
        url, entities = prepare(folder, names)
        for name in names:
            found[name] = fuzz(name, url, entities, folder, asked)
    rows = [(name, code, f"{count:,}") for name, one in found.items() for code, count in one["codes"].items()]
    table(
        "What came back; /CODE: of a single entity of a batch",
        ("service", "method and status", "times"),
        rows,
    )
    for name, one in found.items():
        print(f"{name}: {one['calls']:,} calls, {one['fault_count']} faults, {one['seconds']} s")
        for method, word, _ in one["faults"]:
            print(f"  {method}: {word}")
    write(found, asked.seed)
    return int(any(one["fault_count"] or not one["serving_afterwards"] for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
