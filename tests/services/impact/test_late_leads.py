"""Leads that come in late, as daily syncs bring them: a curve is learned from restated rows and used."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.serving.context import CallContext
from adsml_common.store.metrics import MetricStore
from adsml_impact.account_data import StoredAccounts
from adsml_impact.service import ImpactService
from adsml_simulate import SimulatedAccount, clean, simulate_account
from adsml_simulate.storing import write_to_store
from google.type import date_pb2

LAST = date(2024, 6, 30)
SYNCED_DAYS = 45
LAG = (0.5, 0.15, 0.1, 0.08, 0.07, 0.05, 0.05)
DAY = LAST - timedelta(days=6)


def _account() -> SimulatedAccount:
    settings = replace(
        clean(last_day=LAST),
        campaigns=8,
        adsets=8,
        ads=8,
        daily_budget=2000.0,
        shared_budget_share=0.0,
        lag=LAG,
    )
    return simulate_account(settings, seed=11)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database, list[str]]]:
    """The account as synced day by day up to its last, and as it turned out in the end; its ad sets."""
    folder: Path = tmp_path_factory.mktemp("late")
    account = _account()
    synced, final = (Database.open(f"sqlite:///{folder / name}.db") for name in ("synced", "final"))
    for database in (synced, final):
        database.migrate()
    write_to_store(account, synced, as_of=LAST - timedelta(days=SYNCED_DAYS))
    for age in range(SYNCED_DAYS - 1, -1, -1):
        seen = account.as_of(LAST - timedelta(days=age))
        recent = seen[seen["date"].dt.date >= LAST - timedelta(days=age + 10)]
        MetricStore(synced).upsert_daily(1, recent, source="test")
    write_to_store(account, final)
    yield synced, final, list(account.tree.adset_ids)
    synced.close()
    final.close()


def _report(database: Database, adset: str) -> pb.ImpactReport:
    service = ImpactService(
        StoredAccounts(database, today=lambda: LAST + timedelta(days=1)), attribution_lag_days=0
    )
    treated = entity_pb2.EntityRef(config_id=1, entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id=adset)
    request = pb.AnalyzeImpactRequest(
        panel=pb.Panel(stored=pb.StoredPanel(treated=[treated])),
        change=change_pb2.ChangeEvent(
            date=date_pb2.Date(year=DAY.year, month=DAY.month, day=DAY.day),
            change_type=change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE,
        ),
        options=pb.ImpactOptions(metrics=[metrics_pb2.METRIC_CPL], omit_series=True),
    )
    return service.AnalyzeImpact(request, CallContext()).report


def test_placebo_changes_show_no_effect_of_the_lag(accounts: tuple[Database, Database, list[str]]) -> None:
    """Each is compared with what it shows once all leads are in, so that only the lag is left."""
    synced, final, adsets = accounts
    by_lag, after = [], []
    for adset in adsets:
        late, whole = _report(synced, adset), _report(final, adset)
        by_lag.append(np.log1p(late.effects[0].relative) - np.log1p(whole.effects[0].relative))
        after.append(np.log(late.effects[0].after / whole.effects[0].after))
        warnings = [one for one in late.warnings if one.type == warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS]
        assert "of its leads so far" in warnings[0].message
    assert np.mean(by_lag) == pytest.approx(0, abs=0.015)
    # The level itself is right, too, not only what is left after a comparison of one lag with another.
    assert np.mean(after) == pytest.approx(0, abs=0.03)
