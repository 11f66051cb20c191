"""The parts that need no model say what the rows say."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_report.account import data_quality, data_state, overview
from adsml_report.content import Figures, PerCampaign, Table
from adsml_report.context import ReportContext, open_context
from adsml_report.models import models

LAST = date(2026, 6, 30)


def rows(days: list[int], spend: float, leads: float) -> pd.DataFrame:
    """Rows of one campaign on days counted back from the last one."""
    return pd.DataFrame(
        {
            "entity_type": "campaign",
            "entity_id": "1",
            "date": pd.to_datetime([LAST - timedelta(days=day) for day in days]),
            "spend": spend,
            "impressions": 1000.0,
            "clicks": 50.0,
            "leads": leads,
        }
    )


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ReportContext:
    """Two weeks: 100 a day for 10 leads, before that 50 for 10; two days are missing."""
    EntityStore(database).upsert([Entity(EntityRef(1, EntityType.CAMPAIGN, "1"), name="Webinar")])
    frame = pd.concat([rows(list(range(7)), 100.0, 10.0), rows([7, 8, 9, 12, 13], 50.0, 10.0)])
    MetricStore(database).upsert_daily(1, frame, source="test")
    registry = ModelRegistry(database, ArtifactStore(str(tmp_path), cache_dir=tmp_path / "cache"))
    return open_context(database, registry, config_id=1, days=30, most=5, today=LAST + timedelta(days=1))


def test_the_week_is_compared_by_ratios_of_sums(context: ReportContext) -> None:
    [scoped] = overview(context).blocks
    assert isinstance(scoped, PerCampaign)
    assert scoped.campaigns == {"1": scoped.account}, "the account is its only campaign"
    tiles = scoped.account[0]
    assert isinstance(tiles, Figures)
    told = {one.name: (one.value, one.note) for one in tiles.figures}
    assert told["Spend"] == ("700", "+180% on the 7 days before")  # 7 * 100 against 5 * 50
    assert told["Leads"] == ("70", "+40% on the 7 days before")
    assert told["Cost per lead"] == ("10.00", "+100% on the 7 days before")
    assert told["Click-through rate"][0] == "5.00%"


def test_days_missing_inside_a_series_are_named(context: ReportContext) -> None:
    [table] = [one for one in data_quality(context) if isinstance(one, Table)]
    [gap] = table.rows
    assert gap.cells == ("Webinar", "campaign", "2", "19 Jun, 20 Jun")
    assert gap.campaign == "1"


def test_the_state_of_the_data_says_what_is_missing(context: ReportContext) -> None:
    state = data_state(context)
    assert not state.old
    assert state.sentences == ("Data up to Tue 30 Jun 2026.", "Days without any row: 19 Jun, 20 Jun.")


def test_data_of_last_month_are_not_todays(context: ReportContext) -> None:
    state = data_state(replace(context, today=LAST + timedelta(days=40)))
    assert state.old
    assert "40 days ago" in state.sentences[0]


def test_a_failed_sync_is_said(context: ReportContext) -> None:
    failed = replace(context.account, sync_error="the token has expired")
    state = data_state(replace(context, account=failed))
    assert state.old
    assert "The last sync failed: the token has expired." in state.sentences


def test_without_a_model_the_section_says_how_to_get_one(context: ReportContext) -> None:
    assert "adsml train" in str(models(context))


def test_an_entity_of_an_unknown_parent_has_no_campaign(context: ReportContext) -> None:
    assert context.tree.campaign(EntityRef(1, EntityType.AD, "none")) is None
