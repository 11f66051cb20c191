"""The same XGBoost model behind MLServer and behind our classifier; and the two empty handlers, for the stack's cost.

    python benchmarks/bench_serving.py [--quick] [--seconds 5] [--rounds 2] [--callers 1 16 64] [--batches 1 100 1000]

Prints a table and writes benchmarks/results/serving.json; `--quick` measures 16 callers only, for 3 seconds a cell,
once. What each is asked for a row, and gives:

- ``mlserver``: a ready feature row in; four probabilities out. The better of no and one parallel worker, of typed and
  raw contents, cell by cell. ``mlserver, cached``: with its cache of answers switched on, and asked the same each time.
- ``classifier, stored``: the key of a stored entity in; tier, calibrated probabilities, the rule's tier, the week's
  metrics, model version out. An answer is kept until a row of the account or its model changes. No reasons are asked
  for, since MLServer gives none.
- ``classifier, model each time``: the same without a cache (ADSML_CLASSIFIER_CACHE_RESPONSES=false): the model is run
  on the entity's features (those of the account are computed when its rows change, and kept).
- ``classifier, inline``: 28 daily rows in; validated, features worked out, compared with the stored account; the same.
- ``empty, harness``: our server with a handler that does nothing; ``empty, bare``: grpc.aio likewise.

One load generator in a process of its own serves all. All servers are up all the time, and each cell is measured for
one after the other, so that a busy machine is busy for all of them; processor time per row is the steadier figure.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import serving_load
import serving_peer
from adsml_common.cli.output import plain, table
from serving_account import (
    Prepared,
    inline_batch,
    prepare,
    process,
    processor_seconds,
    require_model,
    stored_batch,
)

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "serving.json"
METHOD = "/adsml.classifier.v1.ClassifierService/BatchClassify"
PORT = 53_100
OURS, ANEW, INLINE = "classifier, stored", "classifier, model each time", "classifier, inline"
EMPTY, BARE = "empty, harness", "empty, bare"
THEIRS, CACHED = "mlserver", "mlserver, cached"


@dataclass(frozen=True)
class Contender:
    """A server and what it is asked.

    Attributes
    ----------
    name, variant
        What it is, and which way it is configured or asked: the best variant counts.
    pid, port, method
        Where.
    payloads
        Files of requests of a batch size.
    """

    name: str
    variant: str
    pid: int
    port: int
    method: str
    payloads: Callable[[int], list[str]]


def payloads(folder: Path, prepared: Prepared, batches: list[int]) -> None:
    """Write our requests: different entities in each."""
    rng = np.random.default_rng(0)
    for batch in batches:
        for number in range(16 if batch < 100 else 4):
            chosen = [prepared.entities[i] for i in rng.choice(len(prepared.entities), batch, replace=False)]
            for kind, make in (("stored", stored_batch), ("inline", inline_batch)):
                data = make(prepared, chosen, reasons=0)
                (folder / f"{kind}-{batch}-{number}").write_bytes(data)


def measure(one: Contender, *, callers: int, batch: int, seconds: float) -> dict[str, Any]:
    """One cell."""
    warm = 1.0
    before = processor_seconds(one.pid)
    figures = serving_load.run(
        {
            "target": f"127.0.0.1:{one.port}",
            "method": one.method,
            "payloads": one.payloads(batch),
            "callers": callers,
            "seconds": seconds,
            "warm_seconds": warm,
        }
    )
    used = processor_seconds(one.pid) - before
    latencies = np.array(figures["latencies"]) * 1e3
    # To refuse what can't be done in time is an answer, and is told; anything else is a fault.
    refused = figures["errors"].pop("RESOURCE_EXHAUSTED", 0)
    if figures["errors"]:
        raise RuntimeError(f"{one.name} answered {figures['calls']} calls and failed: {figures['errors']}")
    if not len(latencies):
        latencies = np.array([np.nan])
    return {
        "server": one.name,
        "variant": one.variant,
        "callers": callers,
        "batch": batch,
        "rows_per_second": figures["calls"] * batch / seconds,
        "p50_ms": float(np.percentile(latencies, 50)),
        "p99_ms": float(np.percentile(latencies, 99)),
        "cpu_us_per_row": used / (max(figures["answered"], 1) * batch) * 1e6,
        "refused": refused,
    }


def best(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over rounds, and of each server its best variant by cell."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        cells.setdefault((run["server"], run["callers"], run["batch"], run["variant"]), []).append(run)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (server, callers, batch, variant), same in cells.items():
        cell = {"server": server, "callers": callers, "batch": batch, "variant": variant} | {
            figure: statistics.median(run[figure] for run in same)
            for figure in ("rows_per_second", "p50_ms", "p99_ms", "cpu_us_per_row", "refused")
        }
        kept = found.get((server, callers, batch))
        if kept is None or cell["rows_per_second"] > kept["rows_per_second"]:
            found[server, callers, batch] = cell
    return list(found.values())


def ratios(cells: list[dict[str, Any]]) -> dict[str, float]:
    """Our figures over the others', where both were measured."""
    by = {(one["server"], one["callers"], one["batch"]): one for one in cells}

    def over(ours: str, theirs: str, callers: int, batch: int, figure: str) -> float:
        try:
            mine, others = by[ours, callers, batch][figure], by[theirs, callers, batch][figure]
            return round(float(mine) / float(others), 3)
        except KeyError:
            return float("nan")

    rate, cpu = "rows_per_second", "cpu_us_per_row"
    return {
        # As shipped, against the better of MLServer's two ways.
        "ratio_vs_mlserver_batch1": min(over(OURS, who, 16, 1, rate) for who in (THEIRS, CACHED)),
        "ratio_vs_mlserver_batch100": min(over(OURS, who, 16, 100, rate) for who in (THEIRS, CACHED)),
        "ratio_vs_mlserver_batch1000": min(over(OURS, who, 16, 1000, rate) for who in (THEIRS, CACHED)),
        # The model run for every row by both.
        "model_each_time_ratio_vs_mlserver_batch1": over(ANEW, THEIRS, 16, 1, rate),
        "model_each_time_ratio_vs_mlserver_batch100": over(ANEW, THEIRS, 16, 100, rate),
        "model_each_time_ratio_vs_empty_handler": over(ANEW, EMPTY, 16, 1, rate),
        "model_each_time_p99_ratio_vs_mlserver": over(ANEW, THEIRS, 16, 1, "p99_ms"),
        "ratio_vs_empty_handler": over(OURS, EMPTY, 16, 1, rate),
        "ratio_vs_bare_handler": over(OURS, BARE, 16, 1, rate),
        "harness_ratio_vs_bare_handler": over(EMPTY, BARE, 16, 1, rate),
        "p99_ratio_vs_mlserver": max(over(OURS, who, 16, 1, "p99_ms") for who in (THEIRS, CACHED)),
        # The same by processor time, the other way up: how many times less of it we need.
        "cpu_ratio_vs_mlserver_batch1": over(THEIRS, OURS, 16, 1, cpu),
        "cpu_ratio_vs_mlserver_batch100": over(THEIRS, OURS, 16, 100, cpu),
        "cpu_ratio_vs_empty_handler": over(EMPTY, OURS, 16, 1, cpu),
        "inline_ratio_vs_mlserver_batch1": over(INLINE, THEIRS, 16, 1, rate),
    }


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="other defaults: --seconds 3 --rounds 1 --callers 16"
    )
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--callers", type=int, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 100, 1000])
    asked = parser.parse_args()
    asked.seconds = asked.seconds or (3.0 if asked.quick else 5.0)
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    asked.callers = asked.callers or ([16] if asked.quick else [1, 16, 64])
    serving_peer.install()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="adsml-serving-") as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        prepared = prepare(folder)
        payloads(folder, prepared, asked.batches)
        serving_peer.requests(folder, prepared.features, asked.batches)
        env = {**prepared.env, "OMP_NUM_THREADS": "1", "ADSML_CLASSIFIER_DRAIN_WAIT_SECONDS": "0"}
        env["ADSML_CLASSIFIER_PORT"] = str(PORT)

        def started(port: int, *command: str) -> int:
            return stack.enter_context(process([sys.executable, *command], env, port, folder / f"log-{port}"))

        def files(pattern: str) -> Callable[[int], list[str]]:
            return lambda batch: sorted(map(str, folder.glob(pattern.format(batch))))

        ours = started(PORT, "-m", "adsml_classifier.server")
        env |= {"ADSML_CLASSIFIER_PORT": str(PORT + 3), "ADSML_CLASSIFIER_CACHE_RESPONSES": "false"}
        anew = started(PORT + 3, "-m", "adsml_classifier.server")
        contenders = [
            Contender(OURS, "", ours, PORT, METHOD, files("stored-{}-*")),
            Contender(ANEW, "", anew, PORT + 3, METHOD, files("stored-{}-*")),
            Contender(INLINE, "", ours, PORT, METHOD, files("inline-{}-*")),
        ]
        for number, (name, kind) in enumerate(((EMPTY, "harness"), (BARE, "bare")), start=1):
            port = PORT + number
            pid = started(port, str(HERE / "serving_empty.py"), kind, str(port))
            contenders.append(Contender(name, "", pid, port, METHOD, files("stored-{}-*")))
        for number, (workers, cached) in enumerate(((0, False), (1, False), (0, True)), start=1):
            port = PORT + 10 * number
            pid = stack.enter_context(
                serving_peer.serve(folder, prepared.booster, workers=workers, cached=cached, port=port)
            )
            contenders += [
                Contender(
                    CACHED if cached else THEIRS, f"{workers} workers, {form}", pid, port,
                    serving_peer.METHOD, files(f"mlserver-{form}-{{}}"),
                )
                for form in ("typed", "raw")
            ]  # fmt: skip
        for one in contenders[:3]:
            require_model(f"127.0.0.1:{one.port}", Path(one.payloads(asked.batches[0])[0]).read_bytes())
        time.sleep(3)
        # The first call of all reads the account, and so is no one's usual call.
        for one in contenders:
            for batch in asked.batches:
                measure(one, callers=1, batch=batch, seconds=0.5)
        for round_number in range(asked.rounds):
            for batch in asked.batches:
                for callers in asked.callers:
                    for one in contenders if round_number % 2 == 0 else reversed(contenders):
                        if one.name in (EMPTY, BARE) and batch > 1:
                            continue
                        run = measure(one, callers=callers, batch=batch, seconds=asked.seconds)
                        runs.append(run)
                        told = " ".join(str(round(v, 2) if isinstance(v, float) else v) for v in run.values())
                        print(told, file=sys.stderr, flush=True)
    cells = best(runs)
    rows = [
        (
            one["server"], one["variant"], one["callers"], one["batch"], f"{one['rows_per_second']:,.0f}",
            f"{one['p50_ms']:.2f}", f"{one['p99_ms']:.2f}", f"{one['cpu_us_per_row']:,.1f}",
        )
        for one in sorted(cells, key=lambda one: (one["batch"], one["callers"], one["server"]))
    ]  # fmt: skip
    names = ("server", "variant", "callers", "batch", "rows/s", "p50 ms", "p99 ms", "CPU us/row")
    table("serving", names, rows, right=names[2:])
    found = ratios(cells)
    table("ratios, 16 callers", ("", ""), list(found.items()), right=("",))
    RESULTS.parent.mkdir(exist_ok=True)
    written: dict[str, Any] = {
        **found,
        "command": " ".join(["python benchmarks/bench_serving.py", *sys.argv[1:]]),
        "quick": asked.quick,
        "seconds_a_cell": asked.seconds,
        "rounds": asked.rounds,
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "cells": cells,
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(plain(written), indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
