"""The classifier against persistence and the rule, out of time: on real ads data and on simulated accounts.

`make bench-classifier` prints a table and writes benchmarks/results/classifier.json.
"""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from adsml_classifier.candidate import Recipe, learn
from adsml_classifier.evaluating import evaluate_files, report_of
from adsml_classifier.panel import Panel
from adsml_common.cli.output import table
from adsml_common.simulate import presets, simulate_account

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("ADSML_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = SHARED / "ads" / "display_2020_apr_may.csv"
SEEDS = (1, 2, 3, 4, 5)
LAST_DAY = date(2026, 3, 31)


def simulated(seed: int) -> dict[str, Any]:
    """The report on one simulated account."""
    account = simulate_account(presets.demo(last_day=LAST_DAY), seed=seed)
    entities = pd.DataFrame(
        [
            {
                "entity_type": one.ref.entity_type.value,
                "entity_id": one.ref.entity_id,
                "parent_id": one.parent_id,
            }
            for one in account.entities
        ]
    )
    panel = Panel.of(account.daily, entities=entities)
    return report_of(learn(panel, Recipe(), what=f"simulated account, seed {seed}", final=False))


def main() -> None:
    """Measure, print, write."""
    reports = {f"simulated, seed {seed}": simulated(seed) for seed in SEEDS}
    if REAL.exists():
        reports["real ads data"] = evaluate_files(REAL, attribution_lag_days=0, holdout_days=14)
    else:
        print(f"{REAL} is absent: real ads data not measured")
    rows = [
        (
            name,
            one["samples_test"],
            *(f"{part['weighted_f1']:.3f}" for part in (one, one["persistence"], one["rule"])),
            *(f"{part['macro_f1']:.3f}" for part in (one, one["persistence"], one["rule"])),
            f"{one['ece']:.3f}",
        )
        for name, one in reports.items()
    ]
    names = (
        "data",
        "samples",
        "weighted F1",
        "persistence",
        "rule",
        "macro F1",
        "persistence ",
        "rule ",
        "ECE",
    )
    table("The tier of the next 7 days, out of time", names, rows, right=names[1:])
    out = ROOT / "benchmarks" / "results" / "classifier.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    main()
