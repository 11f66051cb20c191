"""The classifier: out-of-time figures beside its baselines, transfer, speed and scale.

Writes benchmarks/results/classifier.json and prints tables. Data: ``../shared/data`` (or ADSML_SHARED_DATA) and
simulated accounts; what is absent is left out and named. `docs/classifier.md` says what the figures mean.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from adsml_classifier.evaluation.report import evaluate_files, plot_of
from adsml_classifier.models import features, rule, scores, transfer, worth
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.snapshot import AccountSnapshot, by_model
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training import assessment, fitting, gate, sampling
from adsml_classifier.training.candidate import learn
from adsml_classifier.training.recipe import FitSettings, Recipe, SampleSettings
from adsml_classifier.training.sampling import Samples
from adsml_common.database import Database
from adsml_simulate import (
    AccountSettings,
    RandomChanges,
    SimulatedAccount,
    demo,
    large,
    simulate_account,
    small_accounts,
)
from adsml_simulate.storing import write_to_store

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("ADSML_SHARED_DATA", ROOT / ".." / "shared" / "data"))
REAL = SHARED / "ads" / "display_2020_apr_may.csv"
RESULTS = ROOT / "benchmarks" / "results"
LAST_DAY = date(2026, 3, 31)
PARTS = ("real", "settled", "lively", "transfer", "late", "speed", "scale", "many")
RECIPE = Recipe(fit=FitSettings(threads=2))


def panel_of(account: SimulatedAccount) -> Panel:
    """The panel of a simulated account."""
    rows = [(one.ref.entity_type.value, one.ref.entity_id, one.parent_id) for one in account.entities]
    tree = pd.DataFrame(rows, columns=["entity_type", "entity_id", "parent_id"])
    return Panel.of(account.daily, entities=tree)


def settled(seed: int) -> SimulatedAccount:
    """An account whose ads differ much and change slowly: what they will do can be known.

    The demo's ads lie close together around the account's CPL and wander; there even who knew their true rates
    of today would be wrong about a third of the weeks (the ceiling in the table).
    """
    settings = AccountSettings(
        last_day=LAST_DAY,
        days=120,
        campaigns=6,
        adsets=24,
        ads=72,
        conversion_rate_sd=0.9,
        drift_sd=0.08,
        conversion_noise_sd=0.1,
        daily_budget=150.0,
        random_changes=RandomChanges(count=5),
    )
    return simulate_account(settings, seed=seed)


def lively(seed: int) -> SimulatedAccount:
    """The demo account with another seed."""
    return simulate_account(demo(last_day=LAST_DAY), seed=seed)


def known_to_an_oracle(account: SimulatedAccount, panel: Panel, holdout: Samples) -> scores.F1:
    """F1 of who knows every entity's true expected leads of the week to come, but not its luck."""
    truth = account.truth.entities
    expected = Panel.of(account.daily.assign(leads=truth["expected_leads"].to_numpy()))
    days = np.unique(holdout.day)
    week = rule.week(expected, days, back=-rule.DAYS)
    week = replace(week, lead_days=np.minimum(week.leads, rule.DAYS))
    tiers = rule.earned(week)[holdout.entity, np.searchsorted(days, holdout.day)]
    return scores.f1(holdout.label, tiers)


def accounts(kind: Callable[[int], SimulatedAccount], seeds: range) -> dict[str, Any]:
    """Figures of simulated accounts, one by one and pooled; money at the entities' true rates."""
    rows, parts, weeks, ceilings = [], [], [], []
    for seed in seeds:
        account = kind(seed)
        panel = panel_of(account)
        learned = learn(panel, RECIPE, what=f"seed {seed}", final=False)
        answers = learned.answers
        week = true_week(account, answers.samples)
        found = assessment.assess(answers, panel, week=week)
        ceiling = known_to_an_oracle(account, panel, answers.samples)
        decision = gate.decide(learned.assessment, None, mode=RECIPE.sampling.mode)
        rows.append(
            {
                "seed": seed,
                **figures(found),
                "ceiling": both(ceiling),
                "gate": decision.passed,
                "why": decision.reason,
            }
        )
        parts.append(answers)
        weeks.append(week)
        ceilings.append(ceiling)
    together = parts[0].join(parts[1:])
    return {
        **figures(assessment.assess(together, panel, week=joined(weeks))),
        "ceiling": {
            "weighted_f1": float(np.mean([one.weighted for one in ceilings])),
            "macro_f1": float(np.mean([one.macro for one in ceilings])),
        },
        "accounts_with_more_leads_than_persistence": sum(
            row["worth"]["model"]["leads_gained_share"] > row["worth"]["persistence"]["leads_gained_share"]
            for row in rows
        ),
        "accounts": rows,
    }


def joined(weeks: list[worth.NextWeek]) -> worth.NextWeek:
    """The weeks of several accounts, between which no budget moves."""
    sizes = [int(week.group.max(initial=-1)) + 1 for week in weeks]
    starts = np.cumsum([0, *sizes])
    return worth.NextWeek(
        np.concatenate([week.spend for week in weeks]),
        np.concatenate([week.leads for week in weeks]),
        np.concatenate([week.group + start for week, start in zip(weeks, starts, strict=False)]),
    )


def true_week(account: SimulatedAccount, samples: Samples) -> worth.NextWeek:
    """What came after each sample, with the leads to be expected in place of the realised ones."""
    expected = account.truth.entities["expected_leads"].to_numpy()
    panel = Panel.of(account.daily.assign(leads=expected))
    days, place = np.unique(samples.day, return_inverse=True)
    leads = panel.running["leads"].last(rule.DAYS, days, back=-rule.DAYS)[samples.entity, place]
    return assessment.next_week(samples, leads=leads)


def figures(found: assessment.Assessment) -> dict[str, Any]:
    """The few that the bars are about."""
    return {
        "worth": {name: asdict(one) for name, one in found.worth.items()},
        "weighted_f1": found.model.weighted_f1,
        "macro_f1": found.model.macro_f1,
        "ece": found.model.ece,
        "rps": found.model.rps,
        "rps_skill": found.rps_skill,
        "rps_skill_over_odds": 1 - found.model.rps / found.transitions.rps,
        "log_loss": found.model.log_loss,
        "log_loss_odds": found.transitions.log_loss,
        "persistence": both(found.persistence),
        "rule": both(found.rule),
        "samples_test": found.model.samples,
    }


def both(value: scores.F1 | scores.Scores) -> dict[str, float]:
    """Weighted and macro F1."""
    if isinstance(value, scores.Scores):
        return {"weighted_f1": value.weighted_f1, "macro_f1": value.macro_f1}
    return {"weighted_f1": value.weighted, "macro_f1": value.macro}


def transfers(seeds: range) -> dict[str, Any]:
    """New ad sets and ads in their first two weeks, held out entirely, by who answers for them."""
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in seeds:
        settings = AccountSettings(
            last_day=LAST_DAY, days=110, campaigns=14, adsets=40, ads=90, conversion_rate_sd=0.9, drift_sd=0.08,
            conversion_noise_sd=0.1, daily_budget=150.0, late_start_share=0.6,
        )  # fmt: skip
        panel = panel_of(simulate_account(settings, seed=seed))
        samples = sampling.build(panel, SampleSettings())
        cutoff = sampling.known_days(samples)[1] - 41
        first = np.argmax(panel.spend > 0, axis=1)
        new = (first > cutoff - 14)[samples.entity] & (samples.level > 0)
        young = samples.day - first[samples.entity] < 14
        asked = samples.where(new & young & (samples.day >= cutoff))
        before = sampling.split(samples.where(~new), cutoff=cutoff).train
        campaigns = fitting.fit(before.where(before.level == 0), RECIPE.fit).model
        everyone = fitting.fit(before, RECIPE.fit).model
        # A model trained three weeks later, on these entities' own first weeks too.
        later = fitting.fit(sampling.split(samples, cutoff=cutoff + 28).train, RECIPE.fit).model
        still = asked.day >= cutoff + 28
        levels = transfer.statistics(before.x, before.level)
        rescaled = np.empty((len(asked), 4))
        for code, level in ((1, "adset"), (2, "ad")):
            mask = asked.level == code
            rescaled[mask] = transfer.LevelTransfer(
                campaigns, levels[level], levels["campaign"]
            ).probabilities(asked.x[mask])
        answers = {
            "campaigns, features as they are": campaigns.probabilities(asked.x),
            "campaigns, rescaled by level": rescaled,
            "all levels": everyone.probabilities(asked.x),
        }
        for name, probabilities in answers.items():
            parts.setdefault(name, []).append((probabilities, asked.label))
        for name, tiers in (("rule on their few days", asked.rule), ("persistence", asked.persistence)):
            parts.setdefault(name, []).append((np.eye(4)[tiers], asked.label))
        if still.any():
            part = asked.where(still)
            parts.setdefault("later: campaigns, rescaled", []).append((rescaled[still], part.label))
            parts.setdefault("later: a model that saw them", []).append(
                (later.probabilities(part.x), part.label)
            )
    out = {}
    for name, found in parts.items():
        probabilities, label = (np.concatenate(column) for column in zip(*found, strict=True))
        judged = scores.of_probabilities(label, probabilities)
        right = probabilities.argmax(axis=1) == label
        discounted = scores.expected_calibration_error(
            right, transfer.CONFIDENCE_FACTOR * probabilities.max(axis=1)
        )
        out[name] = {**asdict(judged), "ece_discounted": discounted}
    return out


def late(seeds: range) -> dict[str, Any]:
    """Rows as they were on 14 mornings, some leads not in yet, against complete rows, by days left out at the end."""
    calls: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for seed in seeds:
        settings = AccountSettings(last_day=LAST_DAY, days=120, config_id=1)
        account = simulate_account(settings, seed=seed)
        complete = panel_of(account)
        mornings = [LAST_DAY - timedelta(days=7 + back) for back in range(0, 28, 2)]
        before = account.daily[account.daily["date"].dt.date <= mornings[-1]]
        tree = pd.DataFrame(
            [(one.ref.entity_type.value, one.ref.entity_id, one.parent_id) for one in account.entities],
            columns=["entity_type", "entity_id", "parent_id"],
        )
        model = learn(Panel.of(before, entities=tree), RECIPE, what=f"seed {seed}").model
        for morning, lag in ((morning, lag) for morning in mornings for lag in (0, 3)):
            day = morning - timedelta(days=lag)
            seen = AccountSnapshot.of(Panel.of(account.as_of(morning), entities=tree), day)
            after = AccountSnapshot.of(complete, day)
            come = rule.week(complete, np.array([complete.column(morning)]), back=-rule.DAYS)
            known = (come.material & (come.spend > 0))[:, 0]
            keys = [
                key
                for key, row in seen.rows.items()
                if seen.delivered[row] and after.delivered[after.rows[key]] and known[after.rows[key]]
            ]
            rows, places = ([one.rows[key] for key in keys] for one in (seen, after))
            truth = rule.earned(come)[places, 0]
            for name, young, old in (
                ("model", *(model.probabilities(x).argmax(axis=1) for x in (seen.x[rows], after.x[places]))),
                ("last week's tier", seen.persistence[rows], after.persistence[places]),
            ):
                calls.setdefault((name, lag), []).append((young, old, truth))
    out = {}
    for (name, lag), parts in calls.items():
        young, old, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
        out[f"{name}, {lag} days left out"] = {
            "alike": float((young == old).mean()),
            "weighted_f1": scores.f1(truth, young).weighted,
            "weighted_f1_of_complete_rows": scores.f1(truth, old).weighted,
            "samples": len(truth),
        }
    return out


def speed() -> dict[str, Any]:
    """Features of a large account, and answers one by one and a thousand at once."""
    account = simulate_account(large(last_day=LAST_DAY), seed=1)
    panel = panel_of(account)
    _ = panel.account
    days = np.arange(len(panel.days))
    feature_seconds = best_of(3, lambda: features.compute(panel, days))
    samples = sampling.build(panel, SampleSettings(most=50_000))
    fitted = fitting.fit(samples, replace(RECIPE.fit, folds=1))
    fitted.model.booster.set_param({"nthread": 1})
    return {
        "features_entities": len(panel),
        "features_days": len(days),
        "features_seconds": feature_seconds,
        "rounds": fitted.rounds,
        **inference(fitted.model, samples.x),
        **answers_per_second(panel, fitted.model),
    }


def inference(model: TierModel, x: np.ndarray) -> dict[str, float]:
    """Microseconds a row: the booster alone, with calibration, and with contributions."""
    out = {}
    for rows in (1, 1000):
        part = np.ascontiguousarray(x[:rows])
        times = 2000 // rows + 20
        for name, call in (
            ("booster", lambda part=part: model.booster.inplace_predict(part, predict_type="margin")),
            ("probabilities", lambda part=part: model.probabilities(part)),
            ("contributions", lambda part=part: model.contributions(part)),
        ):
            out[f"microseconds_{name}_of_{rows}"] = 1e6 * best_of(3, call, times=times) / rows
    return out


def answers_per_second(panel: Panel, model: TierModel) -> dict[str, float]:
    """Tiers with reasons from an account in memory, and without any."""
    snapshot = AccountSnapshot.of(panel, panel.day(len(panel.days) - 1))
    out = {}
    for count in (1, 1000):
        rows = np.flatnonzero(snapshot.delivered)[:count]
        for most in (3, 0):

            def ask(rows: np.ndarray = rows, most: int = most) -> None:
                by_model(model, snapshot, rows, contributions=False, most_reasons=most)

            seconds = best_of(3, ask, times=20 if count == 1 else 2)
            out[f"answers_per_second_of_{count}_{'with' if most else 'without'}_reasons"] = count / seconds
    return out


def best_of(tries: int, call: Callable[[], object], *, times: int = 1) -> float:
    """Seconds of one call, in the best of some tries: the others were disturbed."""
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        for _ in range(times):
            call()
        found.append((time.perf_counter() - start) / times)
    return min(found)


def scale() -> dict[str, Any]:
    """A training of 10,000 entities from their daily rows to the model that would serve."""
    account = simulate_account(large(last_day=LAST_DAY), seed=1)
    start = time.perf_counter()
    panel = panel_of(account)
    learned = learn(panel, RECIPE, what="large")
    return {
        "entities": len(panel),
        "days": len(panel.days),
        "samples": len(learned.samples),
        "seconds": time.perf_counter() - start,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **figures(learned.assessment),
    }


def many(count: int) -> dict[str, Any]:
    """Small accounts by one command: whether memory or the number of open files grows with them."""
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/adsml.db"
        database = Database.open(url)
        database.migrate()
        for account in small_accounts(count, last_day=LAST_DAY, seed=7, days=60):
            write_to_store(account, database)
        database.close()
        settings = {"ADSML_DATABASE_URL": url, "ADSML_ARTIFACT_URL": f"{scratch}/artifacts"}
        start = time.perf_counter()
        ran = subprocess.Popen(
            [sys.executable, "-m", "adsml_common.cli", "train", "classifiers", "--config-id", "all"],
            env=os.environ | settings,
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen: list[tuple[float, int]] = []
        while ran.poll() is None:
            seen.append(tree_of(ran.pid))
            time.sleep(0.5)  # how often it is looked at
        half = len(seen) // 2
        return {
            "accounts": count,
            "exit_status": ran.returncode,
            "seconds": time.perf_counter() - start,
            "memory_mb_at_half": float(np.median([mb for mb, _ in seen[half - 5 : half + 5]])),
            "memory_mb_at_end": float(np.median([mb for mb, _ in seen[-15:-5]])),
            "open_files_at_half": max(files for _, files in seen[half - 5 : half + 5]),
            "open_files_at_end": max(files for _, files in seen[-15:-5]),
        }


def tree_of(pid: int) -> tuple[float, int]:
    """Resident megabytes and open files of a process and all below it."""
    memory, files = 0.0, 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            memory += (
                int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            )
            files += sum(1 for _ in Path(f"/proc/{one}/fd").iterdir())
    return memory, files


def descendants(pid: int) -> Iterator[int]:
    """Processes below one."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


def show(title: str, rows: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """A table of figures."""
    print(f"\n{title}\n{'':42}{'weighted F1':>12}{'macro F1':>10}{'ECE':>8}{'samples':>9}")
    for name, found in rows:
        ece = f"{found['ece']:.3f}" if "ece" in found else ""
        count = found.get("samples_test", found.get("samples", ""))
        print(f"{name:42}{found['weighted_f1']:12.3f}{found['macro_f1']:10.3f}{ece:>8}{count:>9}")


def show_worth(title: str, found: dict[str, Any]) -> None:
    """Money that follows the calls."""
    print(
        f"{title}: RPS skill {found['rps_skill']:.3f}\n{'':42}{'CPL high':>10}{'CPL low':>10}{'leads gained':>14}"
    )
    for name in ("model", "persistence", "rule"):
        one = found["worth"][name]
        high, low = (one[side] or float("nan") for side in ("high_cpl", "low_cpl"))
        print(f"{name:42}{high:10.2f}{low:10.2f}{one['leads_gained_share']:14.1%}")


def with_baselines(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A model's row, and those of what it is held against."""
    yield "model", found
    for name in ("persistence", "rule", "ceiling"):
        if name in found:
            yield name, found[name]


def real(out: dict[str, Any]) -> None:
    """The real account, week by week, and its calibration plot."""
    if not REAL.exists():
        print(f"left out: {REAL} is not here")
        return
    out["real"] = evaluate_files(REAL, attribution_lag_days=0, weeks=RECIPE.weeks)
    show("Real ads (../shared/data/ads), the last four weeks", with_baselines(out["real"]))
    show_worth("the same in money", out["real"])
    for week in out["real"]["by_origin"]:
        show(f"  as of {' to '.join(week['as_of'])}", with_baselines(week))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "classifier_calibration.svg").write_text(plot_of(out["real"]))


def write(out: dict[str, Any], start: float) -> None:
    """Keep what has been measured so far: a part takes minutes, and a run may be cut short."""
    out["seconds"] = time.perf_counter() - start
    out["date"] = datetime.now(UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "classifier.json").write_text(json.dumps(out, indent=1, default=float) + "\n")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=int, default=6, help="simulated accounts of each kind")
    parser.add_argument("--many", type=int, default=200, help="small accounts trained by one command")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="other figures stay as they are")
    args = parser.parse_args()
    start = time.perf_counter()
    kept = RESULTS / "classifier.json"
    out: dict[str, Any] = json.loads(kept.read_text()) if args.only and kept.exists() else {}
    wanted = set(args.only or PARTS)
    if "real" in wanted:
        real(out)
        write(out, start)
    for name, kind in (("settled", settled), ("lively", lively)):
        if name not in wanted:
            continue
        out[f"simulated_{name}"] = accounts(kind, range(100, 100 + args.accounts))
        show(f"Simulated {name} accounts, {args.accounts} pooled", with_baselines(out[f"simulated_{name}"]))
        show_worth("the same in money", out[f"simulated_{name}"])
        for row in out[f"simulated_{name}"]["accounts"]:
            show_worth(f"seed {row['seed']} (gate {'open' if row['gate'] else 'shut'})", row)
        write(out, start)
    if "transfer" in wanted:
        out["transfer"] = transfers(range(200, 200 + max(args.accounts // 2, 1)))
        show("New ad sets and ads in their first two weeks", iter(out["transfer"].items()))
        write(out, start)
    if "late" in wanted:
        out["late"] = late(range(300, 306))
        for name, one in out["late"].items():
            print(f"{name:40}" + "".join(f"  {figure} {value:.3f}" for figure, value in one.items()))
        write(out, start)
    for name, measure in (("speed", speed), ("scale", scale), ("many", partial(many, args.many))):
        if name in wanted:
            out[name] = measure()
            write(out, start)
            for figure, value in out[name].items():
                if isinstance(value, float | int):
                    print(f"{name + ' ' + figure:60}{value:14.4g}")
    print(f"\nwritten to {RESULTS / 'classifier.json'} after {out['seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
