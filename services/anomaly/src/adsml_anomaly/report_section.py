"""The anomaly family's part of `adsml report`: incidents by cause, each on its series with the expected range."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final, Literal

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import metrics_pb2
from adsml_common.domain.entities import EntityRef
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, day_message, entity_ref, entity_ref_message
from adsml_common.settings import load_settings
from adsml_report.content import (
    Band,
    Block,
    Chart,
    Chip,
    Entry,
    Line,
    Look,
    Mark,
    Note,
    Row,
    Section,
    Table,
    Tone,
)
from adsml_report.context import ReportContext
from adsml_report.wording import LEVELS, METRIC_LABELS, METRIC_UNITS, day, money, words
from google.type import date_pb2

from adsml_anomaly.server import open_service
from adsml_anomaly.service import ACCOUNT_DAYS, AnomalyService
from adsml_anomaly.settings import AnomalySettings

_DRAWN: Final = 42
_TONE: Final = {
    pb.SEVERITY_CRITICAL: Tone.BAD,
    pb.SEVERITY_HIGH: Tone.BAD,
    pb.SEVERITY_MEDIUM: Tone.POOR,
    pb.SEVERITY_LOW: Tone.FAIR,
}


def sections(context: ReportContext) -> Iterator[Section]:
    """The incidents of the last two weeks, open ones first."""
    first = context.last_day - timedelta(days=ACCOUNT_DAYS - 1)
    since = max(context.first_day, context.last_day - timedelta(days=_DRAWN - 1))
    opened = open_service(load_settings(AnomalySettings))
    try:
        request = pb.DetectAccountAnomaliesRequest(config_id=context.config_id)
        request.options.first_date.CopyFrom(day_message(first))
        request.options.as_of_date.CopyFrom(day_message(context.last_day))
        answer = opened.service.DetectAccountAnomalies(request, CallContext())
        pictures = [(one, _drawn(one)) for one in answer.incidents[: context.most]]
        reports = _reports(
            opened.service, [ref for _, ref in pictures if ref is not None], since, context.last_day
        )
    finally:
        opened.close()
    blocks: list[Block] = []
    if answer.incidents:
        blocks.append(_table(context, answer.incidents))
    else:
        blocks.append(Note(f"Nothing out of line since {day(first)}."))
    if answer.skipped_count:
        total = answer.assessed_count + answer.skipped_count
        blocks.append(Note(f"{answer.skipped_count} of {total} entities have too few days to be judged."))
    blocks += [
        _entry(context, incident, reports[ref], ref)
        for incident, ref in pictures
        if ref in reports and ref is not None
    ]
    if len(answer.incidents) > context.most:
        blocks.append(
            Note(f"Pictures of {context.most} of {len(answer.incidents)} incidents; --most draws more.")
        )
    yield Section(
        "alarms",
        "Alarms",
        f"What happened in the last {ACCOUNT_DAYS} days that is out of line with what was to be expected: one line for "
        "each cause, with what it puts at stake.",
        tuple(blocks),
    )


def _drawn(incident: pb.Incident) -> EntityRef | None:
    """The entity whose series shows an incident: its own, or the one of its children with most at stake."""
    if incident.HasField("entity"):
        return entity_ref(incident.entity, "entity")
    return entity_ref(incident.children[0].entity, "entity") if incident.children else None


def _reports(
    service: AnomalyService, refs: Sequence[EntityRef], first: date, last: date
) -> dict[EntityRef, pb.AnomalyReport]:
    """Every day of those that could be judged."""
    if not refs:
        return {}
    request = pb.BatchDetectAnomaliesRequest()
    request.options.first_date.CopyFrom(day_message(first))
    request.options.as_of_date.CopyFrom(day_message(last))
    unique = list(dict.fromkeys(refs))
    for ref in unique:
        request.subjects.add().entity.CopyFrom(entity_ref_message(ref))
    results = service.BatchDetectAnomalies(request, CallContext()).results
    return {
        ref: result.report
        for ref, result in zip(unique, results, strict=True)
        if result.WhichOneof("result") == "report"
    }


def _chip(incident: pb.Incident) -> Chip:
    severity = pb.Severity.Name(incident.severity).removeprefix("SEVERITY_")
    return Chip(words(severity), _TONE.get(incident.severity, Tone.PLAIN))


def _table(context: ReportContext, incidents: Sequence[pb.Incident]) -> Table:
    rows = tuple(
        Row(
            (
                words(pb.IncidentState.Name(one.state).removeprefix("INCIDENT_STATE_")),
                day(_day(one.first_date)),
                one.title + (f" and {len(one.children)} below" if one.children else ""),
                _chip(one),
                money(one.money_at_stake_per_day) if one.HasField("money_at_stake_per_day") else "",
                one.summary.partition(": ")[2] or one.summary,
            ),
            context.tree.campaign(ref)
            if (ref := _drawn(one)) is not None and one.HasField("entity")
            else None,
        )
        for one in incidents
    )
    return Table(
        "Incidents, open ones first, then by money at stake",
        ("state", "since", "where", "severity", "at stake a day", "what"),
        rows,
        numbers=frozenset({"at stake a day"}),
    )


def _entry(context: ReportContext, incident: pb.Incident, report: pb.AnomalyReport, ref: EntityRef) -> Entry:
    """An incident on the metric that its words name."""
    metric = METRIC.find(incident.main_metric)
    chart = _chart(metric.value if metric is not None else "spend", report)
    shown = f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})"
    title = shown if incident.HasField("entity") else f"{incident.title}, shown on {shown}"
    return Entry(title, incident.summary, (chart,), _chip(incident), context.tree.campaign(ref))


def _chart(metric: str, report: pb.AnomalyReport) -> Chart:
    """The metric as it was, as it was to be expected, and the days that raised an alarm."""
    number = metrics_pb2.Metric.Value(f"METRIC_{metric.upper()}")
    # Every day of the calendar from the first to the last is assessed; a metric that is not is all unset.
    each_day = [
        next((one for one in day.metrics if one.metric == number), pb.MetricAssessment())
        for day in report.days
    ]

    def values(field: Literal["observed", "expected"]) -> list[float | None]:
        return [float(getattr(one, field)) if one.HasField(field) else None for one in each_day]

    def ends(field: Literal["lower", "upper"]) -> list[float | None]:
        ranges = [one.expected_range if one.HasField("expected_range") else None for one in each_day]
        return [float(getattr(one, field)) if one is not None else None for one in ranges]

    first = _day(report.days[0].date)
    marks = tuple(
        Mark(_day(day.date), one.observed, day.summary)
        for day, one in zip(report.days, each_day, strict=True)
        if day.anomalous
    )
    label = METRIC_LABELS.get(metric, metric)
    return Chart(
        label.capitalize(),
        METRIC_UNITS.get(metric, ""),
        first,
        (Line(label, values("observed")), Line("expected", values("expected"), Look.EXPECTED)),
        (Band("expected range at the threshold", ends("lower"), ends("upper")),),
        marks,
    )


def _day(message: date_pb2.Date) -> date:
    return date(message.year, message.month, message.day)
