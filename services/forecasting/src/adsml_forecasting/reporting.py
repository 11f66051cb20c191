"""Forecasting's part of `adsml report`: the coming week of campaigns and of what spends most."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric, value
from adsml_common.serving.context import CallContext
from adsml_common.serving.family_server import Stores
from adsml_common.serving.messages import METRIC, day, entity_ref_message
from adsml_common.settings import load_settings
from adsml_report.content import (
    Band,
    Block,
    Chart,
    Entry,
    Line,
    Look,
    Moment,
    Note,
    Row,
    Section,
    Table,
)
from adsml_report.context import ReportContext, listed
from adsml_report.wording import LEVELS, METRIC_LABELS, METRIC_UNITS, count, money, words
from adsml_report.wording import day as day_words

from adsml_forecasting.decoding import COMBINER, METHOD
from adsml_forecasting.server import open_service
from adsml_forecasting.settings import ForecastingSettings

_HORIZON: Final = 7
_DRAWN: Final = 56
_METRICS: Final = (Metric.LEADS, Metric.CPL)


def sections(context: ReportContext) -> Iterator[Section]:
    """Leads and cost per lead of the next week, with members and intervals."""
    # Campaigns first, then ad sets, each by what they spent.
    refs = (context.by_spend(EntityType.CAMPAIGN) + context.by_spend(EntityType.ADSET))[: context.most]
    forecasts, failed = _forecast(context, refs)
    blocks: list[Block] = []
    if forecasts:
        blocks.append(_table(context, forecasts))
        blocks += [_entry(context, ref, found) for ref, found in forecasts.items()]
    blocks += [Note(f"{context.tree.label(ref)}: {why}") for ref, why in failed.items()]
    yield Section(
        "forecasts",
        "Forecasts",
        f"The {_HORIZON} days after {day_words(context.last_day)}: campaigns, and the ad sets that spend most. "
        "Nine times in ten, the true figure should lie in the range given.",
        tuple(blocks),
    )


def _forecast(
    context: ReportContext, refs: Sequence[EntityRef]
) -> tuple[dict[EntityRef, dict[Metric, pb.Forecast]], dict[EntityRef, str]]:
    """Forecasts by entity and metric, and why there is none."""
    context.progress(f"forecasting {len(refs)} entities")
    asked = [(ref, metric) for ref in refs for metric in _METRICS]
    request = pb.BatchForecastRequest(
        options=pb.ForecastOptions(horizon_days=_HORIZON), include_member_values=True
    )
    for ref, metric in asked:
        request.items.add(subject={"entity": entity_ref_message(ref)}, metric=METRIC.to_wire(metric))
    opened = open_service(
        load_settings(ForecastingSettings), stores=Stores(context.database, context.registry)
    )
    try:
        answer = opened.service.BatchForecast(request, CallContext()) if asked else pb.BatchForecastResponse()
    finally:
        # The database is the report's.
        opened.models.close()
        opened.peers.close()
    forecasts: dict[EntityRef, dict[Metric, pb.Forecast]] = {}
    failed: dict[EntityRef, str] = {}
    for (ref, metric), result in zip(asked, answer.results, strict=True):
        if result.WhichOneof("result") == "forecast":
            forecasts.setdefault(ref, {})[metric] = result.forecast
        else:
            failed[ref] = f"no forecast of {metric.value}: {result.error.message}"
    return forecasts, failed


def _shown(found: dict[Metric, pb.Forecast], metric: Metric) -> str:
    """The week's total with its range; nothing where there is none."""
    if metric not in found or not found[metric].total.HasField("value"):
        return ""
    total = found[metric].total
    shown = money if metric is Metric.CPL else count
    if not total.HasField("interval"):
        return shown(total.value)
    return f"{shown(total.value)} ({shown(total.interval.lower)} to {shown(total.interval.upper)})"


def _method(number: int) -> str:
    method = METHOD.find(number)
    return words("" if method is None else method.value)


def _by(found: pb.Forecast) -> str:
    if found.answered_by.HasField("model"):
        return f"{found.answered_by.model.name} v{found.answered_by.model.version}"
    return found.answered_by.method or _method(found.method)


def _table(context: ReportContext, forecasts: dict[EntityRef, dict[Metric, pb.Forecast]]) -> Table:
    rows = []
    for ref, found in forecasts.items():
        week = context.history(ref).iloc[-7:][["spend", "leads"]].sum()
        leads = float(week["leads"])
        cells = (
            f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})",
            count(leads),
            _shown(found, Metric.LEADS),
            money(float(week["spend"]) / leads if leads else None),
            _shown(found, Metric.CPL),
            ", ".join(dict.fromkeys(_by(one) for one in found.values())),
        )
        rows.append(Row(cells, context.tree.campaign(ref)))
    numbers = ("leads last 7d", "leads next 7d", "CPL last 7d", "CPL next 7d")
    return Table(
        f"The next {_HORIZON} days, with the range that should hold the truth nine times in ten",
        ("entity", *numbers, "by"),
        tuple(rows),
        frozenset(numbers),
    )


def _entry(context: ReportContext, ref: EntityRef, found: dict[Metric, pb.Forecast]) -> Entry:
    blocks: list[Block] = [_chart(context, ref, metric, one) for metric, one in found.items()]
    for metric, one in found.items():
        weights = [f"{_method(m.method)} {m.weight:.0%}" for m in one.members if not m.failure]
        without = [f"{_method(m.method)}: {m.failure}" for m in one.members if m.failure]
        combiner = COMBINER.find(one.combiner)
        lines = []
        if weights and combiner is not None:
            label = METRIC_LABELS[metric].capitalize()
            lines.append(f"{label}: {words(combiner.value)} of {', '.join(weights)}.")
        if without:
            lines.append(f"Left out: {'; '.join(without)}.")
        if one.calibration.HasField("measured_coverage"):
            share = one.calibration.measured_coverage
            lines.append(f"Of held-out days, {share:.0%} were inside the intervals.")
        lines += [f"{warning.message[:1].upper()}{warning.message[1:]}." for warning in one.warnings]
        if lines:
            blocks.append(Note(" ".join(lines)))
    named = {Metric.LEADS: "leads", Metric.CPL: "CPL"}
    summary = ", ".join(
        f"{name} {_shown(found, metric)}" for metric, name in named.items() if metric in found
    )
    return Entry(
        f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})",
        f"next {_HORIZON} days: {summary}",
        tuple(blocks),
        None,
        context.tree.campaign(ref),
    )


def _chart(context: ReportContext, ref: EntityRef, metric: Metric, found: pb.Forecast) -> Chart:
    """History up to the forecast, then forecast, members and interval."""
    past = listed(value(metric, context.history(ref).iloc[-_DRAWN:]))
    first = context.last_day - timedelta(days=len(past) - 1)
    start = day(found.days[0].date, "date")
    begin = (start - first).days
    length = max(len(past), begin + len(found.days))

    def placed(values: Sequence[float | None], at: int = begin) -> list[float | None]:
        line: list[float | None] = [None] * length
        line[at : at + len(values)] = values
        return line

    label = METRIC_LABELS[metric]
    points = [one.value if one.HasField("value") else None for one in found.days]
    ends = [
        (one.interval.lower, one.interval.upper) if one.HasField("interval") else (None, None)
        for one in found.days
    ]
    members = [
        Line(_method(one.method), placed(list(one.values)), Look.MEMBER)
        for one in found.members
        if len(one.values) == len(found.days) and one.weight > 0
    ]
    return Chart(
        label.capitalize(),
        METRIC_UNITS[metric],
        first,
        (Line(label, placed(past, 0)), Line("forecast", placed(points), Look.EXPECTED), *members),
        (Band("90% interval", *(placed([pair[end] for pair in ends]) for end in (0, 1))),),
        moments=(Moment(start, "forecast"),),
    )
