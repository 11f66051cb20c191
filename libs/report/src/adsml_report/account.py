"""What the account did, and how good its data are: parts that need no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric, value
from adsml_common.store.completion import CompletionCurves
from adsml_common.store.metrics import MetricStore

from adsml_report.content import Block, Chart, Figure, Figures, Line, Note, PerCampaign, Row, Section, Table
from adsml_report.context import ReportContext, listed
from adsml_report.wording import LEVELS, change, count, day, percent, short_day, unit

_OLD_DAYS: Final = 3
"""A nightly load brings yesterday's rows: what is this old means that loads stopped."""
_SETTLED: Final = 0.995
_CAMPAIGNS: Final = 200
"""Campaigns with tiles and charts of their own, those that spent most."""


@dataclass(frozen=True, slots=True)
class DataState:
    """How fresh and complete the data are, in sentences; whether they are too old to be called today's."""

    sentences: tuple[str, ...]
    old: bool


def data_state(context: ReportContext) -> DataState:
    """What everything on the page rests on."""
    age = (context.today - context.last_day).days
    old = age >= _OLD_DAYS
    said = [
        f"Data end on {day(context.last_day)}, {age} days ago: everything below is as of that day, not of today."
        if old
        else f"Data up to {day(context.last_day)}."
    ]
    if context.account.sync_error:
        said.append(f"The last sync failed: {context.account.sync_error}.")
    curve = CompletionCurves(MetricStore(context.database)).of(context.config_id)
    if curve is not None:
        young = [
            f"{short_day(context.last_day - timedelta(days=at))} {percent(share)}"
            for at, share in enumerate(curve.leads)
            if share < _SETTLED
        ]
        if young:
            said.append(f"Leads still come in; so far: {', '.join(young[:4])}.")
    days = pd.DatetimeIndex(context.daily["date"].unique())
    gaps = pd.date_range(days.min(), context.last_day, freq="D").difference(days) if len(days) else days
    if len(gaps):
        said.append(f"Days without any row: {_days([one.date() for one in gaps])}.")
    elif not old:
        said.append("No day is missing.")
    return DataState(tuple(said), old or bool(context.account.sync_error))


def _days(days: Sequence[date]) -> str:
    return ", ".join(short_day(one) for one in days[:6]) + (" ..." if len(days) > 6 else "")


def _ratio(metric: Metric, rows: pd.DataFrame) -> float | None:
    found = float(value(metric, rows.sum().to_frame().T)[0])
    return found if np.isfinite(found) else None


def overview(context: ReportContext) -> Section:
    """Last week against the one before, and the course, of the account and each campaign."""
    refs = context.by_spend(EntityType.CAMPAIGN)[:_CAMPAIGNS]
    counts = ", ".join(f"{len(context.tree.refs(level))} {name}s" for level, name in LEVELS.items())
    return Section(
        "overview",
        "Last week",
        f"The 7 days up to {day(context.last_day)}, against the 7 before. {counts}.",
        (PerCampaign(_course(context), {ref.entity_id: _course(context, ref) for ref in refs}),),
    )


def _course(context: ReportContext, ref: EntityRef | None = None) -> tuple[Block, ...]:
    sums = context.history(ref)
    week, before = sums.iloc[-7:], sums.iloc[-14:-7]
    spend, leads = float(week["spend"].sum()), float(week["leads"].sum())
    cpl, cpl_before = _ratio(Metric.CPL, week), _ratio(Metric.CPL, before)
    ctr, ctr_before = _ratio(Metric.CTR, week), _ratio(Metric.CTR, before)
    tiles = Figures(
        (
            Figure("Spend", context.money(spend), change(spend, float(before["spend"].sum()))),
            Figure("Leads", count(leads), change(leads, float(before["leads"].sum()))),
            Figure("Cost per lead", context.money(cpl), change(cpl, cpl_before)),
            Figure("Click-through rate", "" if ctr is None else f"{ctr:.2f}%", change(ctr, ctr_before)),
        )
    )
    rolling = listed(value(Metric.CPL, sums.rolling(7, min_periods=7).sum()))
    charts = [
        Chart(title, unit(name, context.currency), context.first_day, (Line(title.lower(), values),))
        for title, name, values in (
            ("Spend", "spend", listed(sums["spend"])),
            ("Leads", "leads", listed(sums["leads"])),
            ("Cost per lead over 7 days", "cpl", rolling),
        )
    ]
    return tiles, *charts


def data_quality(context: ReportContext) -> tuple[Block, ...]:
    """Gaps inside series, and impossible counts."""
    tree, daily = context.tree, context.daily
    rows = tuple(
        Row((tree.label(ref), LEVELS[ref.entity_type], str(len(missing)), _days(missing)), tree.campaign(ref))
        for ref, missing in _gaps(context)
    )
    gaps: Block = Note("No entity has a gap between its first and its last day.")
    if rows:
        caption = "Days without a row between an entity's first and last day (taken as days without delivery)"
        gaps = Table(caption, ("entity", "level", "days", "which"), rows, frozenset({"days"}))
    silent = (daily["leads"] > 0) & (daily["spend"] == 0) & (daily["impressions"] == 0)
    odd = int(((daily["clicks"] > daily["impressions"]) | silent).sum())
    text = f"{odd} rows have more clicks than impressions, or leads without any delivery: look at the export."
    return (gaps, Note(text, caution=True)) if odd else (gaps,)


def _gaps(context: ReportContext) -> list[tuple[EntityRef, list[date]]]:
    """Entities with days missing inside their series, the most first."""
    found = []
    for (kind, name), rows in context.daily.groupby(["entity_type", "entity_id"], sort=True):
        days = pd.DatetimeIndex(rows["date"])
        if len(missing := pd.date_range(days[0], days[-1], freq="D").difference(days)):
            ref = EntityRef(context.config_id, EntityType(str(kind)), str(name))
            found.append((ref, [one.date() for one in missing]))
    return sorted(found, key=lambda one: -len(one[1]))[: 10 * context.most]
