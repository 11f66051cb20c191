"""Forecasting's part of `adsml report`: the account's coming week, and that of campaigns and of what spends most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import pandas as pd
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric, value
from adsml_common.serving.context import CallContext
from adsml_common.serving.family_server import Stores
from adsml_common.serving.messages import METRIC, day, day_message, entity_ref_message
from adsml_common.settings import load_settings
from adsml_report.content import (
    Band,
    Block,
    Chart,
    Detailed,
    Entry,
    Finding,
    Line,
    Look,
    Moment,
    Note,
    PerCampaign,
    Row,
    Section,
    Table,
    Tone,
)
from adsml_report.context import ReportContext, listed
from adsml_report.wording import LEVELS, METRIC_LABELS, count, percent, sentence, unit, words
from adsml_report.wording import day as day_words

from adsml_forecasting.decoding import COMBINER, METHOD
from adsml_forecasting.server import open_service
from adsml_forecasting.settings import ForecastingSettings

_KEY: Final = "forecasts"
_HORIZON: Final = 7
_SHOWN: Final = 42
_METRICS: Final = (Metric.LEADS, Metric.CPL)


@dataclass(slots=True)
class _Week:
    """An entity's coming week, and what was said a week ago of the last one; without `ref` the account's."""

    ref: EntityRef | None
    label: str = "The account"
    level: str = ""
    campaign: str | None = None
    ahead: dict[Metric, pb.Forecast] = field(default_factory=dict)
    earlier: dict[Metric, pb.Forecast] = field(default_factory=dict)
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.label} ({self.level})" if self.level else self.label


def sections(context: ReportContext) -> Iterator[Section]:
    """Leads and cost per lead of the next week, with intervals, and how last week's forecast did."""
    settings = load_settings(ForecastingSettings)
    as_of = context.last_day - timedelta(days=settings.attribution_lag_days)
    ordered = context.by_spend(EntityType.CAMPAIGN) + context.by_spend(EntityType.ADSET)
    tree = context.tree
    weeks = [_Week(None)] + [
        _Week(ref, tree.label(ref), LEVELS[ref.entity_type], tree.campaign(ref))
        for ref in ordered[: context.most]
    ]
    _forecast(context, settings, weeks, as_of)
    answered = [one for one in weeks if one.ahead]
    blocks: list[Block] = []
    findings: list[Finding] = []
    if answered and answered[0].ref is None:
        campaigns = {
            one.ref.entity_id: tuple(_charts(context, one, members=False))
            for one in answered
            if one.ref is not None and one.ref.entity_type is EntityType.CAMPAIGN
        }
        blocks.append(PerCampaign(tuple(_charts(context, answered[0], members=False)), campaigns))
        findings += _finding(context, answered[0], as_of)
    if answered:
        entries = tuple(_entry(context, one) for one in answered if one.ref is not None)
        blocks += [
            _table(context, answered, as_of),
            Entry("Each by day", f"{len(entries)} campaigns and ad sets", entries),
        ]
    failures = tuple(Note(f"{one.name}: {one.why}") for one in weeks if one.why)
    start = as_of + timedelta(days=1)
    yield Section(
        _KEY,
        "Next week",
        f"The {_HORIZON} days from {day_words(start)}: the account, its campaigns, and the ad sets that spend most. "
        "Nine times in ten, the true figure should lie in the range given.",
        tuple(blocks),
        rank=40,
        findings=tuple(findings),
        behind=tuple(_behind(answered)) + failures,
    )


def _forecast(
    context: ReportContext, settings: ForecastingSettings, weeks: Sequence[_Week], as_of: date
) -> None:
    """Fill in the week after a day, and as of a week earlier the one up to it."""
    opened = open_service(settings, stores=Stores(context.database, context.registry))
    try:
        for told, last in (
            ("next week", as_of),
            ("last week, for comparison", as_of - timedelta(days=_HORIZON)),
        ):
            context.progress(f"forecasting {told}")
            ahead = last == as_of
            options = pb.ForecastOptions(horizon_days=_HORIZON, as_of_date=day_message(last))
            request = pb.BatchForecastRequest(options=options, include_member_values=ahead)
            asked = [(one, metric) for one in weeks for metric in _METRICS]
            for one, metric in asked:
                stored = None if one.ref is None else entity_ref_message(one.ref)
                subject = entity_pb2.Subject(entity=stored) if stored else _account(context, last)
                request.items.add(subject=subject, metric=METRIC.to_wire(metric))
            results = opened.service.BatchForecast(request, CallContext()).results
            for (one, metric), result in zip(asked, results, strict=True):
                if result.WhichOneof("result") == "forecast":
                    (one.ahead if ahead else one.earlier)[metric] = result.forecast
                elif ahead:
                    one.why = f"no forecast of {METRIC_LABELS[metric]}: {result.error.message}"
    finally:
        # The database is the report's.
        opened.models.close()
        opened.peers.close()


def _account(context: ReportContext, last: date) -> entity_pb2.Subject:
    """The account's daily sums: it is no entity of its own tree."""
    rows = context.history()
    rows = rows[rows["spend"].cumsum() > 0].loc[: pd.Timestamp(last)]
    days = [
        metrics_pb2.DailyMetrics(
            date=day_message(pd.Timestamp(str(stamp)).date()), spend=row["spend"],
            impressions=round(row["impressions"]), clicks=round(row["clicks"]), leads=row["leads"],
        )
        for stamp, row in rows.iterrows()
    ]  # fmt: skip
    kind = entity_pb2.ENTITY_TYPE_CAMPAIGN
    series = entity_pb2.InlineSeries(
        config_id=context.config_id, entity_type=kind, entity_id="account", rows=days
    )
    return entity_pb2.Subject(inline=series)


def _cell(context: ReportContext, metric: Metric, one: pb.Forecast | None) -> Detailed | None:
    """A total with its range; None where there is none."""
    if one is None or not one.total.HasField("value"):
        return None
    shown = count if metric is Metric.LEADS else context.money
    if not one.total.HasField("interval"):
        return Detailed(shown(one.total.value))
    # The currency once is enough.
    low, high = (
        shown(end).rpartition(" ")[2] for end in (one.total.interval.lower, one.total.interval.upper)
    )
    return Detailed(shown(one.total.value), (f"{low} to {high}",))


def _shown(context: ReportContext, metric: Metric, one: pb.Forecast | None) -> str:
    cell = _cell(context, metric, one)
    return "" if cell is None else cell.text + "".join(f" ({each})" for each in cell.details)


def _last_week(context: ReportContext, ref: EntityRef | None, as_of: date) -> dict[Metric, float | None]:
    week = context.history(ref).loc[: pd.Timestamp(as_of)].iloc[-_HORIZON:].sum()
    leads = float(week["leads"])
    return {Metric.LEADS: leads, Metric.CPL: float(week["spend"]) / leads if leads else None}


def _finding(context: ReportContext, account: _Week, as_of: date) -> Iterator[Finding]:
    """What next week brings against last week, and whether last week's forecast held."""
    leads = account.ahead.get(Metric.LEADS)
    if leads is None or not leads.total.HasField("value"):
        return
    was = _last_week(context, None, as_of)
    before = was[Metric.LEADS] or 0.0
    text = f"{_shown(context, Metric.LEADS, leads)}, against {count(before)} last week"
    cpl = _shown(context, Metric.CPL, account.ahead.get(Metric.CPL))
    if cpl:
        text += f"; at {cpl} each, against {context.money(was[Metric.CPL])}"
    said = account.earlier.get(Metric.LEADS)
    if said is not None and said.total.HasField("interval"):
        held = said.total.interval.lower <= before <= said.total.interval.upper
        text += (
            f". A week ago {_shown(context, Metric.LEADS, said)} was said of last week: "
            f"{'it held' if held else 'it did not hold'}"
        )
    ends, tone = leads.total.interval, Tone.PLAIN
    if leads.total.HasField("interval"):
        tone = Tone.BAD if ends.upper < before else Tone.GOOD if ends.lower > before else Tone.PLAIN
    yield Finding("Next week should bring leads:", f"{text}.", tone, None, _KEY)


def _table(context: ReportContext, weeks: Sequence[_Week], as_of: date) -> Table:
    rows = []
    for one in weeks:
        was = _last_week(context, one.ref, as_of)
        cells = (
            Detailed(one.label, link=None if one.ref is None else _key(one.ref)),
            one.level,
            _cell(context, Metric.LEADS, one.earlier.get(Metric.LEADS)),
            count(was[Metric.LEADS]),
            _cell(context, Metric.LEADS, one.ahead.get(Metric.LEADS)),
            context.money(was[Metric.CPL]),
            _cell(context, Metric.CPL, one.ahead.get(Metric.CPL)),
        )
        rows.append(Row(cells, one.campaign))
    weekly = (
        "leads forecast for last week",
        "leads last week",
        "leads next week",
        "CPL last week",
        "CPL next week",
    )
    return Table("Last week and the next", ("name", "level", *weekly), tuple(rows), frozenset(weekly))


def _key(ref: EntityRef) -> str:
    return f"forecast-{ref.entity_type.value}-{ref.entity_id}"


def _entry(context: ReportContext, week: _Week) -> Entry:
    assert week.ref is not None  # noqa: S101  # the account has no entry
    told = (
        f"{'CPL' if metric is Metric.CPL else 'leads'} {_shown(context, metric, one)}"
        for metric, one in week.ahead.items()
    )
    warnings = dict.fromkeys(sentence(each.message) for one in week.ahead.values() for each in one.warnings)
    blocks: list[Block] = [*_charts(context, week, members=True), *(Note(each) for each in warnings)]
    return Entry(week.name, ", ".join(told), tuple(blocks), None, week.campaign, _key(week.ref))


def _charts(context: ReportContext, week: _Week, *, members: bool) -> Iterator[Chart]:
    """Six weeks of history, what was said of the last week, then forecast, members and interval."""
    past = context.history(week.ref).iloc[-_SHOWN:]
    first = context.last_day - timedelta(days=len(past) - 1)
    for metric, ahead in week.ahead.items():
        begin = day(ahead.days[0].date, "date")
        length = max(len(past), (begin - first).days + len(ahead.days))
        actual = listed(value(metric, past))
        lines = [Line(METRIC_LABELS[metric], actual + [None] * (length - len(past)))]
        bands = []
        for name, look, one in (
            ("forecast", Look.EXPECTED, ahead),
            ("forecast of a week ago", Look.EARLIER, week.earlier.get(metric)),
        ):
            if one is not None:
                values = [each.value if each.HasField("value") else None for each in one.days]
                ends = [each.interval if each.HasField("interval") else None for each in one.days]
                lines.append(Line(name, _placed(one, first, length, values), look))
                low = _placed(one, first, length, [end and end.lower for end in ends])
                high = _placed(one, first, length, [end and end.upper for end in ends])
                bands.append(Band(f"90% range, {name}", low, high, look))
        lines += [
            Line(_method(each.method), _placed(ahead, first, length, each.values), Look.MEMBER)
            for each in ahead.members
            if members and len(each.values) == len(ahead.days) and each.weight > 0
        ]
        yield Chart(
            METRIC_LABELS[metric].capitalize(), unit(metric.value, context.currency), first, tuple(lines), tuple(bands),
            moments=(Moment(begin, "forecast"),),
        )  # fmt: skip


def _placed(one: pb.Forecast, first: date, length: int, values: Sequence[float | None]) -> list[float | None]:
    """Values by the days of a chart."""
    line: list[float | None] = [None] * length
    begin = (day(one.days[0].date, "date") - first).days
    line[begin : begin + len(values)] = values
    return line[:length]


def _method(number: int) -> str:
    method = METHOD.find(number)
    return words("" if method is None else method.value)


def _behind(weeks: Sequence[_Week]) -> Iterator[Block]:
    """What answered, how it was combined, and what its intervals held on days held out."""
    rows = []
    for week in weeks:
        for metric, one in week.ahead.items():
            weights = [f"{_method(m.method)} {percent(m.weight)}" for m in one.members if not m.failure]
            without = [f"{_method(m.method)}: {m.failure}" for m in one.members if m.failure]
            combiner = COMBINER.find(one.combiner)
            how = (
                f"{words(combiner.value)} of {', '.join(weights)}" if weights and combiner is not None else ""
            )
            by, held = one.answered_by, one.calibration.HasField("measured_coverage")
            cells = (
                Detailed(week.name, tuple(f"Left out: {each}" for each in without)),
                METRIC_LABELS[metric],
                f"{by.model.name} v{by.model.version}" if by.HasField("model") else by.method,
                how,
                percent(one.calibration.measured_coverage) if held else "",
            )
            rows.append(Row(cells, week.campaign))
    columns = ("name", "metric", "by", "combined", "held-out days inside the range")
    if rows:
        yield Table("What forecast", columns, tuple(rows), frozenset({columns[-1]}))
