"""Draws docs/impact.svg: a simulated change whose effect is known, as `adsml impact --plot` shows it."""

import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.serving.context import CallContext
from adsml_impact.account_data import StoredAccounts
from adsml_impact.plot import draw_svg
from adsml_impact.service import ImpactService
from adsml_simulate import PlannedChange, clean, simulate_account
from adsml_simulate.storing import write_to_store
from google.type import date_pb2

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
    request = pb.AnalyzeImpactRequest(
        panel=pb.Panel(stored=pb.StoredPanel(treated=[entity_pb2.EntityRef(
            config_id=settings.config_id, entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id=name,
        )])),
        change=change_pb2.ChangeEvent(
            date=date_pb2.Date(year=DAY.year, month=DAY.month, day=DAY.day),
            change_type=change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE,
        ),
        options=pb.ImpactOptions(after_days=14, attribution_lag_days=0),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(f"sqlite:///{folder}/adsml.db")
        database.migrate()
        write_to_store(account, database)
        report = ImpactService(StoredAccounts(database)).AnalyzeImpact(request, CallContext()).report
        database.close()
    PICTURE.write_text(draw_svg(report), encoding="utf-8")
    print(f"true effect on cost per lead: {100 * (1 / (1 + LIFT) - 1):+.1f}%")
    print(report.recommendation)
    print(f"drawn into {PICTURE}")


if __name__ == "__main__":
    main()
