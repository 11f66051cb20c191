"""Half an hour of mixed load on every installed service: memory and file descriptors must stay flat.

    python benchmarks/bench_soak.py [--quick] [--minutes 30] [--family classifier]

Each service runs in a process of its own on a stored account. Two callers a service send it the contract's messages,
half of them plausible, the rest not, and connect anew every few hundred calls. Memory and descriptors are
read every few seconds; the slope is that of the second half, in MB an hour, by least squares. Prints a table
and writes benchmarks/results/soak.json; exit status 1 where a slope is steeper than 2% of the memory in the
run's second half, descriptors grow, or a service talks. `--quick` lasts two minutes: in that time memory still grows
with what is met for the first time, so that only talking and descriptors count.
"""

import argparse
import contextlib
import json
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from adsml_common.cli.output import table

ROOT = Path(__file__).parents[1]
# The tests' makers of messages, which are no package that could be imported otherwise.
sys.path.insert(0, str(ROOT / "tests"))
from bench_fuzz import JOBS, prepare  # noqa: E402 - needs the path above
from serving_account import memory_mb, process  # noqa: E402 - beside the one above
from support.families import servable  # noqa: E402 - needs the path above
from support.fuzzing import Fuzzer, Report  # noqa: E402 - needs the path above

RESULTS = ROOT / "benchmarks" / "results" / "soak.json"
PORT = 53_300
CALLERS = 2
CALLS_A_CONNECTION = 300
EVERY_SECONDS = 3.0
STEEPEST = 0.02
TRACE_CHARACTERS = 6_000
QUICK_MINUTES = 2.0
Account = tuple[list[tuple[str, str]], date]
"""Entities by level, and the last stored day."""


@dataclass
class Soaked:
    """One service under load.

    Attributes
    ----------
    pid
        Its process.
    at, memory, descriptors
        Seconds since the start, MB and counts.
    calls, faults
        How many were made, and what should never have come back.
    """

    pid: int
    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    calls: int = 0
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, report: Report) -> None:
        """Count what came back; from any thread."""
        with self.lock:
            self.calls += report.calls
            self.faults += [f"{method}: {word}" for method, word, _ in report.faults]

    def look(self, seconds: float) -> None:
        """Read memory and descriptors."""
        self.at.append(seconds)
        self.memory.append(memory_mb(self.pid))
        self.descriptors.append(len(list(Path(f"/proc/{self.pid}/fd").iterdir())))

    def figures(self) -> dict[str, Any]:
        """Slopes over the second half."""
        half = len(self.at) // 2
        at, memory = np.array(self.at[half:]), np.array(self.memory[half:])
        files = np.array(self.descriptors[half:])
        slope = float(np.polyfit(at, memory, 1)[0]) * 3600
        grown = slope * (at[-1] - at[0]) / 3600
        return {
            "calls": self.calls,
            "faults": len(self.faults),
            "memory_mb_middle": round(float(memory[0]), 1),
            "memory_mb_end": round(float(memory[-1]), 1),
            "memory_slope_mb_per_hour": round(slope, 1),
            "memory_growth_share": round(grown / float(memory[0]), 4),
            "descriptors_middle": int(files[0]),
            "descriptors_end": int(files[-1]),
            "descriptors_most": int(files.max()),
        }


def load(
    one: Soaked, target: str, names: dict[str, str], account: Account, stop: threading.Event, seed: int
) -> None:
    """Call until told to stop, over connection after connection."""
    number = 0
    while not stop.is_set():
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            # Training is left alone: its runs would pile up in the database, which is no leak.
            entities, last_day = account
            fuzzer = Fuzzer(
                channel, entities, last_day, seed=1_000 * seed + number, names=names, timeout=30.0
            )
            fuzzer.methods = [m for m in fuzzer.methods if m.containing_service.name != "TrainingService"]
            report = fuzzer.run(CALLS_A_CONNECTION, until=stop.is_set)
        one.heard(report)
        number += 1


def trace(log: str, fault: str) -> str:
    """What a service's log has of the incident that a fault names, if any."""
    named = re.search(r"incident ([0-9a-f]{16})", fault)
    begins = log.find(f"incident {named[1]}") if named else -1
    return "" if begins < 0 else "\n" + log[begins : begins + TRACE_CHARACTERS].split("incident ", 2)[1]


def main() -> int:
    """Soak, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"another default: --minutes {QUICK_MINUTES:g}")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--family", action="append", help="only this one; may be given again")
    asked = parser.parse_args()
    minutes = asked.minutes or (QUICK_MINUTES if asked.quick else 30.0)
    names = asked.family or servable()
    soaked: dict[str, Soaked] = {}
    with tempfile.TemporaryDirectory(prefix="adsml-soak-") as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        env, entities, last_day = prepare(folder, names)
        stop, threads = threading.Event(), []
        for number, name in enumerate(names):
            env = {**env, f"ADSML_{name.upper()}_PORT": str(PORT + number)}
            command = [sys.executable, "-m", "adsml_common.cli", "serve", name]
            pid = stack.enter_context(process(command, env, PORT + number, folder / f"log-{name}"))
            soaked[name] = Soaked(pid)
            named = {"FAMILY": f"FAMILY_{name.upper()}", "MODEL": f"{name}/1", "JOB": JOBS[name]}
            for caller in range(CALLERS):
                target = f"127.0.0.1:{PORT + number}"
                arguments = (soaked[name], target, named, (entities, last_day), stop, 10 * number + caller)
                threads.append(threading.Thread(target=load, args=arguments, daemon=True))
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 60 * minutes:
            for one in soaked.values():
                one.look(passed)
            time.sleep(EVERY_SECONDS)  # Nothing to wait for but time: this is how often one looks.
        stop.set()
        for thread in threads:
            thread.join(60)
        for name, one in soaked.items():
            log = (folder / f"log-{name}").read_text(errors="replace")
            for fault in one.faults[:20]:
                print(f"{name}: {fault}{trace(log, fault)}")
    figures = {name: one.figures() for name, one in soaked.items()}
    rows = [
        (figure, *(f"{found[figure]:,}" for found in figures.values()))
        for figure in next(iter(figures.values()))
    ]
    table(f"soak, {minutes:g} minutes", ("", *figures), rows, right=tuple(figures))
    RESULTS.parent.mkdir(exist_ok=True)
    told = {
        "command": " ".join(["python benchmarks/bench_soak.py", *sys.argv[1:]]),
        "minutes": minutes,
        "date": datetime.now(UTC).date().isoformat(),
        "services": figures,
    }
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    settled = minutes > QUICK_MINUTES
    steep = [name for name, one in figures.items() if settled and one["memory_growth_share"] > STEEPEST]
    more = [name for name, one in figures.items() if one["descriptors_end"] > one["descriptors_middle"] + 10]
    loud = [name for name, one in figures.items() if one["faults"]]
    for what, which in (("memory grows", steep), ("descriptors grow", more), ("talks", loud)):
        if which:
            print(f"{what}: {', '.join(which)}")
    return int(bool(steep or more or loud))


if __name__ == "__main__":
    sys.exit(main())
