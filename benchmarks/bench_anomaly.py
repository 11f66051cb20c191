"""Anomaly detection: NAB, injected truth, the forest against scikit-learn, a scan of 10,000 entities, kill -9.

`make bench-anomaly` prints a table and writes benchmarks/results/anomaly.json, every part with when, how long and
under what load it was measured; `--only PART` measures one part into the same file, `--constants` adds how NAB's
score moves with each constant of the point detector. NAB needs the evaluation data in ``$ADSML_SHARED_DATA``
(default: ../shared/data) and is left out, saying so, where they are absent.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_anomaly import warmup
from adsml_anomaly.artifacts import entity_model, parse, to_files
from adsml_anomaly.evaluation import nab
from adsml_anomaly.evaluation import study as evaluation
from adsml_anomaly.histories import series
from adsml_anomaly.models import forest, points
from adsml_anomaly.models.assessment import Options, Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import DAYS_NEEDED, fit_entity, learn_pool
from adsml_anomaly.models.local_level import innovations
from adsml_anomaly.models.results import DayAssessment, Threshold
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.server import open_service
from adsml_anomaly.settings import AnomalySettings
from adsml_anomaly.training.detectors import DetectorTrainer
from adsml_anomaly.training.items import JOB, items_of
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle, pack
from adsml_common.registry.models import ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.registry.tables import ml_trained_models
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import entity_ref_message
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import ItemStatus, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import AnomalyKind, SimulatedAccount, inject_anomalies, simulate_account
from adsml_simulate.presets import clean, large
from adsml_simulate.storing import write_to_store
from numba import njit
from sklearn.ensemble import IsolationForest

ROOT = Path(__file__).resolve().parents[1]
# The tests' scikit-learn forest in our arrays, which is no package that could be imported otherwise.
sys.path.insert(0, str(ROOT / "tests"))
from support import sklearn_forest  # noqa: E402 - needs the path above

DATA = Path(os.environ.get("ADSML_SHARED_DATA", ROOT.parent / "shared" / "data")) / "anomaly"
LAST_DAY = date(2026, 3, 31)
DAYS, TRAINED = 150, 100
ACCOUNTS = range(200, 206)
RATES: Final = (0.5, 1.0, 3.0)
KINDS = (AnomalyKind.SPIKE, AnomalyKind.CORRELATION_BREAK)
CONSTANTS: Final = (
    "LEVEL_GAINS", "DAY_GAIN", "WEEK_GAIN", "SPREAD_SEASONS", "PRIOR_SPREAD", "CLIP", "LEAST_SPREAD",
    "QUIET_SEASONS", "_ZOOM",
)  # fmt: skip
KILLED, SCANNED = 500, 10_000
KILLS_AT: Final = (80, 200, 350)
"""Models in the registry when the run is killed; the moment within the next registrations is left to chance."""


def nab_part() -> dict[str, Any]:
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
    out: dict[str, Any] = {
        "nab_standard": found["nab_standard"],
        "nab_ad_exchange": _exchange(found["per_file"]),
        "nab_fixed_threshold": found["fixed_threshold"]["nab_standard"],
    }
    for name, files in baselines.items():
        out[f"nab_{name}"], best = nab.score_corpus(files, nab.best_threshold(files))
        out[f"nab_{name}_ad_exchange"] = _exchange(
            {file: {"raw": one.raw, "windows": one.windows} for file, one in best.items()}
        )
    return out


def _exchange(files: dict[str, dict[str, Any]]) -> float:
    found = [one for name, one in files.items() if "realAdExchange" in name]
    return nab.scaled(sum(one["raw"] for one in found), sum(one["windows"] for one in found))


def constants_part() -> dict[str, Any]:
    """NAB's score with each constant 30% lower and higher: how much hangs on their choice."""
    windows, out = DATA / "combined_windows.json", dict[str, Any]()
    original = points._smooth  # compiled code keeps the constants it was compiled with
    for name in CONSTANTS:
        usual = getattr(points, name)
        for factor in (0.7, 1.3):
            moved = tuple(one * factor for one in usual) if isinstance(usual, tuple) else usual * factor
            setattr(points, name, moved)
            points._smooth = njit(original.py_func)
            found = evaluation.evaluate(DATA, windows)
            out[f"{name} x {factor}"] = {
                "nab_standard": found["nab_standard"],
                "nab_ad_exchange": _exchange(found["per_file"]),
                "nab_fixed_threshold": found["fixed_threshold"]["nab_standard"],
            }
        setattr(points, name, usual)
    points._smooth = original
    lowest = {key: min(one[key] for one in out.values()) for key in next(iter(out.values()))}
    return {"constants": out, **{f"{key}_lowest_by_constants": value for key, value in lowest.items()}}


def trained(account: SimulatedAccount) -> tuple[dict[EntityRef, Days], dict[EntityRef, SeriesModel]]:
    """An account's series, and models of their first days; the level's profile where they are too few."""
    whole = series(account.daily, 1)
    known = {ref: Days(days.first_day, days.rows[:TRAINED]) for ref, days in whole.items()}
    pool = learn_pool(known)
    models = {}
    for ref, days in known.items():
        if int(days.delivered.sum()) >= DAYS_NEEDED:
            models[ref] = fit_entity(days, pool, ref.entity_type, what=str(ref)).model
        else:
            models[ref] = pool.of(ref.entity_type).pooled.for_series(days)
    return whole, models


def judged(
    days: Days, model: SeriesModel, *, rate: float, first: date, last: date
) -> tuple[DayAssessment, ...]:
    """The alarms of a range of days."""
    options = Options(first_date=first, last_date=last, false_alarms_per_month=rate, anomalous_only=True)
    return assess(Subject(name="one", days=days, model=model, threshold=Threshold(rate)), options).days


def injected(
    account: SimulatedAccount, kind: AnomalyKind, seed: int
) -> Iterator[tuple[EntityRef, Days, date, str]]:
    """Entities hit, their series, the day and the metric; one level after the other."""
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


def truth_part() -> dict[str, Any]:
    """False alarms by scores alone and with rules, faults found and metrics blamed, on accounts with known truth."""
    by_scores, by_all = dict.fromkeys(RATES, 0), dict.fromkeys(RATES, 0)
    entity_days = 0
    found: dict[str, list[bool]] = {kind.value: [] for kind in KINDS}
    blamed: dict[str, list[bool]] = {kind.value: [] for kind in KINDS}
    for seed in ACCOUNTS:
        account = simulate_account(clean(last_day=LAST_DAY, days=DAYS), seed=seed)
        whole, models = trained(account)
        for ref, one in whole.items():
            entity_days += len(one.rows) - TRAINED
            for rate in RATES:
                alarms = judged(one, models[ref], rate=rate, first=one.day(TRAINED), last=one.last_day)
                by_all[rate] += len(alarms)
                by_scores[rate] += sum(
                    day.p_value is not None and day.p_value <= rate / 30 + 1e-9 for day in alarms
                )
        for kind in KINDS:
            for ref, one, day, metric in injected(account, kind, seed):
                told = judged(one, models[ref], rate=1.0, first=day, last=day)
                found[kind.value].append(bool(told))
                if told:
                    blamed[kind.value].append(str(told[0].metrics[0].metric) == metric)
    every = [hit for hits in blamed.values() for hit in hits]
    return {
        **{f"false_alarms_per_month_at_{rate:g}": 30.0 * n / entity_days for rate, n in by_scores.items()},
        **{f"with_rules_per_month_at_{rate:g}": 30.0 * n / entity_days for rate, n in by_all.items()},
        **{f"{kind}_found": float(np.mean(hits)) for kind, hits in found.items()},
        **{f"{kind}_faults": len(hits) for kind, hits in found.items()},
        **{f"{kind}_culprit_first": float(np.mean(hits)) for kind, hits in blamed.items()},
        "culprit_first": float(np.mean(every)),
        "entity_days": entity_days,
        "accounts": len(ACCOUNTS),
    }


def forest_part() -> dict[str, Any]:
    """Growth and scoring of small forests against scikit-learn, in one run."""
    rng = np.random.default_rng(0)
    X, one = rng.normal(size=(100, 10)), rng.normal(size=(1, 10))
    forest.grow(X, seed=0).score(one)  # compile
    shape = {"n_estimators": forest.TREES, "max_samples": forest.SUBSAMPLE}
    ours = _seconds(lambda: forest.grow(X, seed=1), 200)
    theirs = _seconds(lambda: IsolationForest(**shape, random_state=1).fit(X), 5)
    fitted = IsolationForest(**shape, random_state=1).fit(X)
    same = sklearn_forest.from_sklearn(fitted)
    return {
        "fit_ms": 1e3 * ours,
        "fit_ratio_vs_sklearn": theirs / ours,
        "score_one_day_ratio_vs_sklearn": _seconds(lambda: fitted.score_samples(one), 20)
        / _seconds(lambda: same.score(one), 2000),
        "largest_score_difference": float(np.abs(same.score(X) + fitted.score_samples(X)).max()),
    }


def _seconds(work: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


class Store:
    """A stored account of so many entities in a folder of its own."""

    def __init__(self, folder: Path, entities: int) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'adsml.db'}"
        self.database = Database.open(self.url)
        self.database.migrate()
        account = simulate_account(large(last_day=LAST_DAY, entities=entities, days=120), seed=1)
        write_to_store(account, self.database)

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a command on it."""
        return {
            **os.environ,
            "ADSML_DATABASE_URL": self.url,
            "ADSML_ARTIFACT_URL": str(self.folder / "artifacts"),
            "ADSML_CACHE_DIR": str(self.folder / "cache"),
        }

    def registry(self) -> ModelRegistry:
        """Its registry."""
        return ModelRegistry(
            self.database,
            ArtifactStore(str(self.folder / "artifacts"), cache_dir=self.folder / "train-cache"),
        )

    def models(self) -> int:
        """Versions registered."""
        with self.database.read() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM ml_trained_models")).scalar_one())

    def stock(self) -> int:
        """A model for every entity with history enough; their number.

        One of each level is trained and registered as ever. It is given to the others under their names, each with a
        forest grown from its own days, by rows in bulk: what is measured is loading, and training 10,000 takes long.
        """
        registry = self.registry()
        trainer = DetectorTrainer(self.database, registry, run_id=run_id_of(JOB, "bench"))
        whole = series(MetricStore(self.database).daily(1), 1)
        enough = {ref: days for ref, days in whole.items() if int(days.delivered.sum()) >= DAYS_NEEDED}
        first: dict[EntityType, tuple[EntityRef, ModelVersion, SeriesModel]] = {}
        for item in items_of(self.database, [1]):
            ref = None if item.entity_id is None else EntityRef(1, item.entity_type, item.entity_id)
            if ref is not None and (ref not in enough or ref.entity_type in first):
                continue
            made = trainer(item).model
            if ref is not None:
                first[ref.entity_type] = (ref, made, parse(made, registry.read(made)))
        rows = []
        for number, (ref, days) in enumerate(enough.items()):
            template, made, model = first[ref.entity_type]
            if ref == template:
                continue
            own = model.for_series(days)
            z = innovations(days, own.dynamics).z
            own = replace(own, forest=forest.grow(np.nan_to_num(z[days.delivered]), seed=number))
            bundle = Bundle.of(
                model_type=made.model_type,
                files=to_files(own),
                feature_columns=made.feature_columns,
                library_versions=made.library_versions,
            )
            data = pack(bundle)
            sha256 = hashlib.sha256(data).hexdigest()
            name = entity_model(ref)
            path = self.folder / "artifacts" / name / f"{sha256[:16]}.zip"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            rows.append(
                asdict(made)
                | {
                    "name": name,
                    "entity_type": ref.entity_type.value,
                    "entity_id": ref.entity_id,
                    "sha256": sha256,
                }
                | {
                    "artifact_uri": f"{name}/{path.name}",
                    "size_bytes": len(data),
                    "status": ModelStatus.ACTIVE.value,
                }
                | {"feature_columns": list(made.feature_columns)}
            )
        with self.database.write(bulk=True) as connection:
            connection.execute(ml_trained_models.insert(), rows)
        return len(enough)

    def scan(self, cache: str = "cache") -> tuple[Callable[[], int], Callable[[], None]]:
        """What asks for the last day of every entity, a batch of 1,000 after the other, and what closes it."""
        settings = AnomalySettings(
            ADSML_DATABASE_URL=self.url,
            ADSML_ARTIFACT_URL=str(self.folder / "artifacts"),
            ADSML_CACHE_DIR=self.folder / cache,
        )
        opened = open_service(settings)
        refs = [one.ref for one in EntityStore(self.database).list(1)]
        requests = [
            pb.BatchDetectAnomaliesRequest(
                subjects=[pb.DetectionSubject(entity=entity_ref_message(ref)) for ref in refs[a : a + 1000]],
                options=pb.DetectionOptions(anomalous_only=True),
            )
            for a in range(0, len(refs), 1000)
        ]

        def ask() -> int:
            answers = [opened.service.BatchDetectAnomalies(one, CallContext()) for one in requests]
            return sum(one.HasField("report") for answer in answers for one in answer.results)

        return ask, opened.close


def kill_part() -> dict[str, Any]:
    """A training run of 500 entities, killed three times and started again; then what the registry holds."""
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name), KILLED)
        rng = np.random.default_rng(0)
        adsml = [sys.executable, "-m", "adsml_common.cli"]
        train = [*adsml, "train", "anomaly-detectors", "--config-id", "1", "--request-id", "bench", "--json"]
        begun = time.perf_counter()
        for models in (*KILLS_AT, None):
            process = subprocess.Popen(
                train, env=store.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            while models is not None and store.models() < models and process.poll() is None:
                time.sleep(0.01)
            if models is None:
                _, words = process.communicate()
                if process.returncode != 0:
                    raise RuntimeError(words.decode()[-2000:])
            else:
                time.sleep(float(rng.uniform(0, 0.1)))
                process.kill()
                process.communicate()
        seconds = time.perf_counter() - begun
        verified = subprocess.run(
            [*adsml, "models", "verify", "--json"], env=store.environment, capture_output=True, check=False
        )
        report = json.loads(verified.stdout)["report"]
        runs = TrainingRuns(store.database)
        items = runs.items(run_id_of(JOB, "bench"))
        trained = {(one.model_name, one.model_version) for one in items if one.status is ItemStatus.TRAINED}
        registered = {(one.name, one.version) for one in store.registry().iterate()}
        ask, close = store.scan()
        ask()
        warm = _processor_seconds(ask)
        close()
        return {
            "killed_run_trained": len(trained),
            "killed_run_in_registry_share": len(trained & registered) / len(trained),
            "killed_run_versions": report["checked"],
            "killed_run_missing": len(report["missing"]),
            "killed_run_corrupt": len(report["corrupt"]),
            "killed_run_orphaned": len(report["orphaned"]),
            "killed_run_verify_exit": verified.returncode,
            "killed_run_seconds": seconds,
            "scan_ms_per_entity_own_model": 1e3 * warm / KILLED,
        }


def _processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def scan_part(entities: int = SCANNED) -> dict[str, Any]:
    """The last day of so many stored entities, asked for in batches of 1,000: cold, then with models in memory.

    Cold is a server just started on a machine that has no copy of a model; started again is with the disk cache.
    The operating system has read the files before, and kernels are compiled: neither is what is measured.
    """
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        store = Store(Path(name), entities)
        out: dict[str, Any] = {
            "scan_models": store.stock(),
            "scan_setup_seconds": time.perf_counter() - begun,
        }
        warmup.warm()
        cold, close_cold = store.scan()
        out["scan_entities"] = _timed(cold, "scan_cold", out)
        _timed(cold, "scan_warm", out)
        close_cold()
        again, close_again = store.scan()
        _timed(again, "scan_restarted", out)
        close_again()
        last = ["--first-date", str(LAST_DAY), "--json"]
        command = [sys.executable, "-m", "adsml_common.cli", "anomalies", "--config-id", "1", *last]

        def run() -> int:
            subprocess.run(command, env=store.environment, stdout=subprocess.DEVNULL, check=True)
            return 0

        _timed(run, "scan_command", out)
        return out


def _timed(work: Callable[[], int], name: str, out: dict[str, Any]) -> int:
    """Wall and processor seconds of this process and of those it waits for."""
    wall, before = time.perf_counter(), os.times()
    answered = work()
    after = os.times()
    out[f"{name}_seconds"] = time.perf_counter() - wall
    out[f"{name}_processor_seconds"] = sum(after[:4]) - sum(before[:4])
    return answered


PARTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "nab": nab_part,
    "truth": truth_part,
    "forest": forest_part,
    "kill": kill_part,
    "scan": scan_part,
}


def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--only", choices=[*PARTS, "constants"])
    asked.add_argument("--constants", action="store_true")
    given = asked.parse_args()
    parts = {**PARTS, "constants": constants_part}
    wanted = [given.only] if given.only else [*PARTS, *(["constants"] if given.constants else [])]
    out = ROOT / "benchmarks" / "results" / "anomaly.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    # A part measured alone replaces its own figures; a whole run begins anew, and keeps what it has if it ends early.
    results: dict[str, Any] = json.loads(out.read_text()) if given.only and out.is_file() else {}
    measured = {part: told for part, told in results.pop("measured", {}).items() if part in parts}
    for name in wanted:
        start = time.perf_counter()
        found = parts[name]()
        seconds = time.perf_counter() - start
        for key, value in found.items():
            if isinstance(value, dict):
                for what, scores in value.items():
                    print(f"  {what:28}", *(f"{score:8.2f}" for score in scores.values()), flush=True)
            else:
                print(f"{key:40} {value:.4g}", flush=True)
        print(f"-- {name}: {seconds:.0f} s", flush=True)
        results |= found
        measured[name] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
        }
        out.write_text(json.dumps({**results, "measured": measured}, indent=2) + "\n")


if __name__ == "__main__":
    main()
