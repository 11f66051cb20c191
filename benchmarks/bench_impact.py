"""Impact: published numbers, false positives and power over methods, pooled changes, and speed against pysyncon.

Beside DiD, synthetic DiD, the naive t-test, pysyncon and tfcausalimpact (each peer in an environment of its own).
The work is split into parts. Each is kept as soon as it is done (results/impact.parts.tmp) and taken again until the
code changes: a run that was stopped, or had only so many ``--minutes``, goes on where it was. The run that finds
all parts done writes benchmarks/results/impact.json, with the day and the seconds of each. ``--quick`` asks fewer cells
and writes nothing.
"""

import argparse
import ast
import fcntl
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, partial
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
PARTS = RESULTS.with_suffix(".parts.tmp")
PEER = ROOT / ".tools" / "pysyncon"
PEER_VERSION = "1.7.0"
TF_PEER = ROOT / ".tools" / "tfcausalimpact"
TF_PEER_PACKAGES = ("tfcausalimpact==0.0.19", "tf-keras")
FAST = (OURS, "did", DID_SHORT, NAIVE)
SLOW = ("synthetic_control", "sdid")
ANALYSES = {"pysyncon": 20, "tfcausalimpact": 8}
"""Ad sets that a peer is asked about; tfcausalimpact takes minutes for each."""
Method = Callable[[panels.FloatArray, panels.FloatArray | None, Design], Comparison | None]
HORIZON, BASELINE, SHARES = 7, 56, 5
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


@cache
def studies(cells: int) -> dict[str, tuple[list[panels.FloatArray], list[Cell]]]:
    """Panels on which nothing happened, and the units and dates to ask about."""
    pick = partial(cells_of, horizon=HORIZON, baseline=BASELINE, seed=0)
    worst = partial(worst_week_cells, horizon=HORIZON, baseline=BASELINE)
    geolift, nn5 = [panels.geolift()], [panels.nn5()]
    # NN5 in stretches of 150 days, so that there are many worst weeks.
    stretches = [nn5[0][:, start : start + 150] for start in range(0, nn5[0].shape[1] - 149, 150)]
    accounts = [panels.account_leads(seed) for seed in range(8)]
    wandering = [panels.autocorrelated(seed) for seed in range(10)]
    shocked = [
        panels.autocorrelated(100 + seed, days=119, shock_at=112) for seed in range(max(4, cells // 25))
    ]
    shocks = [Cell(p, unit, 112) for p, Y in enumerate(shocked) for unit in range(Y.shape[0])]
    return {
        "geolift pre-test": (geolift, pick(geolift, stride=1, most=cells)),
        "nn5": (nn5, pick(nn5, stride=5, most=cells)),
        "simulated accounts": (accounts, pick(accounts, stride=3, most=cells)),
        "autocorrelated": (wandering, pick(wandering, stride=3, most=cells)),
        "market-wide shock": (shocked, shocks[:cells]),
        "geolift pre-test, after the worst week": (geolift, worst(geolift)),
        "nn5, after the worst week": (stretches, worst(stretches)),
        "simulated accounts, after the worst week": (accounts, worst(accounts)),
        "autocorrelated, after the worst week": (wandering, worst(wandering)),
    }


STUDIES = tuple(
    f"{name}{when}"
    for when in ("", ", after the worst week")
    for name in ("geolift pre-test", "nn5", "simulated accounts", "autocorrelated", "market-wide shock")
    if not (when and name == "market-wide shock")
)


def honest(
    name: str, methods: tuple[str, ...], share: int, *, cells: int, most: int
) -> dict[str, dict[str, float]]:
    """False positives at nominal .05 and power at +1 standard deviation, by method; on a share of one study's cells."""
    data, asked = studies(cells)[name]
    thinned = [asked[k] for k in np.linspace(0, len(asked) - 1, min(len(asked), most)).astype(int)]
    found = run_study(data, thinned[share::SHARES], horizon=HORIZON, methods=methods)
    return {method: rate._asdict() for method, rate in found.items()}


def together(rows: list[dict[str, float]]) -> dict[str, float]:
    """Rates of several shares of a study, as one."""
    count = sum(row["analyses"] for row in rows)
    rates = {
        key: sum(row[key] * row["analyses"] for row in rows) / count
        for key in ("false_positive_rate", "power_1sd")
    }
    return rates | {"analyses": count}


def ratios(first: int, accounts: int) -> dict[str, dict[str, list[float]]]:
    """P-values of what a verdict rests on: ratios of ad sets, and the account against its own past."""
    out: dict[str, dict[str, list[float]]] = {}

    def note(name: str, method: Method, A: panels.FloatArray, B: panels.FloatArray | None) -> None:
        found = method(A, B, Design(change=A.shape[1] - HORIZON))
        if found is None or not np.isfinite(found.p_value):
            return
        days = daily_values(A[0], None if B is None else B[0], scale=1.0)
        before, after = days[-2 * HORIZON : -HORIZON], days[-HORIZON:]
        p = naive_comparison(before, after, before_total=np.nan, after_total=np.nan).p_value
        one = out.setdefault(name, {OURS: [], NAIVE: []})
        one[OURS].append(found.p_value)
        one[NAIVE].append(1.0 if p is None else p)

    for seed in range(first, first + accounts):
        by_column = panels.account_columns(100 + seed)
        for metric in (Metric.CPL, Metric.CTR):
            ratio = RATIOS[metric]
            A, B = by_column[ratio.numerator], by_column[ratio.denominator]
            for unit in range(0, A.shape[0], 6):
                order = [unit, *(i for i in range(A.shape[0]) if i != unit)]
                note(f"ad set, {metric}", compare, A[order], B[order])
        A, B = by_column["spend"].sum(axis=0)[None], by_column["leads"].sum(axis=0)[None]
        note("account, cpl", compare_with_own_past, A, B)
        note("account, leads", compare_with_own_past, B, None)
    return out


def peer_panels(number: int) -> list[changes.Panel]:
    """Accounts, each with the ad set that is asked about in row 0: two of those with leads enough an account."""
    out = []
    for panel in changes.panels(33):
        for unit in np.flatnonzero(panel.leads.mean(axis=1) >= changes.ENOUGH_LEADS)[:2]:
            order = [unit, *(i for i in range(panel.spend.shape[0]) if i != unit)]
            out.append(changes.Panel(panel.spend[order], panel.leads[order]))
    return out[:number]


def daily_cost_per_lead(panel: changes.Panel) -> pd.DataFrame:
    """(days, ad sets with a lead a day or more): what peers that know no ratios are given; gaps interpolated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cpl = pd.DataFrame(np.where(panel.leads > 0, panel.spend / panel.leads, np.nan).T)
    enough = panel.leads.mean(axis=1) >= 1.0
    return cpl.loc[:, enough].interpolate(limit_direction="both").iloc[-BASELINE - HORIZON :]


def peer(name: str, number: int) -> dict[str, float]:
    """P-values of one peer for one ad set, as it is and with its days after the change at -35%."""
    days = daily_cost_per_lead(peer_panels(number + 1)[number])
    if name == "tfcausalimpact":
        days = pd.concat([days.iloc[:, 0], days.iloc[:, 1:].mean(axis=1)], axis=1)
        python = _environment(TF_PEER, *TF_PEER_PACKAGES)
    else:
        python = _environment(PEER, f"pysyncon=={PEER_VERSION}")
    script = str(Path(__file__).with_name(f"impact_peer_{name}.py"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "days.npy"
        np.save(path, days.to_numpy())
        return _run_peer(python, script, str(path), str(BASELINE), str(np.exp(changes.EFFECT)))


def own(number: int) -> dict[str, list[dict[str, float]]]:
    """The same of our own estimators and of the naive t-test, for as many ad sets."""
    methods = {
        name: partial(changes.p_values, estimator=estimator) for name, estimator in changes.METHODS.items()
    }
    methods[NAIVE] = changes.naive_p_values
    return {
        name: [method(panel, 0, HORIZON) for panel in peer_panels(number)] for name, method in methods.items()
    }


def _environment(place: Path, *packages: str) -> Path:
    """A peer's own environment, made where it is not there; its Python."""
    python = place / "bin" / "python"
    if not python.exists():
        uv = str(ROOT / ".tools" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
    return python


def _run_peer(python: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([str(python), *arguments], check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


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
    python = _environment(PEER, f"pysyncon=={PEER_VERSION}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "days.npy"
        np.save(path, Y[:, 84 - 63 :].T)
        script = str(Path(__file__).with_name("impact_peer_pysyncon.py"))
        peer = _run_peer(python, script, str(path), str(BASELINE), "1.0")
    p50 = float(np.median(seconds))
    result = {
        "p50_seconds": p50,
        "p50_cpu_seconds": float(np.median(cpu)),
        "placebos": int(found.studentised.size),
        "pysyncon_version": PEER_VERSION,
        "pysyncon_seconds": peer["seconds"],
        "pysyncon_placebos": int(peer["placebos"]),
        "ratio_vs_pysyncon_placebo": peer["seconds"] / p50,
    }
    return result


def parts(*, quick: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every part by its name, in the order of work; none takes more than some minutes."""
    cells, slow_cells = (80, 16) if quick else (1000, 200)
    yield "reproduced", reproduce
    for name in STUDIES:
        for share in range(SHARES):
            fast = partial(honest, name, FAST, share, cells=cells, most=cells)
            yield f"honest/{name}/fast {share}", fast
            slow = partial(honest, name, SLOW, share, cells=cells, most=slow_cells)
            yield f"honest/{name}/slow {share}", slow
    for first in range(0, 10 if quick else 150, 50):
        yield f"ratios/{first}", partial(ratios, first, 10 if quick else 50)
    accounts = 8 if quick else 99
    for horizon in (7, 14, 28):
        for name in (*changes.METHODS, NAIVE):
            yield f"power/{name}, {horizon} days", partial(changes.power, accounts, horizon, name)
    for kind in ("placebo", "real"):
        for first in range(0, 6 if quick else 60, 6):
            task = partial(changes.summaries, range(first, first + 6), placebo=kind == "placebo")
            yield f"pooled/{kind}/{first}", task
    yield "like_changes", partial(changes.like_changes, accounts)
    yield "peers/own", partial(own, max(ANALYSES.values()))
    for name, number in ANALYSES.items():
        for k in range(2 if quick else number):
            yield f"peers/{name}/{k}", partial(peer, name, k)
    yield "speed", speed


def assemble(values: dict[str, Any]) -> dict[str, Any]:
    """What results/impact.json holds, from the parts' values."""

    def below(prefix: str) -> list[tuple[str, Any]]:
        return [
            (name.removeprefix(prefix), value) for name, value in values.items() if name.startswith(prefix)
        ]

    def rate(p_values: list[float]) -> float:
        return float((np.array(p_values) < changes.ALPHA).mean())

    shares: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, by_method in below("honest/"):
        for method, row in by_method.items():
            shares.setdefault(name.rpartition("/")[0], {}).setdefault(method, []).append(row)
    honest_rates = {
        name: {method: together(rows) for method, rows in by_method.items()}
        for name, by_method in shares.items()
    }
    p_values: dict[str, dict[str, list[float]]] = {}
    for _, by_name in below("ratios/"):
        for name, by_method in by_name.items():
            for method, some in by_method.items():
                p_values.setdefault(name, {}).setdefault(method, []).extend(some)
    peers = {name: list(rows) for name, rows in values["peers/own"].items()}
    for name, row in below("peers/"):
        if name != "own":
            peers.setdefault(name.partition("/")[0], []).append(row)
    return {
        "reproduced": values["reproduced"],
        "honest": honest_rates,
        "honest_ratios": {
            name: {
                "false_positive_rate": rate(by_method[OURS]),
                "naive_t_test": rate(by_method[NAIVE]),
                "analyses": len(by_method[OURS]),
            }
            for name, by_method in p_values.items()
        },
        "power": dict(below("power/")),
        "pooled": changes.pooled([value for _, value in below("pooled/")])
        | {"like_changes": values["like_changes"]},
        "peers": {
            name: {
                "false_positive_rate": rate([row["null"] for row in rows]),
                "power": rate([row["shifted"] for row in rows]),
                "seconds": float(np.median([row["seconds"] for row in rows])),
                "analyses": len(rows),
            }
            for name, rows in peers.items()
        },
        "speed": values["speed"],
        "ratio_vs_pysyncon_placebo": values["speed"]["ratio_vs_pysyncon_placebo"],
        "p50_seconds": values["speed"]["p50_seconds"],
    }


def show(results: dict[str, Any]) -> None:
    """One table a question, a row for each of what was asked about."""
    for title, rows in (
        ("Published figures", results["reproduced"]),
        ("False positives at nominal .05, ratios and account", results["honest_ratios"]),
        ("CPL of simulated ad sets with 10+ leads a day", results["power"]),
        ("CPL, 7 days, the same ad sets for every method", results["peers"]),
        ("SummarizeChanges on simulated truth", {"pooled": results["pooled"]}),
        ("One analysis, 40 controls, all placebos", {"speed": results["speed"]}),
    ):
        [first, *others] = rows.values()
        upright = rows if others else {name: {"": value} for name, value in first.items()}
        columns = list(dict.fromkeys(key for row in upright.values() for key in row))
        table = Table("", *columns, title=title)
        for name, row in upright.items():
            table.add_row(name, *(_text(row.get(key)) for key in columns))
        console.print(table)
    for key in ("false_positive_rate", "power_1sd"):
        table = Table("panel", *FAST, *SLOW, title=key)
        for name, by_method in results["honest"].items():
            table.add_row(name, *(_text(by_method[method][key]) for method in (*FAST, *SLOW)))
        console.print(table)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def code_version() -> str:
    """Of everything that figures depend on; comments, docstrings and format don't count."""
    sources = [
        *sorted((ROOT / "services/impact/src").rglob("*.py")),
        *sorted((ROOT / "libs/simulate/src").rglob("*.py")),
        *sorted(Path(__file__).parent.glob("*impact*.py")),
    ]
    out = hashlib.sha256()
    for path in sources:
        if path.name in ("cli.py", "tables.py", "plot.py", "reporting.py", "server.py"):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body.pop(0)
        out.update(ast.dump(tree).encode())
    return out.hexdigest()[:16]


def keep(parts_done: dict[str, Any]) -> None:
    """Add to what is kept; another run at the same time may do so too."""
    with PARTS.with_suffix(".lock.tmp").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        every = json.loads(PARTS.read_text()) if PARTS.exists() else {}
        new = PARTS.with_suffix(".new.tmp")
        new.write_text(json.dumps(every | parts_done))
        new.replace(PARTS)


def main() -> None:
    """Do the parts that are not done yet; with all of them done, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells: a first impression")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no part after so many minutes")
    parser.add_argument("--only", default="", help="only parts whose names begin so: honest/nn5,power/")
    parser.add_argument("--fresh", action="store_true", help="forget what is done")
    arguments = parser.parse_args()
    version = code_version()
    if arguments.fresh:
        PARTS.unlink(missing_ok=True)
    kept: dict[str, Any] = {}
    if PARTS.exists() and not arguments.quick:
        kept = {name: one for name, one in json.loads(PARTS.read_text()).items() if one["code"] == version}
    begun = time.monotonic()
    every = dict(parts(quick=arguments.quick))
    for name, task in every.items():
        if name in kept or not name.startswith(tuple(arguments.only.split(","))):
            continue
        if time.monotonic() - begun > 60 * arguments.minutes:
            break
        started = time.monotonic()
        value = task()
        seconds = round(time.monotonic() - started, 1)
        kept[name] = {
            "value": value,
            "code": version,
            "seconds": seconds,
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        console.print(f"{name}: {seconds} s", highlight=False)
        if not arguments.quick:
            keep({name: kept[name]})
    left = [name for name in every if name not in kept]
    if left:
        console.print(
            f"{len(every) - len(left)} of {len(every)} parts done; next: {left[0]}", highlight=False
        )
        return
    results = assemble({name: kept[name]["value"] for name in every})
    show(results)
    if not arguments.quick:
        results["parts"] = {
            name: {"seconds": kept[name]["seconds"], "day": kept[name]["day"]} for name in every
        }
        results["code"] = version
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        console.print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
