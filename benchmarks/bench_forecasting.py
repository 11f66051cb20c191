"""Forecasting beside the field: accuracy on held-out days, coverage, throughput, transfer.

    make bench-forecasting                                                     half an hour on two quiet cores
    .venv/bin/python benchmarks/bench_forecasting.py --only throughput         some minutes
    .venv/bin/python benchmarks/bench_forecasting.py --only accuracy --cases simulated_leads real_ads_leads

Prints tables, and puts what was measured into benchmarks/results/forecasting.json, where parts and cases that were
not asked for stay as they are. Data: ``../shared/data`` (or ADSML_SHARED_DATA) and simulated accounts; cases whose
data are absent are left out and named.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from adsml_forecasting.evaluation.long_csv import HeldOut, held_out, read_long
from adsml_forecasting.evaluation.study import Evaluation, evaluate
from adsml_forecasting.models.answering import Question, answer
from adsml_forecasting.models.calibration import calibrate
from adsml_forecasting.models.combining import Combiner, Weights
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Task, cores, forecast_origins, worker_pool
from adsml_forecasting.models.prediction import DEFAULT_MEMBERS, Learned, Source, Wanted, predict
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import DonorSeries, forecast_new
from adsml_simulate import small_accounts

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("ADSML_SHARED_DATA", ROOT / ".." / "shared" / "data"))
Keep = Callable[[str, dict[str, Any]], None]
RESULTS = ROOT / "benchmarks" / "results" / "forecasting.json"


def simulated_leads(accounts: int) -> pd.DataFrame:
    """Daily leads of campaigns and ad sets with at least one a day, 120 days."""
    out = []
    for one in small_accounts(accounts, last_day=date(2026, 3, 31), seed=5, days=120):
        frame = one.daily[one.daily["entity_type"] != "ad"]
        for key, rows in frame.groupby(["entity_type", "entity_id"]):
            if len(rows) >= 100 and rows["leads"].mean() >= 1:
                name = f"{one.settings.config_id}-{'-'.join(key)}"
                out.append(pd.DataFrame({"series_id": name, "ds": rows["date"], "y": rows["leads"]}))
    return pd.concat(out, ignore_index=True)


def ads_leads() -> pd.DataFrame:
    """Daily leads of the real account; days without a row are days without delivery."""
    raw = pd.read_csv(SHARED / "ads" / "display_2020_apr_may.csv")
    columns = [name for name in ("entity_type", "entity_id") if name in raw.columns]
    out = []
    for key, rows in raw.groupby(columns):
        daily = rows.assign(date=pd.to_datetime(rows["date"])).groupby("date")["leads"].sum()
        grid = daily.reindex(pd.date_range(daily.index.min(), raw["date"].max()), fill_value=0)
        if len(grid) >= 45 and grid.mean() >= 1:
            name = "-".join(map(str, key))
            out.append(pd.DataFrame({"series_id": name, "ds": grid.index, "y": grid.to_numpy()}))
    return pd.concat(out, ignore_index=True)


CASES = ("simulated_leads", "real_ads_leads", "m4_daily_dev", "nn5_dev")
"""Cheapest first."""


def series_of(case: str, *, every: int, accounts: int) -> tuple[list[HeldOut], int]:
    """Series and horizon of one of `CASES`."""
    folder = SHARED / "forecasting"
    if case == "nn5_dev":
        return held_out(read_long(folder / "nn5_daily_dev.csv"), None, horizon=56)[::every], 56
    if case == "m4_daily_dev":
        train, test = (read_long(folder / f"m4_daily_dev_{part}.csv") for part in ("train", "test"))
        return held_out(train, test, horizon=14)[::every], 14
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "series.csv"
        (ads_leads() if case == "real_ads_leads" else simulated_leads(accounts)).to_csv(path, index=False)
        return held_out(read_long(path), None, horizon=7), 7


def accuracy(cases: Sequence[str], *, every: int, accounts: int, keep: Keep) -> None:
    """Every case by the code of `adsml evaluate forecasting`."""
    with worker_pool() as pool:
        for case in cases:
            if case != "simulated_leads" and not SHARED.is_dir():
                print(f"{case}: left out, {SHARED} is absent")
                continue
            series, horizon = series_of(case, every=every, accounts=accounts)
            began = time.perf_counter()
            found = evaluate(series, horizon=horizon, season_length=7, pool=pool)
            row = found.as_json() | {"seconds": round(time.perf_counter() - began, 1)}
            row["ensemble_over_best_single"] = ratios(found)
            show(case, row)
            keep("accuracy", {case: row})


def ratios(found: Evaluation) -> dict[str, float | None]:
    """The ensemble's error over that of the single model chosen on validation."""
    best = found.methods[found.best_single]
    out: dict[str, float | None] = {}
    for name in ("wmape", "smape", "mase"):
        top, bottom = getattr(found.ensemble, name).value, getattr(best, name).value
        out[name] = round(top / bottom, 4) if top is not None and bottom else None
    return out


def show(name: str, row: dict[str, Any]) -> None:
    """A table for people."""
    print(f"\n{name}: {row['series']} series, {row['seconds']} s")
    rows = {"ENSEMBLE": row["ensemble"], **row["combinations"], **row["methods"]}
    for method, scores in rows.items():
        shown = [scores[key] for key in ("wmape", "smape", "mase", "coverage_90")]
        print(f"  {method:34s}" + "".join("       -" if v is None else f"{v:8.3f}" for v in shown))
    print(f"  best single on validation: {row['best_single_on_validation']['name']}; "
          f"ensemble over it: {row['ensemble_over_best_single']}")  # fmt: skip


def throughput(count: int, days: int) -> dict[str, Any]:
    """Questions answered by registered weights, intervals and all, against the members by their own libraries.

    Ours as `BatchForecast` does it: over all cores, after the processes are warm. The others one series after the
    other in one process, as a loop over libraries would, on a part of the series; beside it ours in one process on
    that part.
    """
    rng = np.random.default_rng(0)
    season = 1 + 0.3 * np.sin(2 * np.pi * np.arange(days) / 7)
    table = rng.poisson(20 * season, size=(count, days)).astype(float)
    series = [DailySeries(19_000, row, True, f"s{at}") for at, row in enumerate(table)]
    members = DEFAULT_MEMBERS
    weights = Weights(Combiner.STACKED, dict.fromkeys(members, 1 / len(members)))
    tasks = [Task(one, [days - 14, days - 7]) for one in series[:20]]
    origins = forecast_origins(tasks, methods=members, horizon=7, season_length=7)
    calibration = calibrate(origins, members=members, season_length=7, level=0.9, weights=weights)
    questions = [Question(one, Wanted(), learned=Learned(calibration=calibration)) for one in series]
    part = max(count // 20, 5)
    answer(questions[0])
    began = time.perf_counter()
    for question in questions[:part]:
        found = answer(question).prediction
        if {member.method for member in found.members} != set(members) or found.source is not Source.MODEL:
            raise RuntimeError(f"not what was to be measured: {found.source} by {found.members}")
    alone = time.perf_counter() - began
    with worker_pool() as pool:
        list(pool.map(answer, questions[:20]))
        began = time.perf_counter()
        list(pool.map(answer, questions))
        ours = time.perf_counter() - began
    theirs = one_by_one(table[:part])
    return {
        "series": count,
        "days": days,
        "members": [member.value for member in members],
        "cores": cores(),
        "seconds": round(ours, 2),
        "part": part,
        "part_seconds_one_process": round(alone, 2),
        "part_seconds_own_libraries": round(sum(theirs.values()), 2),
        "part_seconds_by_library": {name: round(spent, 2) for name, spent in theirs.items()},
        "seconds_own_libraries_extrapolated": round(sum(theirs.values()) * count / part, 1),
        "ratio": round(sum(theirs.values()) * count / part / ours, 2),
        "ratio_one_process": round(sum(theirs.values()) / alone, 2),
    }


def one_by_one(table: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Seconds for the same members by statsforecast and Prophet themselves, by member; ours for EMA."""
    import logging

    from adsml_forecasting.models.factory import make
    from adsml_forecasting.models.forecaster import forecast
    from prophet import Prophet
    from statsforecast import models

    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    dates = pd.date_range("2022-01-08", periods=table.shape[1] + 7)

    def prophet(row: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        model = Prophet(uncertainty_samples=0, daily_seasonality=False)
        model.fit(pd.DataFrame({"ds": dates[:-7], "y": row}))
        model.predict(pd.DataFrame({"ds": dates[-7:]}))

    ways: dict[str, Callable[[np.ndarray[Any, np.dtype[np.float64]]], object]] = {
        "AutoETS": lambda row: models.AutoETS(season_length=7, damped=True).forecast(y=row, h=7),
        "AutoCES": lambda row: models.AutoCES(season_length=7).forecast(y=row, h=7),
        "DynamicOptimizedTheta": lambda row: models.DynamicOptimizedTheta(
            season_length=7, decomposition_type="additive"
        ).forecast(y=row, h=7),
        "Prophet": prophet,
        "EMA (ours)": lambda row: forecast(make(Method.EMA, season_length=7), DailySeries(19_000, row), 7),
    }
    seconds = {}
    for name, way in ways.items():
        way(table[0])
        began = time.perf_counter()
        for row in table:
            way(row)
        seconds[name] = time.perf_counter() - began
    return seconds


def leads_of(frame: pd.DataFrame, level: str) -> dict[str, DailySeries]:
    """Daily leads by entity of one level."""
    return {
        str(name): DailySeries.of(rows["date"], rows["leads"], name=str(name))
        for name, rows in frame[frame["entity_type"] == level].groupby("entity_id")
    }


def transfer(accounts: int) -> dict[str, Any]:
    """Ad sets cut to their first days against what they did in the next week, beside the naive ways."""
    out: dict[str, Any] = {}
    for cut in (3, 5, 7, 10):
        errors = dict.fromkeys(("transfer", "parent_scaled_naive", "own_mean"), 0.0)
        total = 0.0
        inside = days = 0
        for one in small_accounts(accounts, last_day=date(2026, 3, 31), seed=9, days=120):
            frame = one.daily
            adsets, campaigns = leads_of(frame, "adset"), leads_of(frame, "campaign")
            parents = {e.ref.entity_id: e.parent_id for e in one.entities}
            for key, whole in adsets.items():
                parent = campaigns.get(str(parents.get(key)))
                at = len(whole) - 40 + cut
                if parent is None or len(whole) < 100:
                    continue
                cutoff = whole.first_day + at - 1
                actual = whole.values[at : at + 7]
                own = DailySeries(whole.first_day + at - cut, whole.values[at - cut : at], True, key)
                lender = parent.until(cutoff - parent.first_day + 1)
                donors = [
                    DonorSeries(n, other.until(cutoff - other.first_day + 1))
                    for n, (name, other) in enumerate(adsets.items())
                    if name != key and other.first_day < cutoff - 20
                ]
                wanted = Wanted(horizon=7)
                found = forecast_new(
                    own, parent=lender, donors=donors, tier=None, wanted=wanted, cutoff=cutoff
                )
                theirs = lender.values[-cut:]
                share = np.nansum(own.values) / max(np.nansum(theirs), 1e-9)
                errors["transfer"] += float(np.nansum(np.abs(found.prediction.point - actual)))
                errors["parent_scaled_naive"] += float(np.nansum(np.abs(share * lender.values[-7:] - actual)))
                errors["own_mean"] += float(np.nansum(np.abs(np.nanmean(own.values) - actual)))
                total += float(np.nansum(actual))
                bounds = found.prediction
                inside += int(((actual >= bounds.lower) & (actual <= bounds.upper)).sum())
                days += int(np.isfinite(actual).sum())
        out[str(cut)] = {name: round(100 * error / total, 2) for name, error in errors.items()}
        out[str(cut)]["coverage_90"] = round(inside / days, 3)
        print(f"transfer after {cut:2d} days, wMAPE: {out[str(cut)]}")
    return out


def cached() -> dict[str, float]:
    """A first and a repeated question, milliseconds."""
    from adsml_forecasting.models.answering import Cache

    rng = np.random.default_rng(0)
    series = DailySeries(19_000, rng.poisson(20, 120).astype(float))
    predict(series, Wanted())
    held = Cache(10)
    timings = []
    for _ in range(2):
        began = time.perf_counter()
        held.answer(Question(series, Wanted()), answer)
        timings.append(1000 * (time.perf_counter() - began))
    return {"first_ms": round(timings[0], 2), "repeated_ms": round(timings[1], 3)}


def kept(name: str, found: dict[str, Any]) -> None:
    """Put a part's figures into the file: after each, since the whole takes half an hour and may be cut short."""
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report[name] = report.get(name, {}) | found if name == "accuracy" else found
    stamp = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "argv": sys.argv[1:]}
    report["runs"] = report.get("runs", {}) | {
        "/".join([name, *found]) if name == "accuracy" else name: stamp
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


PARTS = ("cached", "throughput", "transfer", "accuracy")
"""Cheapest first."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="of accuracy")
    parser.add_argument("--every", type=int, default=1, help="take every n-th series of NN5 and M4")
    parser.add_argument("--accounts", type=int, default=10, help="simulated accounts")
    parser.add_argument("--throughput-series", type=int, default=1000)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    alone: dict[str, Callable[[], dict[str, Any]]] = {
        "cached": cached,
        "throughput": lambda: throughput(asked.throughput_series, 120),
        "transfer": lambda: transfer(asked.accounts),
    }
    for name, measure in alone.items():
        if name in asked.only:
            found = measure()
            print(f"{name}: {found}")
            kept(name, found)
    if "accuracy" in asked.only:
        accuracy(
            [case for case in CASES if case in asked.cases],
            every=asked.every,
            accounts=asked.accounts,
            keep=kept,
        )
    print(f"figures are in {RESULTS}")


if __name__ == "__main__":
    main()
