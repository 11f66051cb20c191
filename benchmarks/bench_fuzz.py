"""Every method of every service against 100,000 messages that no friend would send.

    python benchmarks/bench_fuzz.py [--quick] [--calls 100000] [--family classifier] [--minutes 60] [--seed 1]

Nothing of the product is imported: an account is simulated, models are trained and services started by the `adsml`
command, in processes with bounded memory, on a database of their own; what they take is learnt by reflection
(tests/support/fuzzing.py). Prints by method what came back and the share of likely calls that were answered, and
writes benchmarks/results/fuzz.json. Exit status 1 where anything came back that never should: INTERNAL, UNKNOWN, a dead
server, a word of what it is made of.
"""

import argparse
import csv
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
sys.path.insert(0, str(ROOT / "tests"))
from support.fuzzing import Fuzzer, Report  # noqa: E402 - needs the path above

ADSML = [sys.executable, "-m", "adsml_common.cli"]
MEMORY = 4 << 30
FAMILIES = ("classifier", "forecasting", "anomaly", "impact")
TRAIN = {"classifier": "classifiers", "anomaly": "anomaly-detectors"}
JOBS = {
    "classifier": "TRAINING_JOB_CLASSIFIERS",
    "forecasting": "TRAINING_JOB_ENSEMBLE_WEIGHTS",
    "anomaly": "TRAINING_JOB_ANOMALY_DETECTORS",
    "impact": "TRAINING_JOB_PROPHET",
}


def bounded() -> None:
    """What starts has so much memory and no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def command(env: dict[str, str], *arguments: str) -> str:
    """Run `adsml`; what it printed."""
    done = subprocess.run([*ADSML, *arguments], env=env, check=True, capture_output=True, text=True)
    return done.stdout


def prepare(folder: Path, families: list[str]) -> tuple[dict[str, str], list[tuple[str, str]], date]:
    """Simulate an account and train; the environment, the entities and the last day."""
    env = {
        **os.environ,
        "ADSML_DATABASE_URL": f"sqlite:///{folder / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "ADSML_LOG_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
    }
    command(env, "migrate")
    command(env, "simulate", str(folder / "account"), "--preset", "demo", "--format", "csv", "--seed", "3")
    command(env, "import", str(folder / "account" / "daily.csv"), "--config-id", "1")
    command(env, "changes", "import", str(folder / "account" / "changes.csv"), "--config-id", "1")
    for family in families:
        if family in TRAIN:
            command(env, "train", TRAIN[family], "--config-id", "1")
    with (folder / "account" / "daily.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    entities = {(row["entity_type"].upper(), row["entity_id"]) for row in rows}
    return env, sorted(entities), max(date.fromisoformat(row["date"]) for row in rows)


@contextmanager
def serving(family: str, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service in a process of its own, and its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    env = {
        **env,
        f"ADSML_{family.upper()}_PORT": str(port),
        f"ADSML_{family.upper()}_DRAIN_WAIT_SECONDS": "0",
    }
    process = subprocess.Popen([*ADSML, "serve", family], env=env, preexec_fn=bounded)  # noqa: PLW1509
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            until = time.monotonic() + 120
            while time.monotonic() < until and process.poll() is None:
                request = health_pb2.HealthCheckRequest()
                try:
                    if stub.Check(request, timeout=5).status == health_pb2.HealthCheckResponse.SERVING:
                        break
                except grpc.RpcError:
                    pass
                time.sleep(0.2)
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def told(report: Report) -> dict[str, Any]:
    """A report's figures by method."""
    methods: dict[str, dict[str, Any]] = defaultdict(dict)
    for word, count in sorted(report.codes.items()):
        method, _, code = word.partition(" ")
        methods[method][code] = count
    for method, (tried, answered) in report.likely.items():
        methods[method]["likely_ok_share"] = round(answered / tried, 2)
    return dict(methods)


def main() -> int:
    """Fuzz, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="another default: --calls 2000")
    parser.add_argument("--calls", type=int)
    parser.add_argument("--minutes", type=float, default=60.0, help="longest for one service")
    parser.add_argument(
        "--family", action="append", choices=FAMILIES, help="only this one; may be given again"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    families = options.family or list(FAMILIES)
    calls = (options.calls or (2_000 if options.quick else 100_000)) // len(families)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="adsml-fuzz-") as made:
        env, entities, last_day = prepare(Path(made), families)
        for family in families:
            names = {"FAMILY": f"FAMILY_{family.upper()}", "MODEL": f"{family}/1", "JOB": JOBS[family]}
            with serving(family, env) as (process, target), grpc.insecure_channel(target) as channel:
                began = time.monotonic()
                fuzzer = Fuzzer(channel, entities, last_day, seed=options.seed, names=names)
                report = fuzzer.run(
                    calls, until=lambda began=began: time.monotonic() - began > 60 * options.minutes
                )
                alive = process.poll() is None
            found[family] = {
                "date": datetime.now(UTC).date().isoformat(),
                "seed": options.seed,
                "calls": report.calls,
                "seconds": round(time.monotonic() - began),
                "alive": alive,
                "fault_count": len(report.faults),
                "faults": [[method, word, data.hex()] for method, word, data in report.faults[:50]],
                "methods": told(report),
            }
            print(
                f"{family}: {report.calls:,} calls, {len(report.faults)} faults, {'alive' if alive else 'DEAD'}"
            )
            for method, counts in found[family]["methods"].items():
                print(f"  {method.rpartition('.')[2]:28s}", counts)
            for method, word, _ in report.faults[:10]:
                print("  FAULT", method, word[:200])
    RESULTS.parent.mkdir(exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(
        json.dumps({**{k: v for k, v in before.items() if k in FAMILIES}, **found}, indent=1) + "\n"
    )
    return 0 if all(one["alive"] and not one["fault_count"] for one in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
