"""Every method of every service against 100,000 messages that no friend would send.

    python benchmarks/bench_fuzz.py [--quick] [--calls 100000] [--family classifier] [--minutes 60] [--seed N] [--anew]
        [--folder DIR]

Nothing of the product is imported: an account is simulated, models are trained and services started by the `adsml`
command, in processes with bounded memory, on a database of their own; what they take is learnt by reflection
(tests/support/fuzzing.py). Runs add up: each takes the next seed of a service and adds to benchmarks/results/fuzz.json,
so that 100,000 calls can be made in portions (`--calls 2000 --minutes 1`), beside a `--folder` that keeps account and
models; `--anew` begins the sums of those services again. Prints by method what came back so far and the share of likely
calls that were answered, or refused where that is the one right answer (`REFUSED`). Exit status 1 where anything came
back that never should: INTERNAL, UNKNOWN, a dead server, a word of what it is made of; and where less than 30% of a
method's likely calls were answered so.
"""

import argparse
import contextlib
import csv
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
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
TRAIN = ("classifiers", "anomaly-detectors", "ensemble-weights")
PREFIXES = {"forecasting": "ensemble"}
JOBS = {
    "classifier": "TRAINING_JOB_CLASSIFIERS",
    "forecasting": "TRAINING_JOB_ENSEMBLE_WEIGHTS",
    "anomaly": "TRAINING_JOB_ANOMALY_DETECTORS",
    "impact": "TRAINING_JOB_PROPHET",
}
LEAST = 0.3
REFUSED = {
    "impact": {
        "StartTraining": "INVALID_ARGUMENT",
        "GetTrainingRun": "NOT_FOUND",
        "CancelTrainingRun": "NOT_FOUND",
    }
}
"""What a service that trains nothing has to say to whoever starts a training or asks for a run."""


def bounded() -> None:
    """What starts has so much memory and no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def command(env: dict[str, str], *arguments: str) -> str:
    """Run `adsml`; what it printed."""
    done = subprocess.run([*ADSML, *arguments], env=env, check=True, capture_output=True, text=True)
    return done.stdout


def prepare(folder: Path) -> tuple[dict[str, str], list[tuple[str, str]], date]:
    """An account and its models, made or found; the environment, the entities and the last day."""
    env = {
        **os.environ,
        "ADSML_DATABASE_URL": f"sqlite:///{folder / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "ADSML_LOG_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
    }
    prepared = folder / "prepared"
    if not prepared.exists():
        account = str(folder / "account")
        command(env, "migrate")
        command(env, "simulate", account, "--preset", "demo", "--format", "csv", "--seed", "3")
        command(env, "import", f"{account}/daily.csv", "--config-id", "1")
        command(env, "changes", "import", f"{account}/changes.csv", "--config-id", "1")
        # Twice, so that there is a version to go back to.
        for job in TRAIN * 2:
            command(env, "train", job, "--config-id", "1")
        subprocess.run(
            [sys.executable, ROOT / "tests/support/two_versions.py", "impact/1"], env=env, check=True
        )
        prepared.touch()
    with (folder / "account" / "daily.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    entities = {(row["entity_type"].upper(), row["entity_id"]) for row in rows}
    return env, sorted(entities), max(date.fromisoformat(row["date"]) for row in rows)


def model_of(env: dict[str, str], family: str) -> str:
    """The model of a family with the most versions."""
    listed = command(env, "models", "list", "--prefix", f"{PREFIXES.get(family, family)}/", "--json")
    versions = {
        one["ref"]["name"]: int(one["ref"]["version"]) for one in reversed(json.loads(listed)["models"])
    }
    return max(versions, key=lambda name: versions[name])


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


def kept() -> dict[str, Any]:
    """What all runs so far have added up to, by service."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: one for name, one in found.items() if "portions" in one}


def add(
    family: str, before: dict[str, Any], report: Report, *, seed: int, seconds: float, alive: bool
) -> dict[str, Any]:
    """What a service answered in all runs, this one among them."""
    methods: dict[str, dict[str, int]] = before.get("methods", {})
    for word, count in sorted(report.codes.items()):
        method, _, code = word.partition(" ")
        of_method = methods.setdefault(method, {})
        of_method[code] = of_method.get(code, 0) + count
    for method, codes in report.likely.items():
        of_method = methods.setdefault(method, {})
        right = {"likely OK": codes["OK"]}
        if refusal := REFUSED.get(family, {}).get(method.rpartition(".")[2]):
            right["likely refused"] = codes[refusal]
        for name, count in {"likely": codes.total(), **right}.items():
            of_method[name] = of_method.get(name, 0) + count
    faults = [[seed, method, word, data.hex()] for method, word, data in report.faults]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        "calls": before.get("calls", 0) + report.calls,
        "seconds": before.get("seconds", 0) + round(seconds),
        "alive": before.get("alive", True) and alive,
        "fault_count": before.get("fault_count", 0) + len(faults),
        "faults": [*before.get("faults", []), *faults][:50],
        "portions": [
            *before.get("portions", []),
            {
                "seed": seed,
                "calls": report.calls,
                "commit": commit,
                "date": datetime.now(UTC).date().isoformat(),
            },
        ],
        "methods": methods,
    }


def show(family: str, found: dict[str, Any]) -> None:
    """A service's methods, each with what it answered."""
    state = "alive" if found["alive"] else "DEAD"
    print(
        f"{family}: {found['calls']:,} calls in {len(found['portions'])} runs, {found['fault_count']} faults, {state}"
    )
    print(
        f"  {'method':28s} {'OK':>7s} {'errors':>7s} {'likely OK':>12s}  errors by status, then of single entries"
    )
    for method, counts in sorted(found["methods"].items()):
        errors = {code: n for code, n in counts.items() if code != "OK" and not code.startswith("likely")}
        whole = {code: n for code, n in errors.items() if not code.startswith("/")}
        share = ""
        if counts.get("likely"):
            share = f"{_share(counts):.0%}" + (" refused" if "likely refused" in counts else "")
        words = ", ".join(
            f"{code} {n}" for code, n in sorted(errors.items(), key=lambda one: (one[0][0] == "/", one))
        )
        ok = counts.get("OK", 0)
        print(f"  {method.rpartition('.')[2]:28s} {ok:7,d} {sum(whole.values()):7,d} {share:>12s}  {words}")
    for _, method, word, _ in found["faults"][:10]:
        print("  FAULT", method, word[:200])


def _share(counts: dict[str, int]) -> float:
    """Of a method's likely calls, how many were answered as they should be."""
    return counts.get("likely refused", counts["likely OK"]) / counts["likely"]


def main() -> int:
    """Fuzz, add up, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="another default: --calls 2000")
    parser.add_argument("--calls", type=int, help="over all services")
    parser.add_argument("--minutes", type=float, default=60.0, help="longest for one service")
    parser.add_argument(
        "--family", action="append", choices=FAMILIES, help="only this one; may be given again"
    )
    parser.add_argument("--seed", type=int, help="instead of each service's next one")
    parser.add_argument("--folder", type=Path, help="keep account and models here, and use them again")
    parser.add_argument("--anew", action="store_true", help="forget what earlier runs have added up")
    options = parser.parse_args()
    families = options.family or list(FAMILIES)
    calls = (options.calls or (2_000 if options.quick else 100_000)) // len(families)
    sums = {name: one for name, one in kept().items() if not (options.anew and name in families)}
    with contextlib.ExitStack() as stack:
        made = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adsml-fuzz-")))
        env, entities, last_day = prepare(made)
        for family in families:
            before = sums.get(family, {})
            seed = options.seed or 1 + max((one["seed"] for one in before.get("portions", [])), default=0)
            names = {
                "FAMILY": f"FAMILY_{family.upper()}",
                "MODEL": model_of(env, family),
                "JOB": JOBS[family],
            }
            with serving(family, env) as (process, target), grpc.insecure_channel(target) as channel:
                began = time.monotonic()
                fuzzer = Fuzzer(channel, entities, last_day, seed=seed, names=names)
                report = fuzzer.run(
                    calls, until=lambda began=began: time.monotonic() - began > 60 * options.minutes
                )
                seconds, alive = time.monotonic() - began, process.poll() is None
            sums[family] = add(family, before, report, seed=seed, seconds=seconds, alive=alive)
            # After each service, so that a run that is ended early has not been for nothing.
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept() | {family: sums[family]}, indent=1) + "\n")
            show(family, sums[family])
    unanswered = [
        f"{family}: of the likely calls of {method} {_share(counts):.0%} were answered"
        for family in families
        for method, counts in sums[family]["methods"].items()
        if counts.get("likely") and _share(counts) < LEAST
    ]
    print(*unanswered, sep="\n")
    held = all(sums[one]["alive"] and not sums[one]["fault_count"] for one in families)
    return 0 if held and not unanswered else 1


if __name__ == "__main__":
    raise SystemExit(main())
