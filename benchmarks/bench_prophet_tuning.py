"""Tuning by the compiled posterior against Prophet's own cross-validation, in one run.

    make bench-prophet-tuning                                    about 15 minutes on two quiet cores
    .venv/bin/python benchmarks/bench_prophet_tuning.py --quick  about 3 minutes, few series and combinations
    .venv/bin/python benchmarks/bench_prophet_tuning.py --full   all 40 combinations at every length, an hour

`--accuracy` adds held-out errors (7 minutes; 2 with `--quick`), `--only` picks parts.
Figures go to benchmarks/results/prophet_tuning.json.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import prophet_series
from adsml_forecasting.models.origins import RollingOrigin
from adsml_forecasting.models.prophet.design import History, make_features
from adsml_forecasting.models.prophet.settings import DEFAULTS, GRID, Combination, Seasons
from adsml_forecasting.models.prophet.tuning import forecast_folds, tune
from prophet import Prophet
from prophet.diagnostics import cross_validation, performance_metrics
from prophet_accuracy import accuracy
from prophet_series import daily
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "prophet_tuning.json"
FOLDS = RollingOrigin(initial=30, period=7, horizon=7)
CORES = len(os.sched_getaffinity(0))
console = Console(width=120)


@dataclass(frozen=True)
class Size:
    """How much of each part to run."""

    combinations: dict[int, int]  # by length, for Prophet; a part of 40 is a sample
    parity_series: int
    parity_fits: int
    choice_series: int
    scale_series: int
    accuracy_every: int  # every n-th series


SIZES = {
    "quick": Size({60: 4, 120: 2}, 40, 2, 2, 100, 4),
    "usual": Size({60: 40, 120: 20, 365: 4, 730: 2}, 200, 4, 10, 1000, 1),
    "full": Size({60: 40, 120: 40, 365: 40, 730: 40}, 200, 20, 30, 1000, 1),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines of Prophet and Stan."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def sample_of_grid(count: int) -> tuple[Combination, ...]:
    """So many combinations at random, the defaults among them."""
    others = [combination for combination in GRID if combination != DEFAULTS]
    picked = np.random.default_rng(0).permutation(len(others))[: count - 1]
    return (DEFAULTS, *(others[i] for i in sorted(picked)))


# ------------------------------------------------------------------------------------------------ speed


def prophet_search(
    frame: pd.DataFrame,
    combinations: Sequence[Combination],
    *,
    parallel: Any,
    uncertainty_samples: int = 1000,
) -> float:
    """Seconds of the search that Prophet's documentation shows ("Hyperparameter tuning")."""
    began = time.perf_counter()
    for combination in combinations:
        model = Prophet(**asdict(combination), uncertainty_samples=uncertainty_samples).fit(frame)
        found = cross_validation(
            model,
            initial=f"{FOLDS.initial} days",
            period=f"{FOLDS.period} days",
            horizon=f"{FOLDS.horizon} days",
            parallel=parallel,
            disable_tqdm=True,
        )
        performance_metrics(found, metrics=["mse"], rolling_window=1)
    return time.perf_counter() - began


def our_search(frame: pd.DataFrame, combinations: Sequence[Combination], *, threads: int) -> float:
    """Seconds, the median of five."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        tune(daily(frame), grid=combinations, threads=threads)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def speed(size: Size) -> dict[str, Any]:
    """Prophet's search over the same series, combinations and cutoffs."""
    table = Table(
        title="Seconds for one series", caption="n: series; combinations: of the 40 that both searched"
    )
    headings = (
        "days",
        "n",
        "folds",
        "combinations",
        "Prophet",
        "best parallel",
        "ours, 1 thread",
        "ours, all threads",
    )
    for heading in (*headings, "ratio", "ratio parallel"):
        table.add_column(heading, justify="right")
    source = prophet_series.nn5() or prophet_series.simulated("cpl", 1, rows=735)
    name, whole = next(iter(source.items()))
    out: dict[str, Any] = {"series": name, "by_length": {}}
    for days, count in size.combinations.items():
        frame = whole.iloc[735 - days : 735].reset_index(drop=True)
        combinations = sample_of_grid(count) if count < len(GRID) else GRID
        with quiet():
            alone = prophet_search(frame, combinations, parallel=None)
            # Which parallel setting is best is tried on two combinations.
            trials = {
                setting: prophet_search(frame, combinations[:2], parallel=setting)
                for setting in ("threads", "processes")
            }
            setting = min(trials, key=lambda key: trials[key])
            together = prophet_search(frame, combinations, parallel=setting)
            points = prophet_search(frame, combinations[:4], parallel=None, uncertainty_samples=0)
        ours = our_search(frame, combinations, threads=1)
        ours_together = our_search(frame, combinations, threads=CORES)
        row = {
            "n": 1,
            "folds": len(FOLDS.cutoffs(History.of(daily(frame)).days)),
            "combinations": len(combinations),
            "prophet_seconds": alone,
            "prophet_parallel_setting": setting,
            "prophet_parallel_seconds": together,
            "prophet_seconds_per_combination_without_uncertainty": points / len(combinations[:4]),
            "ours_seconds": ours,
            "ours_parallel_seconds": ours_together,
            "ours_seconds_all_40": our_search(frame, GRID, threads=1),
            "ratio": alone / ours,
            "ratio_parallel": together / ours_together,
            "ratio_without_uncertainty": (points / len(combinations[:4])) / (ours / len(combinations)),
        }
        out["by_length"][str(days)] = row
        table.add_row(
            *(str(value) for value in (days, 1, row["folds"], len(combinations))),
            f"{alone:.1f}",
            f"{together:.1f} {setting}",
            f"{ours:.3f}",
            f"{ours_together:.3f}",
            f"{row['ratio']:.0f}",
            f"{row['ratio_parallel']:.0f}",
        )
    console.print(table)
    rows = out["by_length"].values()
    return {
        "ratio_vs_prophet_cv": min(row["ratio"] for row in rows),
        "ratio_vs_prophet_cv_parallel": min(row["ratio_parallel"] for row in rows),
        "ratio_vs_prophet_cv_without_uncertainty": min(row["ratio_without_uncertainty"] for row in rows),
        "ratios": {days: row["ratio"] for days, row in out["by_length"].items()},
        "speed": out,
    }


# ----------------------------------------------------------------------------------------------- parity


def parity_series(count: int) -> dict[str, pd.DataFrame]:
    """In five: NN5, M4, and three of simulated CPL, constants and near-constants."""
    rng = np.random.default_rng(0)
    out: dict[str, pd.DataFrame] = {}
    real = {"nn5": prophet_series.nn5(), "m4": prophet_series.m4()}
    shares = {"nn5": 0.28, "m4": 0.3, "cpl": 0.27, "constant": 0.02, "one differs": 0.04}
    shares |= {"nearly constant": 0.04, "line": 0.02, "step": 0.03}
    for kind, share in shares.items():
        wanted = round(share * count)
        if real.get(kind):
            for name, frame in list(real[kind].items())[:wanted]:
                days = int(rng.choice([60, 120, 365, 735]))
                out[name] = frame.iloc[:735].tail(days).reset_index(drop=True)
        else:
            days = int(rng.choice([45, 60, 120, 200]))
            out |= prophet_series.simulated("cpl" if kind in real else kind, wanted, rows=days)
    return out


def one_fit(frame: pd.DataFrame, combination: Combination, cutoff: int) -> dict[str, Any] | None:
    """Stan's fit and ours of one combination at one cutoff, and their forecasts of the days after it."""
    history = History.of(daily(frame))
    features = make_features(history.days, Seasons.of(history.days))
    found = forecast_folds(history, features, GRID, np.array([cutoff]), horizon=FOLDS.horizon)
    row = GRID.index(combination)
    ours = found.log_posterior[row, 0]
    if np.isnan(ours):
        return None  # a constant: neither fits anything
    day = pd.Timestamp(cutoff, unit="D")
    model = Prophet(
        **asdict(combination),
        uncertainty_samples=0,
        yearly_seasonality=features.shape[1] > 6,
        weekly_seasonality=features.shape[1] > 0,
    )
    try:
        model.fit(frame[frame["ds"] <= day], sig_figs=17)
    except RuntimeError as error:
        return {"ours": ours, "stan": None, "error": str(error).splitlines()[0]}
    stan = float(model.params["lp__"].item())
    predicted = model.predict(pd.DataFrame({"ds": pd.to_datetime(found.days, unit="D")}))["yhat"].to_numpy()
    if model.stan_backend is not None:
        model.stan_backend.cleanup()
    return {
        "ours": float(ours),
        "stan": stan,
        "relative": (stan - ours) / max(1.0, abs(stan)),
        "apart": float(np.abs(predicted - found.forecasts[row]).max() / model.y_scale),
        "sigma": float(model.params["sigma_obs"].item()),
    }


def parity(size: Size) -> dict[str, Any]:
    """Log posterior and forecasts beside Stan's, at random combinations and cutoffs of 200 series."""
    rng = np.random.default_rng(1)
    series = parity_series(size.parity_series)
    tasks = []
    for name, frame in series.items():
        cutoffs = FOLDS.cutoffs(History.of(daily(frame)).days)
        picks = rng.integers(len(GRID), size=size.parity_fits)
        tasks += [(name, GRID[pick], int(rng.choice(cutoffs))) for pick in picks]
    with quiet(), ThreadPoolExecutor(CORES) as pool:
        fits = list(pool.map(lambda task: one_fit(series[task[0]], *task[1:]), tasks))
    rows = []
    for (name, combination, cutoff), fit in zip(tasks, fits, strict=True):
        if fit is not None:
            rows.append(
                {"series": name, "cutoff": str(np.datetime64(cutoff, "D")), **asdict(combination), **fit}
            )
    compared = [row for row in rows if row["stan"] is not None]
    below = [row for row in compared if row["relative"] > 1e-6]
    same = [row for row in compared if abs(row["relative"]) <= 1e-6]
    near = [row for row in compared if abs(row["relative"]) <= 1e-4]
    apart = [row for row in near if row["apart"] > 0.01]

    def close(among: list[dict[str, Any]]) -> float | None:
        return sum(row["apart"] <= 0.01 for row in among) / len(among) if among else None

    table = Table(title=f"Beside Stan, {len(series)} series, {len(tasks)} fits", show_header=False)
    gains = np.array([-row["relative"] for row in compared])
    higher = " / ".join(f"{(gains > limit).mean():.0%}" for limit in (1e-6, 1e-4, 1e-2))
    lines = {
        "constant up to the cutoff: neither fits": len(tasks) - len(rows),
        "Stan gave up": len(rows) - len(compared),
        "compared": len(compared),
        "our log posterior not below Stan's beyond 1e-6 relative": f"{1 - len(below) / len(compared):.2%}",
        "ours higher by more than 1e-6 / 1e-4 / 1e-2 relative": higher,
        f"forecasts within 1% of scale where within 1e-6 ({len(same)} fits)": close(same),
        f"forecasts within 1% of scale where within 1e-4 ({len(near)} fits)": close(near),
        "forecasts within 1% of scale, all": close(compared),
    }
    for label, value in lines.items():
        table.add_row(label, str(value))
    console.print(table)
    for row in below:
        console.print("below Stan:", row)
    return {
        "objective_not_worse_share": 1 - len(below) / len(compared),
        "forecasts_within_1_percent_share": close(same),
        "parity": {
            "series": len(series),
            "fits": len(tasks),
            "constant": len(tasks) - len(rows),
            "stan_failed": len(rows) - len(compared),
            "compared": len(compared),
            "ours_higher_share": {str(limit): float((gains > limit).mean()) for limit in (1e-6, 1e-4, 1e-2)},
            "same_optimum_fits": len(same),
            "within_1e-4_fits": len(near),
            "within_1e-4_forecasts_within_1_percent_share": close(near),
            "all_forecasts_within_1_percent_share": close(compared),
            "below_stan": below,
            "forecasts_apart_at_the_same_optimum": apart,
        },
    }


# ----------------------------------------------------------------------------------------------- choice


def stan_errors(frame: pd.DataFrame, cutoffs: Sequence[int]) -> np.ndarray:
    """Absolute errors over |y| of Prophet itself, combination by cutoff by day of the horizon."""
    stamps = [pd.Timestamp(cutoff, unit="D") for cutoff in cutoffs]
    out = np.empty((len(GRID), len(cutoffs)))
    with ThreadPoolExecutor(CORES) as pool:
        for row, combination in enumerate(GRID):
            model = Prophet(**asdict(combination), uncertainty_samples=0).fit(frame)
            found = cross_validation(
                model, horizon=f"{FOLDS.horizon} days", cutoffs=stamps, parallel=pool, disable_tqdm=True
            )
            relative = (found["y"] - found["yhat"]).abs() / found["y"].abs()
            out[row] = relative.groupby(found["cutoff"]).mean().to_numpy()
    return out


def choice(size: Size) -> dict[str, Any]:
    """The error, by Prophet itself, of our choice and of the choice that Prophet's own search makes.

    On the cutoffs that are searched Prophet's choice can't be beaten, since it is their minimum: that ratio
    is at least 1. What counts is the error on weeks that neither saw: eight weeks after the 60 days searched.
    """
    days, weeks = 60, 8
    source = {
        name: frame.iloc[: days + 7 * weeks]
        for name, frame in prophet_series.nn5().items()
        if frame["y"].iloc[: days + 7 * weeks].min() > 0
    }
    # No zeros: MAPE, which Prophet's own search minimises, needs that.
    source |= {
        name: frame
        for name, frame in prophet_series.simulated("cpl", 200, rows=days + 7 * weeks, seed=7).items()
        if frame["y"].min() > 0
    }
    names = list(source)
    picked = names[:: max(1, len(names) // size.choice_series)][: size.choice_series]
    rows = []
    for name in picked:
        frame = source[name].dropna(subset="y").reset_index(drop=True)
        history = History.of(daily(frame.iloc[:days]))
        searched = FOLDS.cutoffs(history.days)
        last = int(history.days[-1])
        later = [last + FOLDS.horizon * week for week in range(weeks - 1)]
        with quiet():
            errors = stan_errors(frame, [*searched, *later])
        ours = tune(daily(frame.iloc[:days]))
        own = errors[:, : len(searched)].mean(axis=1)
        best = int(own.argmin())
        default = GRID.index(DEFAULTS)
        if not own[best] < own[default]:
            best = default
        mine = GRID.index(ours.combination)
        after = errors[:, len(searched) :].mean(axis=1)
        rows.append(
            {
                "series": name,
                "ours": asdict(GRID[mine]),
                "prophet": asdict(GRID[best]),
                "searched": [own[mine], own[best], own[default]],
                "after": [after[mine], after[best], after[default]],
            }
        )
    searched_errors = np.array([row["searched"] for row in rows])
    after_errors = np.array([row["after"] for row in rows])
    ratio = after_errors[:, 0].mean() / after_errors[:, 1].mean()
    same_folds = searched_errors[:, 0].mean() / searched_errors[:, 1].mean()
    equal = sum(row["ours"] == row["prophet"] for row in rows)
    table = Table(title=f"MAPE by Prophet itself of the combination chosen, mean of {len(rows)} series")
    for heading in ("", "our choice", "Prophet's own", "defaults", "ratio"):
        table.add_column(heading, justify="right")
    for label, values, value in (
        ("on the weeks searched", searched_errors, same_folds),
        ("on the weeks after", after_errors, ratio),
    ):
        table.add_row(label, *(f"{mean:.4f}" for mean in values.mean(axis=0)), f"{value:.4f}")
    console.print(table)
    console.print(f"the same combination in {equal} of {len(rows)}")
    return {
        "choice_error_ratio": float(ratio),
        "choice_error_ratio_on_the_weeks_searched": float(same_folds),
        "choice": {"series": len(rows), "same_combination": equal, "rows": rows},
    }


# ------------------------------------------------------------------------------------- scale, cold start

_SCALE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from adsml_forecasting.models.prophet.tuning import tune_many
import prophet_series
prophet_series.warm()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames = prophet_series.simulated("cpl", int(sys.argv[1]), rows=120, seed=3)
series = {name: prophet_series.daily(frame) for name, frame in frames.items()}
began = time.perf_counter()
results = tune_many(series)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tuned = sum(r.outcome == "tuned" for r in results.values())
not_converged = sum(r.not_converged for r in results.values())
fits = sum(len(r.combinations) * len(r.cutoffs) for r in results.values())
print(json.dumps({"series": len(results), "seconds": seconds, "fits": fits, "not_converged": not_converged,
                  "tuned": tuned, "peak_rss_mb": peak / 1024, "rss_before_mb": before / 1024}))
"""


def scale(size: Size) -> dict[str, Any]:
    """Many series at once, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _SCALE, str(size.scale_series)],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["cores"] = CORES
    console.print(
        f"[bold]{found['series']} series of 120 days[/], {found['fits']} fits on {CORES} cores: "
        f"{found['seconds']:.1f} s, peak memory {found['peak_rss_mb']:.0f} MB "
        f"({found['rss_before_mb']:.0f} MB before), {found['not_converged']} fits not converged"
    )
    return {"scale": found}


_COLD = """
import json, time
began = time.perf_counter()
from adsml_forecasting.models.prophet.tuning import tune
import prophet_series
imported = time.perf_counter()
prophet_series.warm()
warmed = time.perf_counter()
series = prophet_series.daily(prophet_series.simulated("cpl", 1, rows=120)["cpl 0"])
at = time.perf_counter()
tune(series)
first = time.perf_counter() - at
at = time.perf_counter()
tune(series)
print(json.dumps({"import": imported - began, "warm": warmed - imported, "first_tuning": first,
                  "second_tuning": time.perf_counter() - at}))
"""


def cold_start(_: Size) -> dict[str, Any]:
    """A fresh process with no cache, and with the cache that the first one left."""
    out = {}
    table = Table(title="Seconds in a fresh process")
    for heading in ("cache", "import", "warm()", "first tuning, 120 days", "second"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as directory:
        for label in ("none", "filled"):
            done = subprocess.run(
                [sys.executable, "-c", _COLD],
                check=True, capture_output=True, text=True, cwd=Path(__file__).parent,
                env={**os.environ, "NUMBA_CACHE_DIR": directory},
            )  # fmt: skip
            found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
            out[label] = found
            table.add_row(label, *(f"{value:.2f}" for value in found.values()))
    console.print(table)
    return {"cold_start_seconds": out}


PARTS = {
    "cold-start": cold_start,
    "scale": scale,
    "parity": parity,
    "choice": choice,
    "speed": speed,
    "accuracy": lambda size: accuracy(console, every=size.accuracy_every),
}
USUAL = ("cold-start", "scale", "parity", "choice", "speed")


def main() -> None:
    """Run the parts asked for and write their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="size")
    size.add_argument("--full", action="store_const", const="full", dest="size")
    parser.add_argument("--accuracy", action="store_true", help="held-out error beside other methods, too")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="other figures stay as they are")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    name = arguments.size or "usual"
    began = time.perf_counter()
    prophet_series.warm()
    if not prophet_series.nn5():
        console.print(f"no {prophet_series.SHARED}: simulated series only")
    kept = arguments.only and arguments.output.exists()
    figures: dict[str, Any] = json.loads(arguments.output.read_text()) if kept else {}
    figures |= {
        "command": " ".join(["benchmarks/bench_prophet_tuning.py", *sys.argv[1:]]),
        "size": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}",
    }
    for part in arguments.only or (*USUAL, *(["accuracy"] if arguments.accuracy else [])):
        at = time.perf_counter()
        figures |= PARTS[part](SIZES[name])
        console.print(f"[dim]{part}: {time.perf_counter() - at:.0f} s[/]\n")
    figures["seconds"] = time.perf_counter() - began
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"{figures['seconds']:.0f} s; figures in {arguments.output}")


if __name__ == "__main__":
    main()
