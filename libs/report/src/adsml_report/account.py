"""What the account did, and how good its data are: sections that need no model."""

from datetime import timedelta
from typing import Final

import numpy as np
import pandas as pd
import sqlalchemy as sa
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric, value
from adsml_common.store.tables import daily_metrics, entities

from adsml_report.content import (
    Block,
    Chart,
    Chip,
    Figure,
    Figures,
    Line,
    Note,
    Row,
    Section,
    Table,
    Tone,
)
from adsml_report.context import ReportContext, listed
from adsml_report.wording import change, count, day, money

_SUMS: Final = ["spend", "impressions", "clicks", "leads"]
_FRESH_DAYS: Final = 3
"""Leads are attributed to the day of the click and come in over the days that follow."""


def totals(context: ReportContext) -> pd.DataFrame:
    """The account's sums by day, over the highest level that has rows; one row per day of the window."""
    daily = context.daily
    for level in EntityType:
        rows = daily[daily["entity_type"] == level.value]
        if len(rows):
            break
    days = pd.date_range(context.first_day, context.last_day, freq="D")
    return rows.groupby("date")[_SUMS].sum().reindex(days, fill_value=0.0)


def _ratio(metric: Metric, rows: pd.DataFrame) -> float | None:
    found = float(value(metric, rows[_SUMS].sum().to_frame().T)[0])
    return found if np.isfinite(found) else None


def overview(context: ReportContext) -> Section:
    """Last week against the one before, and the account's course."""
    sums = totals(context)
    week, before = sums.iloc[-7:], sums.iloc[-14:-7]
    spend, leads = float(week["spend"].sum()), float(week["leads"].sum())
    cpl, cpl_before = _ratio(Metric.CPL, week), _ratio(Metric.CPL, before)
    ctr, ctr_before = _ratio(Metric.CTR, week), _ratio(Metric.CTR, before)
    tiles = Figures(
        (
            Figure("Spend", money(spend), change(spend, float(before["spend"].sum()))),
            Figure("Leads", count(leads), change(leads, float(before["leads"].sum()))),
            Figure("Cost per lead", money(cpl), change(cpl, cpl_before)),
            Figure("Click-through rate", "" if ctr is None else f"{ctr:.2f}%", change(ctr, ctr_before)),
        )
    )
    rolling = sums.rolling(7, min_periods=7).sum()
    charts = (
        Chart(
            "Spend", "account currency per day", context.first_day,
            (Line("spend", listed(sums["spend"])),),
        ),
        Chart("Leads", "leads per day", context.first_day, (Line("leads", listed(sums["leads"])),)),
        Chart(
            "Cost per lead over 7 days", "account currency per lead", context.first_day,
            (Line("cost per lead, ratio of sums over the last 7 days", listed(value(Metric.CPL, rolling))),),
        ),
    )  # fmt: skip
    counts = {level: len(context.tree.refs(level)) for level in EntityType}
    intro = (
        f"The last 7 days, up to {day(context.last_day)}. The account has {counts[EntityType.CAMPAIGN]} "
        f"campaigns, {counts[EntityType.ADSET]} ad sets and {counts[EntityType.AD]} ads."
    )
    return Section("overview", "Overview", intro, (tiles, *charts))


def data_quality(context: ReportContext) -> Section:
    """Gaps inside series, last days that may still be filling up, and impossible counts."""
    blocks: list[Block] = [_fresh(context)]
    gaps = _gaps(context)
    rows = tuple(
        Row(
            (
                context.tree.label(ref),
                ref.entity_type.value,
                str(len(missing)),
                ", ".join(f"{one:%d %b}" for one in missing[:6]) + (" ..." if len(missing) > 6 else ""),
            ),
            context.tree.campaign(ref),
        )
        for ref, missing in gaps
    )
    if rows:
        blocks.append(
            Table(
                "Days without a row between an entity's first and last day (taken as days without delivery)",
                ("entity", "level", "days", "which"),
                rows,
                frozenset({"days"}),
            )
        )
    else:
        blocks.append(Note("No entity has a gap between its first and its last day."))
    odd = context.daily[
        (context.daily["clicks"] > context.daily["impressions"])
        | ((context.daily["leads"] > 0) & (context.daily["spend"] == 0) & (context.daily["impressions"] == 0))
    ]
    if len(odd):
        blocks.append(
            Note(
                f"{len(odd)} rows have more clicks than impressions, or leads without any delivery: look at the "
                "export.",
                caution=True,
            )
        )
    return Section(
        "data-quality",
        "Data quality",
        "What the answers rest on: an answer is no better than its rows.",
        tuple(blocks),
    )


def _fresh(context: ReportContext) -> Table:
    sums = totals(context)
    usual = _ratio(Metric.CONVERSION_RATE, sums.iloc[-35:-7])
    with context.database.read() as connection:
        found = connection.execute(
            sa.select(daily_metrics.c.date, sa.func.max(daily_metrics.c.loaded_at))
            .join_from(daily_metrics, entities)
            .where(
                entities.c.config_id == context.config_id,
                daily_metrics.c.date > context.last_day - timedelta(days=7),
            )
            .group_by(daily_metrics.c.date)
        ).all()
    loaded = {row[0]: row[1] for row in found}
    rows = []
    for stamp, sum_ in sums.iloc[-7:].iterrows():
        one = pd.Timestamp(str(stamp)).date()
        at = loaded.get(one)
        filling = at is not None and (at.date() - one).days <= _FRESH_DAYS
        rate = _ratio(Metric.CONVERSION_RATE, sum_.to_frame().T.astype(float))
        rows.append(
            Row(
                (
                    day(one),
                    money(float(sum_["spend"])),
                    count(float(sum_["leads"])),
                    "" if rate is None else f"{rate:.2f}%",
                    "no row" if at is None else f"{at:%d %b %H:%M} UTC",
                    Chip("no data", Tone.BAD)
                    if at is None
                    else Chip("may still fill up", Tone.FAIR)
                    if filling
                    else Chip("settled", Tone.GOOD),
                )
            )
        )
    beside = "" if usual is None else f"; leads per click over the 4 weeks before: {usual:.2f}%"
    return Table(
        f"The last 7 days. A day loaded within {_FRESH_DAYS} days may lack leads that come in later{beside}",
        ("day", "spend", "leads", "leads per click", "loaded", ""),
        tuple(rows),
        frozenset({"spend", "leads", "leads per click"}),
    )


def _gaps(context: ReportContext) -> list[tuple[EntityRef, list[pd.Timestamp]]]:
    """Entities with days missing inside their series, the most first."""
    found = []
    for (kind, name), rows in context.daily.groupby(["entity_type", "entity_id"], sort=True):
        days = rows["date"].to_numpy()
        span = int((days[-1] - days[0]) / np.timedelta64(1, "D")) + 1
        if span == len(days):
            continue
        missing = pd.date_range(days[0], days[-1], freq="D").difference(pd.DatetimeIndex(days))
        found.append((EntityRef(context.config_id, EntityType(str(kind)), str(name)), list(missing)))
    return sorted(found, key=lambda one: -len(one[1]))[: 10 * context.most]
