"""Rows as they were loaded night by night alarm as complete ones do, from the store to the answer."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_anomaly.server import open_service
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, day_message
from adsml_common.store.metrics import MetricStore
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store

from .conftest import LAST_DAY, train

WINDOW, NIGHTS, LEARNED = 8, 50, 10
LAG = (0.4, 0.2, 0.15, 0.1, 0.08, 0.07)
"""Four of ten leads are known on the day of their click, all of them five days later."""


class Loads:
    """An account that is loaded night by night, each time with the last days as they are known by then."""

    def __init__(self, folder: Path, account: SimulatedAccount, *, complete: bool) -> None:
        self.account, self.complete = account, complete
        self.url = f"sqlite:///{folder / 'adsml.db'}"
        self.database = Database.open(self.url)
        first = LAST_DAY - timedelta(days=NIGHTS)
        write_to_store(account, self.database, as_of=None if complete else first)
        for step in range(1, NIGHTS - LEARNED + 1):
            self.load(first + timedelta(days=step))
        artifacts = ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "trainer")
        assert train(self.database, ModelRegistry(self.database, artifacts), "first").exit_status == 0
        self.opened = open_service(
            AnomalySettings(
                database_url=self.url, artifact_url=str(folder / "artifacts"), cache_dir=folder / "cache"
            )
        )

    def load(self, day: date, *, without_leads: str = "") -> None:
        if self.complete and not without_leads:
            return
        frame = self.account.daily if self.complete else self.account.as_of(day)
        rows = frame[
            (frame["date"] > pd.Timestamp(day - timedelta(days=WINDOW))) & (frame["date"] <= str(day))
        ].copy()
        broken = (rows["entity_id"] == without_leads) & (rows["date"] == str(day))
        rows.loc[broken, "leads"] = 0.0
        MetricStore(self.database).upsert_daily(1, rows, source="night")

    def alarms(self, as_of: date, **options: object) -> list[tuple[str, date, str]]:
        """Entity, day and metric of the alarms of the last three days as of a day."""
        asked = pb.DetectionOptions(**options)
        asked.first_date.CopyFrom(day_message(as_of - timedelta(days=2)))
        asked.as_of_date.CopyFrom(day_message(as_of))
        request = pb.DetectAccountAnomaliesRequest(config_id=1, options=asked, include_reports=True)
        answer = self.opened.service.DetectAccountAnomalies(request, CallContext())
        return [
            (
                report.entity.entity_id,
                date(one.date.year, one.date.month, one.date.day),
                METRIC.find(one.main_metric),
            )
            for report in answer.reports
            for one in report.days
            if one.anomalous
        ]


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[tuple[Loads, Loads]]:
    settings = AccountSettings(
        last_day=LAST_DAY, days=120, config_id=1, name="young", campaigns=2, adsets=4, ads=6, daily_budget=300.0,
        late_start_share=0.0, early_end_share=0.0, lag=LAG,
    )  # fmt: skip
    account = simulate_account(settings, seed=8)
    both = []
    for complete in (True, False):
        folder = tmp_path_factory.mktemp("complete" if complete else "young")
        shutil.copy(sqlite_template, folder / "adsml.db")
        both.append(Loads(folder, account, complete=complete))
    yield both[0], both[1]
    for one in both:
        one.opened.close()
        one.database.close()


def test_nights_of_rows_as_loaded_raise_no_more_alarms_than_complete_ones(loads: tuple[Loads, Loads]) -> None:
    complete, young = loads
    raised = {"complete": 0, "young": 0, "as if complete": 0}
    for step in reversed(range(LEARNED)):
        day = LAST_DAY - timedelta(days=step)
        young.load(day)
        raised["complete"] += len(complete.alarms(day))
        raised["young"] += len(young.alarms(day))
        raised["as if complete"] += len(young.alarms(day, attribution_lag_days=0))
    # 360 entity-days at which 12 false alarms are asked for; 1, 7 and 60 came (2026-11-29).
    assert abs(raised["young"] - raised["complete"]) <= 8, raised
    assert raised["as if complete"] > 3 * max(raised["young"], raised["complete"]), raised


def test_a_fault_on_the_last_day_alarms_in_both(loads: tuple[Loads, Loads]) -> None:
    frame = loads[0].account.daily
    campaign = frame[frame["entity_type"] == "campaign"].groupby("entity_id")["leads"].sum().idxmax()
    for one in loads:
        one.load(LAST_DAY, without_leads=campaign)
        named = [
            metric for entity, day, metric in one.alarms(LAST_DAY) if (entity, day) == (campaign, LAST_DAY)
        ]
        assert named, one.complete
        assert str(named[0]) in {"leads", "cpl", "conversion_rate"}
