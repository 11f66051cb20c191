"""Forecasting's part of `adsml report`: the coming week of campaigns and of what spends most."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_client.forecasting import Forecast, forecast
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric, value
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, entity_ref_message
from adsml_common.settings import load_settings
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
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
from adsml_report.wording import LEVELS, METRIC_LABELS, METRIC_UNITS, count, day, money, words

from adsml_forecasting import registered
from adsml_forecasting.converters import METHOD
from adsml_forecasting.models.method import Method
from adsml_forecasting.peers import Peers
from adsml_forecasting.resolver import Knowledge
from adsml_forecasting.servicer import ForecastingServicer
from adsml_forecasting.settings import ForecastingSettings

_HORIZON: Final = 7
_DRAWN: Final = 56
_METRICS: Final = (Metric.LEADS, Metric.CPL)


def sections(context: ReportContext) -> Iterator[Section]:
    """Leads and cost per lead of the next week, with members and intervals."""
    refs = _chosen(context)
    told, failed = _forecast(context, refs)
    blocks: list[Block] = []
    if told:
        blocks.append(_table(context, told))
        blocks += [_entry(context, ref, found) for ref, found in told.items()]
    blocks += [Note(f"{context.tree.label(ref)}: {why}") for ref, why in failed.items()]
    yield Section(
        "forecasts",
        "Forecasts",
        f"The {_HORIZON} days after {day(context.last_day)}: campaigns, and the ad sets that spend most. Nine times "
        "in ten, the true figure should lie in the range given.",
        tuple(blocks),
    )


def _chosen(context: ReportContext) -> list[EntityRef]:
    """Campaigns first, then ad sets, each by what they spent."""
    ordered = context.by_spend(EntityType.CAMPAIGN) + context.by_spend(EntityType.ADSET)
    return ordered[: context.most]


def _forecast(
    context: ReportContext, refs: Sequence[EntityRef]
) -> tuple[dict[EntityRef, dict[Metric, Forecast]], dict[EntityRef, str]]:
    """Forecasts by entity and metric, and why there is none."""
    loader: ModelLoader[registered.Model] = ModelLoader(
        context.registry, registered.parse, poll_seconds=3600, capacity=1000
    )
    peers = Peers()
    servicer = ForecastingServicer(
        metrics=MetricStore(context.database),
        entities=EntityStore(context.database),
        changes=ChangeStore(context.database),
        knowledge=Knowledge(loader),
        peers=peers,
        workers=None,
        drop_last_days=load_settings(ForecastingSettings).drop_last_days,
    )
    told: dict[EntityRef, dict[Metric, Forecast]] = {}
    failed: dict[EntityRef, str] = {}
    try:
        for at, ref in enumerate(refs):
            context.progress(f"forecasting {at + 1} of {len(refs)}")
            request = pb.BatchForecastRequest(
                items=[
                    pb.BatchForecastItem(
                        subject=entity_pb2.Subject(entity=entity_ref_message(ref)),
                        metric=METRIC.to_wire(metric),  # type: ignore[arg-type]
                        method=METHOD.to_wire(Method.ENSEMBLE),  # type: ignore[arg-type]
                    )
                    for metric in _METRICS
                ],
                options=pb.ForecastOptions(
                    horizon_days=_HORIZON, peers=pb.PeerOptions(mask_anomalies=False, use_tiers=False)
                ),
                include_member_values=True,
            )
            answer = servicer.BatchForecast(request, CallContext())
            for metric, result in zip(_METRICS, answer.results, strict=True):
                if result.WhichOneof("result") == "forecast":
                    told.setdefault(ref, {})[metric] = forecast(result.forecast)
                else:
                    failed[ref] = f"no forecast of {metric.value}: {result.error.message}"
    finally:
        peers.close()
    return told, failed


def _shown(found: Forecast | None, *, as_money: bool) -> str:
    if found is None or found.total is None:
        return ""
    shown = money if as_money else count
    ranged = found.total_interval
    if ranged is None:
        return shown(found.total)
    return f"{shown(found.total)} ({shown(ranged.lower)} to {shown(ranged.upper)})"


def _by(found: Forecast) -> str:
    model = found.answered_by.model
    named = f"{model.name} v{model.version}" if model is not None else found.answered_by.method
    return named or words(found.method)


def _table(context: ReportContext, told: dict[EntityRef, dict[Metric, Forecast]]) -> Table:
    rows = []
    for ref, found in told.items():
        week = context.history(ref).iloc[-7:][["spend", "leads"]].sum()
        leads = float(week["leads"])
        cpl = float(week["spend"]) / leads if leads else None
        rows.append(
            Row(
                (
                    f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})",
                    count(leads),
                    _shown(found.get(Metric.LEADS), as_money=False),
                    money(cpl),
                    _shown(found.get(Metric.CPL), as_money=True),
                    ", ".join(dict.fromkeys(_by(one) for one in found.values())),
                ),
                context.tree.campaign(ref),
            )
        )
    return Table(
        f"The next {_HORIZON} days, with the range that should hold the truth nine times in ten",
        ("entity", "leads last 7d", "leads next 7d", "CPL last 7d", "CPL next 7d", "by"),
        tuple(rows),
        frozenset(("leads last 7d", "leads next 7d", "CPL last 7d", "CPL next 7d")),
    )


def _entry(context: ReportContext, ref: EntityRef, found: dict[Metric, Forecast]) -> Entry:
    blocks: list[Block] = [_chart(context, ref, one) for one in found.values()]
    for one in found.values():
        weights = [f"{words(m.method)} {m.weight:.0%}" for m in one.members if not m.failure]
        without = [f"{words(m.method)}: {m.failure}" for m in one.members if m.failure]
        told = (
            [f"{METRIC_LABELS[one.metric].capitalize()}: {words(one.combiner)} of {', '.join(weights)}."]
            if weights
            else []
        )
        told += [f"Left out: {'; '.join(without)}."] if without else []
        if one.measured_coverage is not None:
            told.append(f"Of held-out days, {one.measured_coverage:.0%} were inside the intervals.")
        told += one.warnings
        if told:
            blocks.append(Note(" ".join(told)))
    summary = []
    if Metric.LEADS in found:
        summary.append(f"leads {_shown(found[Metric.LEADS], as_money=False)}")
    if Metric.CPL in found:
        summary.append(f"CPL {_shown(found[Metric.CPL], as_money=True)}")
    return Entry(
        f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})",
        f"next {_HORIZON} days: {', '.join(summary)}",
        tuple(blocks),
        None,
        context.tree.campaign(ref),
    )


def _chart(context: ReportContext, ref: EntityRef, found: Forecast) -> Chart:
    """History up to the forecast, then forecast, members and interval."""
    history = context.history(ref).iloc[-_DRAWN:]
    past = listed(value(Metric(found.metric), history))
    first = context.last_day - timedelta(days=len(past) - 1)
    begin = (found.days[0].date - first).days
    length = max(len(past), begin + len(found.days))

    def placed(values: Sequence[float | None]) -> list[float | None]:
        line: list[float | None] = [None] * length
        line[begin : begin + len(values)] = values
        return line

    label = METRIC_LABELS[found.metric]
    return Chart(
        label.capitalize(),
        METRIC_UNITS[found.metric],
        first,
        (
            Line(label, past + [None] * (length - len(past))),
            Line("forecast", placed([one.value for one in found.days]), Look.EXPECTED),
            *(
                Line(words(one.method), placed(one.values), Look.MEMBER)
                for one in found.members
                if len(one.values) == len(found.days) and one.weight > 0
            ),
        ),
        (
            Band(
                "90% interval",
                placed([one.interval.lower if one.interval else None for one in found.days]),
                placed([one.interval.upper if one.interval else None for one in found.days]),
            ),
        ),
        moments=(Moment(found.days[0].date, "forecast"),),
    )
