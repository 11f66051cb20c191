"""Anomaly detection: NAB, injected truth, and the forest against scikit-learn.

Run: make bench-anomaly. A few minutes. Writes benchmarks/results/anomaly.json. NAB needs the evaluation data in
``$ADSML_SHARED_DATA`` (default: ../shared/data) and is left out, saying so, where they are absent.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from adsml_anomaly import evaluation, forest_growth, forest_reference, nab
from adsml_anomaly.channels import Days
from adsml_anomaly.detect import Options, Subject, assess
from adsml_anomaly.fitting import fit_entity, learn_pool
from adsml_anomaly.history import series
from adsml_anomaly.model import SeriesModel
from adsml_anomaly.report import Report, Threshold
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory
from adsml_common.simulate import AnomalyKind, SimulatedAccount, clean, inject_anomalies, simulate_account
from sklearn.ensemble import IsolationForest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ADSML_SHARED_DATA", ROOT.parent / "shared" / "data")) / "anomaly"
LAST_DAY = date(2025, 5, 31)
DAYS, TRAINED = 150, 100
ACCOUNTS = range(200, 206)
SEEDED_KINDS = (AnomalyKind.SPIKE, AnomalyKind.CORRELATION_BREAK)


def nab_table() -> dict[str, Any]:
    """Our detector and two plain ones on the files at hand, by the same rule."""
    windows = DATA / "combined_windows.json"
    if not windows.is_file():
        print(f"NAB left out: no {windows}")
        return {}
    found = evaluation.evaluate(DATA, windows)
    baselines: dict[str, dict[str, nab.Scored]] = {"isolation_forest_raw": {}, "robust_z": {}}
    for name, spans in json.loads(windows.read_text()).items():
        times, values = evaluation.read_series(DATA / Path(name).name)
        rows = [
            (
                int(np.searchsorted(times, np.datetime64(first, "ns"))),
                int(np.searchsorted(times, np.datetime64(last, "ns"), side="right")) - 1,
            )
            for first, last in spans
        ]
        forest = IsolationForest(random_state=0).fit(values[:, None])
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        baselines["isolation_forest_raw"][name] = nab.prepare(-forest.score_samples(values[:, None]), rows)
        baselines["robust_z"][name] = nab.prepare(np.abs(values - middle) / spread, rows)
    plain = {
        name: nab.score_corpus(files, nab.best_threshold(files)).standard for name, files in baselines.items()
    }
    exchange = [one for name, one in found["per_file"].items() if "realAdExchange" in name]
    raw, count = sum(one["raw"] for one in exchange), sum(one["windows"] for one in exchange)
    return {
        "nab_standard": found["nab_standard"],
        "nab_ad_exchange": nab.scaled(raw, count),
        "nab_fixed_threshold": found["fixed_threshold"]["nab_standard"],
        **{f"nab_{name}": score for name, score in plain.items()},
    }


def trained(account: SimulatedAccount) -> tuple[dict[EntityRef, Days], dict[EntityRef, SeriesModel]]:
    """An account's series, and models of their first days."""
    whole = series(account.daily, 1)
    known = {ref: Days(days.first_day, days.rows[:TRAINED]) for ref, days in whole.items()}
    pool = learn_pool(known)
    models = {}
    for ref, days in known.items():
        try:
            models[ref] = fit_entity(days, pool, ref.entity_type, what=str(ref)).model
        except InsufficientHistory:
            models[ref] = pool.of(ref.entity_type).pooled.for_series(days)
    return whole, models


def judged(ref: EntityRef, days: Days, model: SeriesModel, *, rate: float, first: date, last: date) -> Report:
    """The report on a range of days."""
    options = Options(first_date=first, last_date=last, false_alarms_per_month=rate)
    return assess(Subject(name=str(ref), days=days, model=model, threshold=Threshold(rate)), options)


def injected(
    account: SimulatedAccount, kind: AnomalyKind, seed: int
) -> Iterator[tuple[EntityRef, Days, date, str]]:
    """Entities hit, their series, the day and the metric."""
    for level in EntityType:
        try:
            hit = inject_anomalies(
                account, [kind], rate=1.0, seed=seed, entity_type=level, earliest_day=TRAINED
            )
        except FailedPrecondition:
            continue
        changed = series(hit.daily, 1)
        labels = hit.truth.anomalies
        for row in labels[labels["target"]].itertuples():
            ref = EntityRef(1, level, row.entity_id)
            yield ref, changed[ref], row.date.date(), str(row.metric)


def truth_table() -> dict[str, Any]:
    """False alarms with and without rules, power and blame on accounts with known truth."""
    alarms = dict.fromkeys((0.5, 1.0, 2.0), 0)
    days = 0
    found: dict[str, list[bool]] = {kind: [] for kind in SEEDED_KINDS}
    blamed: list[bool] = []
    for seed in ACCOUNTS:
        account = simulate_account(clean(last_day=LAST_DAY, days=DAYS), seed=seed)
        whole, models = trained(account)
        for ref, one in whole.items():
            first = one.day(TRAINED)
            days += len(one.rows) - TRAINED
            for rate in alarms:
                report = judged(ref, one, models[ref], rate=rate, first=first, last=one.last_day)
                alarms[rate] += sum(day.anomalous for day in report.days)
        for kind in SEEDED_KINDS:
            for ref, one, day, metric in injected(account, kind, seed):
                [told] = judged(ref, one, models[ref], rate=1.0, first=day, last=day).days
                found[kind].append(told.anomalous)
                if told.anomalous:
                    blamed.append(str(told.metrics[0].metric) == metric)
    return {
        **{f"false_alarms_per_month_at_{rate:g}": 30.0 * n / days for rate, n in alarms.items()},
        **{f"{kind.value}_found": float(np.mean(hits)) for kind, hits in found.items()},
        "culprit_first": float(np.mean(blamed)),
        "entity_days": days,
        "faults": sum(map(len, found.values())),
    }


def forest_table() -> dict[str, Any]:
    """Growth and scoring of small forests against scikit-learn, in one run."""
    rng = np.random.default_rng(0)
    X, one = rng.normal(size=(100, 10)), rng.normal(size=(1, 10))
    forest_growth.grow(X, seed=0).score(one)  # compile
    ours = _seconds(lambda: forest_growth.grow(X, seed=1), 200)
    theirs = _seconds(lambda: IsolationForest(n_estimators=50, max_samples=32, random_state=1).fit(X), 5)
    fitted = IsolationForest(n_estimators=50, max_samples=32, random_state=1).fit(X)
    same = forest_reference.from_sklearn(fitted)
    return {
        "fit_ratio_vs_sklearn": theirs / ours,
        "score_one_day_ratio_vs_sklearn": _seconds(lambda: fitted.score_samples(one), 20)
        / _seconds(lambda: same.score(one), 2000),
        "largest_score_difference": float(np.abs(same.score(X) + fitted.score_samples(X)).max()),
    }


def _seconds(work: Any, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def main() -> None:
    """Measure, print, write."""
    results = {**nab_table(), **truth_table(), **forest_table()}
    for name, value in results.items():
        print(f"{name:36} {value:.4g}")
    out = ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / "anomaly.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
