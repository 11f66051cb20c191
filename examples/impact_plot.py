"""Draws docs/impact.svg: a simulated change whose effect is known, as `adsml impact --plot` shows it."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_impact.analysis.controls import Relation
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.single import analyse
from adsml_impact.plot import draw_svg, save
from adsml_simulate import PlannedChange, clean, simulate_account

SEED = 3
LAST_DAY = date(2024, 6, 30)
DAY = LAST_DAY - timedelta(days=13)
LIFT = 0.6
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "impact.svg"


def main() -> None:
    """Simulate, analyse, draw, and say what the truth was."""
    settings = replace(clean(last_day=LAST_DAY), campaigns=8, adsets=24, ads=24, daily_budget=1500.0)
    name = simulate_account(settings, seed=SEED).tree.adset_ids[0]
    change = PlannedChange(
        entity_type=EntityType.ADSET, entity_id=name, change_type=ChangeType.AUDIENCE_CHANGE, date=DAY,
        conversion_rate_lift=LIFT, restarts_learning=False,
    )  # fmt: skip
    account = simulate_account(replace(settings, changes=(change,)), seed=SEED)
    data = AccountData(
        rows=account.daily[account.daily["entity_type"] == "adset"],
        tree={
            (one.ref.entity_type, one.ref.entity_id): Relation(one.parent_id, one.shares_budget)
            for one in account.entities
        },
        events=account.changes,
    )
    question = ImpactQuery(
        treated=(name,), entity_type=EntityType.ADSET, change_type=ChangeType.AUDIENCE_CHANGE, day=DAY,
        options=Options(after_days=14),
    )  # fmt: skip
    report = analyse(question, data)
    save(draw_svg(report), PICTURE)
    print(f"true effect on cost per lead: {100 * (1 / (1 + LIFT) - 1):+.1f}%")
    print(f"{report.verdict}: {report.recommendation}")
    print(f"drawn into {PICTURE}")


if __name__ == "__main__":
    main()
