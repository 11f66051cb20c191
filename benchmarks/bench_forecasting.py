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
import pickle
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

import forecasting_speed as speed
import numpy as np
import pandas as pd
from adsml_common.domain.errors import AdsmlError
from adsml_common.domain.metrics import Metric
from adsml_forecasting.evaluation.study import HeldOut, evaluate, held_out, members_for, read_long, summarise
from adsml_forecasting.models.account import profile_account
from adsml_forecasting.models.answering import Answer, ForecastTask, answer
from adsml_forecasting.models.intervals import total_interval, total_spread
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import (
    Task,
    cores,
    forecast_origins,
    join_pooled,
    newest_rows,
    worker_pool,
)
from adsml_forecasting.models.prediction import (
    ForecastSpec,
)
from adsml_forecasting.models.prepared import AccountProfile, Surroundings
from adsml_forecasting.models.series import DailySeries, EntityHistory
from adsml_forecasting.models.transfer import DonorSeries, TransferTask, forecast_column
from adsml_simulate import small_accounts
from scipy import stats

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


def evaluated(
    series: Sequence[HeldOut], *, horizon: int, seconds: float | None, scratch: Path
) -> dict[str, Any] | None:
    """As `evaluate`, but in pieces: what is not done within so many seconds is left for the next run; None until done.

    Origins that are done lie in `scratch`, by series; what learns from many series is learnt from all at the end.
    """
    methods = members_for(series)
    alone = tuple(method for method in methods if method is not Method.POOLED_REGRESSION)
    done: dict[str, Any] = pickle.loads(scratch.read_bytes()) if scratch.exists() else {}  # noqa: S301  # our own
    began = time.perf_counter()
    with worker_pool() as pool:
        waiting = [one for one in series if one.series.name not in done]
        for at in range(0, len(waiting), 2 * cores()):
            if seconds is not None and time.perf_counter() - began > seconds:
                break
            some = waiting[at : at + 2 * cores()]
            tasks = [
                Task(one.series, [*newest_rows(one.rows, horizon=horizon, count=3), one.rows], tidy=True)
                for one in some
            ]
            found = forecast_origins(tasks, methods=alone, horizon=horizon, pool=pool)
            done |= {one.series.name: origins for one, origins in zip(some, found, strict=True)}
            scratch.write_bytes(pickle.dumps(done))
    if len(done) < len(series):
        print(f"{len(done)} of {len(series)} series are done; run it again")
        return None
    origins = [done[one.series.name] for one in series]
    if len(alone) < len(methods):
        origins = join_pooled(origins, [one.series for one in series], horizon=horizon)
    return summarise(origins, methods=methods)


def accuracy(
    cases: Sequence[str], *, every: int, accounts: int, keep: Keep, pieces: tuple[float, Path] | None
) -> None:
    """Every case by the code of `adsml evaluate forecasting`; with `pieces` so many seconds, kept in a folder."""
    with worker_pool() as pool:
        for case in cases:
            if case != "simulated_leads" and not SHARED.is_dir():
                print(f"{case}: left out, {SHARED} is absent")
                continue
            series, horizon = series_of(case, every=every, accounts=accounts)
            began = time.perf_counter()
            if pieces is None:
                found = evaluate(series, horizon=horizon, pool=pool)
            else:
                scratch = pieces[1] / f"{case}-{every}.pkl"
                whole = evaluated(series, horizon=horizon, seconds=pieces[0], scratch=scratch)
                if whole is None:
                    continue
                found = whole
            row = found | {"seconds": round(time.perf_counter() - began, 1)}
            if pieces is not None:
                row["seconds"] = None  # of several runs
            row["ensemble_over_best_single"] = ratios(row)
            default = row["methods"][Method.PROPHET]["wmape"]
            ours = row["ensemble"]["wmape"]
            row["headline_wmape_below_default_prophet"] = (
                None if ours is None or not default else round(1 - ours / default, 4)
            )
            show(case, row)
            keep("accuracy", {case: row})


def ratios(row: dict[str, Any]) -> dict[str, float | None]:
    """The ensemble's error over that of the single model chosen on validation."""
    best = row["best_single_on_validation"]
    out: dict[str, float | None] = {}
    for name in ("wmape", "smape", "mase"):
        top, bottom = row["ensemble"][name], best[name]
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
          f"ensemble over it: {row['ensemble_over_best_single']}; "
          f"headline: {row['headline_wmape_below_default_prophet']} below default Prophet's wMAPE; "
          f"totals: {row['ensemble']['totals']}")  # fmt: skip


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
                found = forecast_column(
                    TransferTask(own, lender, tuple(donors)),
                    tier=None,
                    spec=ForecastSpec(horizon=7),
                    as_of=cutoff,
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


LEADS_A_DAY = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def totals(count: int) -> dict[str, Any]:
    """Intervals of a week's leads, by leads a day: coverage, and width over that of the exact quantiles.

    Ideal is the interval between the 5% and the 95% quantile of a Poisson count whose mean is known.
    """
    out: dict[str, Any] = {}
    inside = asked = 0
    ratios = []
    for rate in LEADS_A_DAY:
        rng = np.random.default_rng(int(1000 * rate))
        widths, hits = [], 0
        for _ in range(count):
            days = rng.poisson(rate, 127).astype(float)
            spread = total_spread(days[:120], horizon=7)
            point = 7 * days[92:120].mean()
            low, high = total_interval(point, spread, reach=spread.reach(0.9))
            hits += int(low <= days[120:].sum() <= high)
            widths.append(high - low)
        ideal = float(np.diff(stats.poisson(7 * rate).ppf([0.05, 0.95]))[0])
        inside, asked = inside + hits, asked + count
        ratios.append(float(np.mean(widths)) / ideal)
        out[str(rate)] = {
            "coverage_90": round(hits / count, 3),
            "width": round(float(np.mean(widths)), 2),
            "ideal_width": ideal,
            "width_over_ideal": round(ratios[-1], 3),
        }
    out["all"] = {
        "coverage_90": round(inside / asked, 3),
        "width_over_ideal": round(float(np.mean(ratios)), 3),
    }
    return out


def histories(frame: pd.DataFrame) -> dict[tuple[str, str], EntityHistory]:
    """Campaigns and ad sets of an account, up to its last day."""
    last = int(frame["date"].max().to_datetime64().astype("datetime64[D]").astype(int))
    out = {}
    for key, rows in frame[frame["entity_type"] != "ad"].groupby(["entity_type", "entity_id"]):
        days = rows["date"].to_numpy(dtype="datetime64[D]").astype(np.int64)
        columns = {name: rows[name].to_numpy(float) for name in ("spend", "impressions", "clicks", "leads")}
        out[str(key[0]), str(key[1])] = EntityHistory.of_rows(days, columns, name="/".join(key), until=last)
    return out


def cut(history: EntityHistory, days: int) -> EntityHistory:
    """The first so many days."""
    columns = {name: values[:days] for name, values in history.columns.items()}
    return EntityHistory(history.first_day, columns, history.name, history.first_day + days - 1)


CPL_BANDS = ((0, 0.3), (0.3, 1), (1, 5), (5, 1e9))
CPL_ORIGINS = 3


def cpl_tasks(accounts: Sequence[pd.DataFrame]) -> list[tuple[ForecastTask, dict[str, float]]]:
    """Questions about the CPL of a week, with what it was, last week's and the 28-day ratio."""
    out = []
    for frame in accounts:
        known = histories(frame)
        last = max(one.last_day for one in known.values())
        for back in range(1, CPL_ORIGINS + 1):
            as_of = last - 7 * back
            before = {
                key: cut(one, as_of - one.first_day + 1)
                for key, one in known.items()
                if one.first_day <= as_of
            }
            profile = profile_account([one for key, one in before.items() if key[0] == "campaign"], {})
            around = Surroundings(account=AccountProfile(rates=profile.rates))
            for key, one in before.items():
                days = len(one)
                leads, spend = known[key].column("leads"), known[key].column("spend")
                actual = leads[days : days + 7].sum(), spend[days : days + 7].sum()
                recent = leads[:days][-28:].sum(), spend[:days][-28:].sum()
                week = leads[:days][-7:].sum(), spend[:days][-7:].sum()
                if days < 28 or min(actual[0], recent[0], actual[1]) <= 0:
                    continue
                task = ForecastTask(one, Metric.CPL, as_of, ForecastSpec(), around)
                out.append(
                    (
                        task,
                        {
                            "actual": actual[1] / actual[0],
                            "leads": actual[0],
                            "rate": recent[0] / 28,
                            "ratio_28": recent[1] / recent[0],
                            "last_week": week[1] / week[0] if week[0] else float("nan"),
                        },
                    )
                )
    return out


def cpl(accounts: int) -> dict[str, Any]:
    """CPL of the coming week as a ratio of sums, against the 28-day ratio and last week's."""
    cases = {
        "simulated": [
            one.daily for one in small_accounts(accounts, last_day=date(2026, 3, 31), seed=5, days=120)
        ]
    }
    path = SHARED / "ads" / "display_2020_apr_may.csv"
    if path.exists():
        raw = pd.read_csv(path, dtype={"entity_id": str})
        cases["real_ads"] = [raw.assign(date=pd.to_datetime(raw["date"]))]
    out: dict[str, Any] = {}
    with worker_pool() as pool:
        for case, frames in cases.items():
            tasks = cpl_tasks(frames)
            futures = [pool.submit(answer, task) for task, _ in tasks]
            rows = []
            for future, (_, facts) in zip(futures, tasks, strict=True):
                try:
                    found: Answer = future.result()
                except AdsmlError:
                    continue
                point = found.prediction
                rows.append(
                    facts | {"ours": point.total, "low": point.total_lower, "high": point.total_upper}
                )
            table = pd.DataFrame(rows)
            out[case] = {"all": cpl_row(table)}
            for low, high in CPL_BANDS:
                band = table[(table["rate"] >= low) & (table["rate"] < high)]
                if len(band):
                    out[case][f"{low} to {high} leads a day" if high < 1e9 else f"{low} or more"] = cpl_row(
                        band
                    )
            print(case, json.dumps(out[case], indent=1))
    return out


def cpl_row(table: pd.DataFrame) -> dict[str, Any]:
    """WMAPE of weekly CPL by each way, over weeks alike and by their leads, and coverage."""
    fine = table[np.isfinite(table["ours"])]
    out: dict[str, Any] = {"weeks": len(table), "without_a_forecast": len(table) - len(fine)}
    for name in ("ours", "ratio_28", "last_week"):
        known = fine[np.isfinite(fine[name])]
        miss = (known[name] - known["actual"]).abs()
        weight = known["leads"]
        out[f"wmape_{name}"] = round(float(miss.sum() / known["actual"].sum()), 4)
        out[f"wmape_{name}_by_leads"] = round(
            float((miss * weight).sum() / (known["actual"] * weight).sum()), 4
        )
    out["coverage_90"] = round(float(fine["actual"].between(fine["low"], fine["high"]).mean()), 3)
    return out


def plan(series: int) -> dict[str, Any]:
    """Leads of a week whose budget is planned, with the plan and without, where budgets move and where not."""
    out: dict[str, Any] = {}
    rng = np.random.default_rng(7)
    with worker_pool() as pool:
        for case in ("budgets_move", "nothing_moves"):
            tasks, actual = [], []
            for at in range(series):
                level = np.exp(rng.uniform(np.log(60), np.log(600)))
                moves = np.exp(rng.normal(0, 0.5, 13)) if case == "budgets_move" else np.ones(13)
                lengths = rng.integers(5, 12, 13)
                budget = level * np.repeat(moves, lengths)
                # The plan begins where the history ends: one budget for the week, often a new one.
                week = level * (np.exp(rng.normal(0, 0.5)) if case == "budgets_move" else 1.0)
                budget = np.concatenate([budget, np.full(7, week)])
                season = np.tile([1.1, 1.1, 1.05, 1.0, 0.95, 0.9, 0.9], len(budget) // 7 + 1)[: len(budget)]
                spend = budget * season * np.exp(rng.normal(0, 0.05, len(budget)))
                price = rng.uniform(8, 40)
                elasticity = rng.uniform(0.7, 1.0)
                leads = rng.poisson(level / price * (spend / level) ** elasticity).astype(float)
                days = len(budget) - 7
                history = EntityHistory(
                    19_000, {"spend": spend[:days], "leads": leads[:days]}, f"s{at}", 19_000 + days - 1
                )
                ahead = {19_000 + days + step: float(week) for step in range(7)}
                tasks += [
                    ForecastTask(history, Metric.LEADS, 19_000 + days - 1, ForecastSpec(), around)
                    for around in (Surroundings(), Surroundings(plan=ahead))
                ]
                actual.append(leads[days:].sum())
            found = np.array([one.prediction.total for one in pool.map(answer, tasks)]).reshape(-1, 2)
            miss = np.abs(found - np.array(actual)[:, None]).sum(axis=0) / np.sum(actual)
            out[case] = {"wmape_without": round(float(miss[0]), 4), "wmape_with": round(float(miss[1]), 4)}
    return out


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


PARTS = ("cached", "first_batch", "totals", "plan", "throughput", "transfer", "cpl", "accuracy")
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
    parser.add_argument("--poisson-weeks", type=int, default=2000, help="per rate, of totals")
    parser.add_argument("--planned-series", type=int, default=150, help="per case, of plan")
    parser.add_argument("--throughput-series", type=int, default=1000)
    parser.add_argument(
        "--pieces",
        nargs=2,
        metavar=("SECONDS", "FOLDER"),
        help="of accuracy: stop after so long, go on from what lies in the folder",
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    alone: dict[str, Callable[[], dict[str, Any]]] = {
        "cached": speed.cached,
        "first_batch": speed.first_batch,
        "throughput": lambda: speed.throughput(asked.throughput_series, 120),
        "totals": lambda: totals(asked.poisson_weeks),
        "plan": lambda: plan(asked.planned_series),
        "transfer": lambda: transfer(asked.accounts),
        "cpl": lambda: cpl(asked.accounts),
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
            pieces=asked.pieces and (float(asked.pieces[0]), Path(asked.pieces[1])),
        )
    print(f"figures are in {RESULTS}")


if __name__ == "__main__":
    main()
