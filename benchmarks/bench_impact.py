"""Impact: published numbers, false positives and power over methods, pooled changes, and speed against pysyncon.

Beside DiD, synthetic DiD, the naive t-test, pysyncon and tfcausalimpact (each peer in an environment of its own).
Writes benchmarks/results/impact.json. ``--quick`` asks fewer cells;
``--only reproduce|honest|power|pooled|peer|speed`` runs one part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import impact_changes as changes
import impact_panels as panels
import numpy as np
import pandas as pd
from adsml_common.domain.metrics import RATIOS, Metric
from adsml_impact.evaluation.evaluate import evaluate_file
from adsml_impact.evaluation.study import (
    DID_SHORT,
    NAIVE,
    OURS,
    Cell,
    Rates,
    cells_of,
    run_study,
    worst_week_cells,
)
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.design import Design
from adsml_impact.models.effect import daily_values
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.own_past import compare_with_own_past
from adsml_impact.models.structural import CAUSAL_IMPACT, forecast
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "impact.json"
PEER = ROOT / ".tools" / "pysyncon"
PEER_VERSION = "1.7.0"
TF_PEER = ROOT / ".tools" / "tfcausalimpact"
TF_PEER_PACKAGES = ("tfcausalimpact==0.0.19", "tf-keras")
FAST = (OURS, "did", DID_SHORT, NAIVE)
SLOW = ("synthetic_control", "sdid")
HORIZON, BASELINE = 7, 56
console = Console()


def reproduce() -> dict[str, Any]:
    """Published figures on the published data."""
    data = panels.DATA / "impact"
    prop99 = evaluate_file(
        data / "california_prop99.csv", unit_column="State", time_column="Year", outcome_column="PacksPerCapita",
        treated=("California",), start="1989",
    )["methods"]  # fmt: skip
    geolift = evaluate_file(
        data / "geolift_test.csv", unit_column="location", time_column="date", outcome_column="Y",
        treated=("chicago", "portland"), start="2021-04-01",
    )  # fmt: skip
    lift = geolift["methods"]["synthetic_control"]
    rows = [
        ("Prop 99, synthetic DiD", -15.60, prop99["sdid"]["att"]),
        ("Prop 99, synthetic control", -19.5, prop99["synthetic_control"]["att"]),
        ("Prop 99, DiD", -27.35, prop99["did"]["att"]),
        ("GeoLift, ATT", 155.556, lift["att"]),
        ("GeoLift, lift %", 5.4, lift["percent"]),
        ("GeoLift, incremental", 4667, lift["incremental"]),
        ("GeoLift, weight Cincinnati", 0.2272, geolift["weights"]["cincinnati"]),
        ("GeoLift, weight Miami", 0.2028, geolift["weights"]["miami"]),
    ]
    for name, published, y, X, before in causal_impact_cases():
        predicted = forecast(
            y[:before], horizon=y.size - before, X=X[:before], X_post=X[before:], priors=CAUSAL_IMPACT
        )
        effect = float(y[before:].mean()) - predicted.window_mean
        for part, value in zip(
            ("effect", "lower", "upper"),
            (effect, effect - 1.96 * predicted.window_sd, effect + 1.96 * predicted.window_sd),
            strict=True,
        ):
            rows.append((f"CausalImpact {name}, {part}", published[part], value))
    table = Table("study", "published", "here", title="Published figures")
    for name, published_value, value in rows:
        table.add_row(name, f"{published_value:g}", f"{value:.4g}" if abs(value) < 1 else f"{value:.3f}")
    console.print(table)
    return {name: {"published": published, "here": float(value)} for name, published, value in rows}


def causal_impact_cases() -> list[tuple[str, dict[str, float], Any, Any, int]]:
    """(name, published, outcome, regressors, periods before)."""
    google = pd.read_csv(panels.DATA / "impact" / "tfci_google_data.csv")
    volks = pd.read_csv(panels.DATA / "impact" / "tfci_volks_data.csv", sep=" ")
    return [
        (
            "google", {"effect": 27, "lower": 18, "upper": 36}, google["y"].to_numpy(float),
            google[["x1", "x2"]].to_numpy(float), 61,
        ),
        (
            "volks", {"effect": -44, "lower": -55, "upper": -33}, volks["VolksWagen"].to_numpy(float),
            volks[["BMW", "Allianz"]].to_numpy(float), int((volks["Date"] <= "2015-09-13").sum()),
        ),
    ]  # fmt: skip


def honest(*, cells: int, slow_cells: int) -> dict[str, dict[str, dict[str, float]]]:
    """False positives at nominal .05 and power at +1 standard deviation, by panel and method."""
    pick = partial(cells_of, horizon=HORIZON, baseline=BASELINE, seed=0)
    geolift, nn5 = [panels.geolift()], [panels.nn5()]
    accounts = [panels.account_leads(seed) for seed in range(8)]
    wandering = [panels.autocorrelated(seed) for seed in range(10)]
    shocked = [
        panels.autocorrelated(100 + seed, days=119, shock_at=112) for seed in range(max(4, cells // 25))
    ]
    studies = {
        "geolift pre-test": (geolift, pick(geolift, stride=1, most=cells)),
        "nn5": (nn5, pick(nn5, stride=5, most=cells)),
        "simulated accounts": (accounts, pick(accounts, stride=3, most=cells)),
        "autocorrelated": (wandering, pick(wandering, stride=3, most=cells)),
        "market-wide shock": (
            shocked,
            [Cell(p, unit, 112) for p, Y in enumerate(shocked) for unit in range(Y.shape[0])][:cells],
        ),
        "geolift, after the worst week": (geolift, worst_week_cells(geolift, horizon=HORIZON, baseline=BASELINE)),
        "nn5, after the worst week": _worst_nn5(nn5[0]),
        "simulated, after the worst week": (
            accounts, worst_week_cells(accounts, horizon=HORIZON, baseline=BASELINE)
        ),
        "autocorrelated, after the worst week": (
            wandering, worst_week_cells(wandering, horizon=HORIZON, baseline=BASELINE)
        ),
    }  # fmt: skip
    out: dict[str, dict[str, dict[str, float]]] = {}
    # Spawned, not forked: compiled code and threads do not survive a fork for sure.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        running = {
            pool.submit(_study, data, asked, slow_cells=slow_cells): name
            for name, (data, asked) in studies.items()
        }
        for done in as_completed(running):
            name = running[done]
            out[name] = done.result()
            console.print(f"{name}: {out[name][OURS]['cells']:.0f} analyses done", highlight=False)
    out = {name: out[name] for name in studies}
    for key, title in (
        ("false_positive_rate", "False positives at nominal .05"),
        ("power_1sd", "Power at +1 standard deviation of the unit's daily values"),
    ):
        table = Table("panel", *FAST, *SLOW, title=title)
        for name, by_method in out.items():
            table.add_row(name, *(f"{by_method[method][key]:.3f}" for method in (*FAST, *SLOW)))
        console.print(table)
    return out


def _study(
    data: list[panels.FloatArray], asked: list[Cell], *, slow_cells: int
) -> dict[str, dict[str, float]]:
    """All methods on one kind of panel; the slow ones on an even share of the cells."""
    found = run_study(data, asked, horizon=HORIZON, methods=FAST)
    thinned = [asked[k] for k in np.linspace(0, len(asked) - 1, min(len(asked), slow_cells)).astype(int)]
    found |= run_study(data, thinned, horizon=HORIZON, methods=SLOW)
    return {method: _row(rate) for method, rate in found.items()}


def ratios(*, accounts: int) -> dict[str, dict[str, float]]:
    """False positives of what a verdict rests on: ratios of ad sets, and the account against its own past."""
    p_values: dict[str, list[float]] = {}
    naive: dict[str, list[float]] = {}
    for seed in range(accounts):
        by_column = panels.account_columns(100 + seed)
        for metric in (Metric.CPL, Metric.CTR):
            ratio = RATIOS[metric]
            A, B = by_column[ratio.numerator], by_column[ratio.denominator]
            for unit in range(0, A.shape[0], 6):
                order = [unit, *(i for i in range(A.shape[0]) if i != unit)]
                _note(p_values, naive, f"ad set, {metric}", compare, A[order], B[order])
        A, B = by_column["spend"].sum(axis=0)[None], by_column["leads"].sum(axis=0)[None]
        _note(p_values, naive, "account, cpl", compare_with_own_past, A, B)
        _note(p_values, naive, "account, leads", compare_with_own_past, B, None)
    out = {
        name: {
            "false_positive_rate": float((np.array(found) < 0.05).mean()),
            "naive_t_test": float((np.array(naive[name]) < 0.05).mean()),
            "cells": len(found),
        }
        for name, found in p_values.items()
    }
    table = Table(
        "simulated accounts",
        "analyses",
        OURS,
        NAIVE,
        title="False positives at nominal .05, ratios and account",
    )
    for name, row in out.items():
        table.add_row(
            name, f"{row['cells']}", f"{row['false_positive_rate']:.3f}", f"{row['naive_t_test']:.3f}"
        )
    console.print(table)
    return out


def _note(
    p_values: dict[str, list[float]],
    naive: dict[str, list[float]],
    name: str,
    method: Callable[[panels.FloatArray, panels.FloatArray | None, Design], Comparison | None],
    A: panels.FloatArray,
    B: panels.FloatArray | None,
) -> None:
    """One analysis of the last week; nothing is noted where the metric is missing."""
    found = method(A, B, Design(change=A.shape[1] - HORIZON))
    if found is None or not np.isfinite(found.p_value):
        return
    p_values.setdefault(name, []).append(found.p_value)
    days = daily_values(A[0], None if B is None else B[0], scale=1.0)
    before, after = days[-2 * HORIZON : -HORIZON], days[-HORIZON:]
    p = naive_comparison(before, after, before_total=np.nan, after_total=np.nan).p_value
    naive.setdefault(name, []).append(1.0 if p is None else p)


def _worst_nn5(Y: panels.FloatArray) -> tuple[list[panels.FloatArray], list[Cell]]:
    """NN5 in stretches of 150 days, so that there are many worst weeks."""
    stretches = [Y[:, start : start + 150] for start in range(0, Y.shape[1] - 149, 150)]
    return stretches, worst_week_cells(stretches, horizon=HORIZON, baseline=BASELINE)


def _row(rate: Rates) -> dict[str, float]:
    return asdict(rate)


def speed(*, repeats: int = 30) -> dict[str, Any]:
    """One analysis with 40 controls and all placebos, against pysyncon's placebo test on the same panel."""
    Y = panels.autocorrelated(7, units=41, days=84)
    design = Design(change=77)
    compare(Y, None, design)
    seconds, cpu = [], []
    for _ in range(repeats):
        started, spent = time.perf_counter(), time.process_time()
        found = compare(Y, None, design)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    if found is None:
        raise RuntimeError("the panel has a treated unit without a level")
    peer = _peer_seconds(Y[:, 84 - 63 :], before=56)
    p50 = float(np.median(seconds))
    result = {
        "p50_seconds": p50,
        "p50_cpu_seconds": float(np.median(cpu)),
        "placebos": int(found.studentised.size),
        "pysyncon_version": PEER_VERSION,
        "pysyncon_seconds": peer["seconds"],
        "pysyncon_placebos": peer["placebos"],
        "ratio_vs_pysyncon_placebo": peer["seconds"] / p50,
    }
    table = Table("", "placebos", "seconds", title="One analysis, 40 controls, all placebos")
    table.add_row("adsml (p50)", str(result["placebos"]), f"{p50:.4f}")
    table.add_row(f"pysyncon {PEER_VERSION} PlaceboTest", str(peer["placebos"]), f"{peer['seconds']:.2f}")
    table.add_row("ratio", "", f"{result['ratio_vs_pysyncon_placebo']:.0f}x")
    console.print(table)
    return result


def power(*, accounts: int) -> dict[str, dict[str, float]]:
    """How often an effect of -35% on CPL shows, and whether stated detectable effects are found as promised."""
    out = changes.power(accounts)
    table = Table(
        "ad sets with 10+ leads a day",
        "analyses",
        "false positives",
        "power -35%",
        "power +54%",
        "stated rise found",
        "stated fall found",
        "spread",
        title="CPL on simulated accounts",
    )
    for name, row in out.items():
        figures = (
            "false_positive_rate",
            "power",
            "power_up",
            "stated_rise_found",
            "stated_fall_found",
            "spread",
        )
        table.add_row(
            name, str(row["analyses"]), *(f"{row[key]:.3f}" if key in row else "" for key in figures)
        )
    console.print(table)
    return out


def pooled(*, accounts: int) -> dict[str, Any]:
    """What many changes say together: false positives, power of three like ones, and calibrated probabilities."""
    out: dict[str, Any] = {"like_changes": changes.like_changes(accounts), **changes.pooled(accounts)}
    table = Table("pooled changes", "", title="SummarizeChanges on simulated truth")
    for name, value in out.items():
        table.add_row(name, str(value) if isinstance(value, dict) else f"{value:.3f}")
    console.print(table)
    return out


def tfcausalimpact(*, analyses: int) -> dict[str, float]:
    """The peer on daily CPL of the same kind of ad sets, with the mean of the others as its regressor."""
    python = _environment(TF_PEER, *TF_PEER_PACKAGES)
    stored = []
    for panel in changes.panels(accounts=33):
        with np.errstate(divide="ignore", invalid="ignore"):
            cpl = pd.DataFrame(np.where(panel.leads > 0, panel.spend / panel.leads, np.nan).T)
        cpl = cpl.interpolate(limit_direction="both")
        busy = np.flatnonzero(panel.leads.mean(axis=1) >= changes.ENOUGH_LEADS)
        for unit in busy[:2]:
            others = cpl[[k for k in busy if k != unit]].mean(axis=1)
            stored.append(np.column_stack([cpl[unit], others])[-BASELINE - HORIZON :])
    chosen = np.stack(stored[:analyses])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panels.npz"
        np.savez(path, panels=chosen)
        script = str(Path(__file__).with_name("impact_peer_tfcausalimpact.py"))
        done = subprocess.run(
            [str(python), script, str(path), str(BASELINE), str(np.exp(changes.EFFECT))],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    console.print(f"tfcausalimpact: {answer}")
    return answer


def _environment(place: Path, *packages: str) -> Path:
    """A peer's own environment, made where it is not there; its Python."""
    python = place / "bin" / "python"
    if not python.exists():
        uv = str(ROOT / ".tools" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
    return python


def _peer_seconds(Y: panels.FloatArray, *, before: int) -> dict[str, Any]:
    python = _environment(PEER, f"pysyncon=={PEER_VERSION}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.csv"
        units, days = Y.shape
        pd.DataFrame(
            {
                "unit": np.repeat([f"u{i}" for i in range(units)], days),
                "day": np.tile(np.arange(days), units),
                "y": Y.ravel(),
            }
        ).to_csv(path, index=False)
        done = subprocess.run(
            [str(python), str(Path(__file__).with_name("impact_peer_pysyncon.py")), str(path), str(before)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Run the parts that were asked for and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells: a first impression")
    parser.add_argument("--only", choices=("reproduce", "honest", "power", "pooled", "peer", "speed"))
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.only in (None, "reproduce"):
        results["reproduced"] = reproduce()
    if arguments.only in (None, "speed"):
        results["speed"] = speed()
        results["ratio_vs_pysyncon_placebo"] = results["speed"]["ratio_vs_pysyncon_placebo"]
        results["p50_seconds"] = results["speed"]["p50_seconds"]
    if arguments.only in (None, "honest"):
        cells, slow = (80, 16) if arguments.quick else (1000, 200)
        results["honest"] = honest(cells=cells, slow_cells=slow)
        results["honest_ratios"] = ratios(accounts=10 if arguments.quick else 150)
    if arguments.only in (None, "power"):
        results["power"] = power(accounts=8 if arguments.quick else 99)
    if arguments.only in (None, "pooled"):
        results["pooled"] = pooled(accounts=6 if arguments.quick else 60)
    if arguments.only in (None, "peer"):
        results["tfcausalimpact"] = tfcausalimpact(analyses=2 if arguments.quick else 6)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
