"""A holiday of the country that the account's time zone names is unlike other days, as in forecasting."""

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_anomaly.server import open_service
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.serving.context import CallContext
from adsml_common.store.accounts import Account, bind_account
from adsml_common.store.tables import daily_metrics
from adsml_simulate import AccountSettings, simulate_account
from adsml_simulate.storing import write_to_store
from support.databases import migrated

FIRST_OF_MAY = date(2026, 5, 1)


@pytest.mark.parametrize(
    ("time_zone", "reason"),
    [("Europe/Berlin", "Labor Day"), ("America/New_York", ""), ("UTC", ""), (None, "")],
)
def test_the_first_of_may(time_zone: str | None, reason: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'adsml.db'}"
    migrated(url)
    account = simulate_account(
        AccountSettings(
            last_day=FIRST_OF_MAY, days=60, config_id=1, name="may", campaigns=1, adsets=2, ads=2
        ),
        seed=3,
    )
    database = Database.open(url)
    write_to_store(account, database)
    with database.write() as connection:
        bind_account(connection, 1, Account(time_zone=time_zone))
        connection.execute(
            sa.update(daily_metrics)
            .where(daily_metrics.c.date == FIRST_OF_MAY)
            .values(spend=daily_metrics.c.spend * 2.5)
        )
    database.close()
    settings = AnomalySettings(
        ADSML_DATABASE_URL=url, ADSML_ARTIFACT_URL=str(tmp_path), ADSML_CACHE_DIR=tmp_path / "cache"
    )
    adset = next(one.ref for one in account.entities if one.ref.entity_type is EntityType.ADSET)
    entity = {"config_id": 1, "entity_type": "ENTITY_TYPE_ADSET", "entity_id": adset.entity_id}
    opened = open_service(settings)
    request = pb.DetectAnomaliesRequest(subject={"entity": entity})
    [found] = opened.service.DetectAnomalies(request, CallContext("/DetectAnomalies")).report.days
    opened.close()
    assert found.anomalous == (not reason)
    assert found.excluded == bool(reason)
    assert reason in found.exclusion_reason
