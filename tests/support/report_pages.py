"""Report pages of any size, made of plain data: no model is asked."""

import math
from datetime import UTC, date, datetime, timedelta
from unittest.mock import sentinel

import numpy as np
import pandas as pd
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.store.accounts import Account, AccountStatus
from adsml_report.account import DataState
from adsml_report.content import (
    Band,
    Chart,
    Chip,
    Detailed,
    Entry,
    Figure,
    Figures,
    Finding,
    Line,
    Look,
    Mark,
    Moment,
    Note,
    PerCampaign,
    Reliability,
    Row,
    Section,
    Table,
    Tone,
)  # fmt: skip
from adsml_report.context import AccountTree, ReportContext
from adsml_report.page import render

LAST = date(2026, 8, 31)
NAME = "Northwind"
DAYS = 90
HOSTILE = "<script>alert('owned')</script> \"&' ]]> --> </details>"
"""A name that would break out of text, attribute, comment and element."""


def context(entities: list[Entity]) -> ReportContext:
    """A context whose pages need only the tree."""
    return ReportContext(
        config_id=1,
        account=AccountStatus(
            1, Account(account_name=NAME, currency_code="EUR"), None, LAST, None, None, None, None
        ),
        tree=AccountTree(entities),
        daily=pd.DataFrame(),
        first_day=LAST - timedelta(days=DAYS - 1),
        last_day=LAST,
        today=LAST + timedelta(days=1),
        most=1000,
        database=sentinel.database,
        registry=sentinel.registry,
        progress=lambda _: None,
    )


def chart(title: str, seed: int = 0) -> Chart:
    """A series with gaps, a forecast with members and interval, an alarm and a change."""
    rng = np.random.default_rng(seed)
    past: list[float | None] = [round(20 + 5 * math.sin(day) + rng.normal(), 2) for day in range(DAYS - 7)]
    past[10] = None
    ahead: list[float | None] = [None] * (DAYS - 7) + [20.0] * 7
    low: list[float | None] = [None if one is None else one - 5 for one in ahead]
    high: list[float | None] = [None if one is None else one + 5 for one in ahead]
    begins = LAST - timedelta(days=6)
    return Chart(
        title, "leads per day", LAST - timedelta(days=DAYS - 1),
        (
            Line("leads", past + [None] * 7), Line("forecast", ahead, Look.EXPECTED),
            *(Line(name, ahead, Look.MEMBER) for name in ("prophet", "ema", "auto ets")),
        ),
        (Band("90% interval", low, high),),
        (Mark(LAST - timedelta(days=20), 20.0, f"alarm of {title}"),),
        (Moment(begins, "forecast"),),
    )  # fmt: skip


def page_of(count: int, *, name: str = "Ad set", old: bool = False) -> str:
    """A whole page about `count` ad sets under 10 campaigns, each with a row and an entry with two charts."""
    campaigns = [
        Entity(EntityRef(1, EntityType.CAMPAIGN, f"c{at}"), name=f"{name} campaign {at}") for at in range(10)
    ]
    adsets = [
        Entity(EntityRef(1, EntityType.ADSET, f"a{at}"), parent_id=f"c{at % 10}", name=f"{name} {at}")
        for at in range(count)
    ]
    told = context(campaigns + adsets)
    tree = told.tree
    rows = tuple(
        Row(
            (
                Detailed(
                    tree.label(one.ref),
                    (f"CPL of {tree.label(one.ref)} is 38% below the account's; leads on 7 of 7 days",),
                    link=f"entry-{one.ref.entity_id}%",
                ),
                Chip("high performer", Tone.GOOD), "81%", f"EUR {12 + at / 10:.2f}", "166", "EUR 2,117",
            ),
            tree.campaign(one.ref),
        )
        for at, one in enumerate(adsets)
    )  # fmt: skip
    entries = tuple(
        Entry(
            tree.label(one.ref), "next 7 days: leads 140 (120 to 161)",
            (chart(tree.label(one.ref), seed), chart("Cost per lead", seed + 1), Note("Median of four.")),
            Chip("moderate", Tone.FAIR), tree.campaign(one.ref), f"entry-{one.ref.entity_id}%",
        )
        for seed, one in enumerate(adsets)
    )  # fmt: skip
    numbers = ("sure", "CPL", "leads", "spend")
    table = Table("Ad sets to raise", ("name", "next 7 days", *numbers), rows, frozenset(numbers))
    scoped = {
        one.ref.entity_id: (Figures((Figure("Spend", f"EUR {at}"),)), chart("Leads", at))
        for at, one in enumerate(campaigns)
    }
    sections = (
        Section(
            "overview", "Last week", "The last 7 days.",
            (PerCampaign((Figures((Figure("Spend", "EUR 13,261", name),)), chart("Leads")), scoped),),
        ),
        Section(
            "tiers", "What to raise", "How each is expected to do.", (table,), rank=20,
            findings=tuple(
                Finding(f"Raise {tree.label(one.ref)}:", f"it brings leads at EUR {at}.", Tone.GOOD, 10.0 * at,
                        f"entry-{one.ref.entity_id}%", tree.campaign(one.ref))
                for at, one in enumerate(adsets[:9])
            ),
        ),
        Section("forecasts", "Next week", "The coming week.", entries, rank=40, behind=(Note("Median of four."),)),
    )  # fmt: skip
    behind = [
        Entry("Models in use", "", (Reliability("Calibration", ((40, 0.55, 0.5), (90, 0.9, 0.93))),)),
    ]
    state = DataState(
        ("Data end on Mon 31 Aug 2026, 90 days ago." if old else "Data up to Mon 31 Aug 2026.",), old
    )
    return render(told, sections, state, behind, made=datetime(2026, 9, 1, 6, tzinfo=UTC), version="0.0.0")
