"""Five times more calls than the classifier can answer, for a minute: what still comes through, and what comes after.

    python benchmarks/bench_overload.py [--quick] [--seconds 60] [--factor 5]

First the peak: as many callers as there are threads, in a closed loop. Then calls leave at `factor` times that rate,
whatever comes back, each with two seconds to live; a probe asks for health twice a second all the while. Then the time
until a single caller is answered as before. Each call is 50 inline series, so that it costs the server something
and the generator little. Prints a table and writes benchmarks/results/overload.json; `--quick` lasts 10 seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import serving_load
from adsml_common.cli.output import plain, table
from bench_serving import METHOD
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_account import inline_batch, memory_mb, prepare, process, require_model

RESULTS = Path(__file__).parent / "results" / "overload.json"
PORT = 53_200
BATCH = 50
DEADLINE = 2.0


class Probe:
    """Asks for health, and looks at memory, twice a second."""

    def __init__(self, target: str, pid: int) -> None:
        self.answered: list[float] = []
        self.failed = 0
        self.memory: list[float] = []
        self._target, self._pid = target, pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self._target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while not self._stop.wait(0.5):
                before = time.perf_counter()
                try:
                    health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=1.0)
                    self.answered.append(time.perf_counter() - before)
                except grpc.RpcError:
                    self.failed += 1
                self.memory.append(memory_mb(self._pid))


def percentile(values: list[float], which: float) -> float:
    """In milliseconds; NaN of nothing."""
    return float(np.percentile(values, which)) * 1e3 if values else float("nan")


def overload(target: str, pid: int, files: list[str], *, seconds: float, factor: float) -> dict[str, Any]:
    """The figures."""
    plan = {"target": target, "method": METHOD, "payloads": files, "warm_seconds": 1.0}
    peak = serving_load.run({**plan, "callers": 8, "seconds": min(seconds, 10.0)})
    rate = peak["calls"] / peak["seconds"]
    alone = serving_load.run({**plan, "callers": 1, "seconds": 2.0})
    usual = percentile(alone["latencies"], 99) / 1e3
    probe = Probe(target, pid)
    storm = serving_load.run(
        {**plan, "warm_seconds": 0.0, "rate": factor * rate, "seconds": seconds, "timeout": DEADLINE}
    )
    probe.close()
    ended = time.perf_counter()
    with grpc.insecure_channel(target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        data = Path(files[0]).read_bytes()
        while True:
            before = time.perf_counter()
            try:
                call(data, timeout=DEADLINE)
            except grpc.RpcError:
                continue
            if time.perf_counter() - before < 2 * usual:
                break
    recovery = time.perf_counter() - ended
    accepted = storm["latencies"]
    quarter = max(len(probe.memory) // 4, 1)
    return {
        "peak_calls_per_second": round(rate, 1),
        "offered_calls_per_second": round(factor * rate, 1),
        "goodput_calls_per_second": round(storm["calls"] / seconds, 1),
        "goodput_ratio": round(storm["calls"] / seconds / rate, 3),
        "peak_p99_ms": round(percentile(peak["latencies"], 99), 1),
        "accepted_p50_ms": round(percentile(accepted, 50), 1),
        "accepted_p99_ms": round(percentile(accepted, 99), 1),
        "refused": storm["errors"],
        "health_answered": len(probe.answered),
        "health_failed": probe.failed,
        "health_p99_ms": round(percentile(probe.answered, 99), 1),
        "memory_mb_first_quarter": round(float(np.median(probe.memory[:quarter])), 1),
        "memory_mb_last_quarter": round(float(np.median(probe.memory[-quarter:])), 1),
        "recovery_seconds": round(recovery, 2),
    }


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="another default: --seconds 10")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--factor", type=float, default=5.0)
    asked = parser.parse_args()
    asked.seconds = asked.seconds or (10.0 if asked.quick else 60.0)
    with tempfile.TemporaryDirectory(prefix="adsml-overload-") as made:
        folder = Path(made)
        prepared = prepare(folder, entities=400)
        files = []
        for number in range(4):
            chosen = prepared.entities[number * BATCH : (number + 1) * BATCH]
            path = folder / f"inline-{number}"
            path.write_bytes(inline_batch(prepared, chosen, reasons=0))
            files.append(str(path))
        env = {**prepared.env, "OMP_NUM_THREADS": "1", "ADSML_CLASSIFIER_PORT": str(PORT)}
        command = [sys.executable, "-m", "adsml_classifier.server"]
        with process(command, env, PORT, folder / "log") as pid:
            target = f"127.0.0.1:{PORT}"
            require_model(target, Path(files[0]).read_bytes())
            found = overload(target, pid, files, seconds=asked.seconds, factor=asked.factor)
    table("overload", ("", ""), [(name, str(value)) for name, value in found.items()], right=("",))
    RESULTS.parent.mkdir(exist_ok=True)
    told = {
        **found,
        "command": " ".join(["python benchmarks/bench_overload.py", *sys.argv[1:]]),
        "seconds": asked.seconds,
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    RESULTS.write_text(json.dumps(plain(told), indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
