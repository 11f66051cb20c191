"""The anomaly family's part of `adsml report`: incidents by cause, each on its series with the expected range."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final, Literal

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import metrics_pb2
from adsml_common.domain.entities import EntityRef
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, day_message, entity_ref, entity_ref_message
from adsml_common.serving.messages import day as calendar_day
from adsml_common.settings import load_settings
from adsml_report.content import (
    Band,
    Block,
    Chart,
    Chip,
    Entry,
    Finding,
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
from adsml_report.wording import LEVELS, METRIC_LABELS, day, sentence, short_day, unit, words

from adsml_anomaly.server import open_service
from adsml_anomaly.service import ACCOUNT_DAYS, AnomalyService
from adsml_anomaly.settings import AnomalySettings

_KEY: Final = "alarms"
_DRAWN: Final = 42
_LISTED: Final = 8
_FINDINGS: Final = 2
# "Low" is a tier's word: of two that could be taken for each other, the incident's is the other one.
_SEVERITY: Final = {
    pb.SEVERITY_CRITICAL: Chip("critical", Tone.BAD),
    pb.SEVERITY_HIGH: Chip("serious", Tone.BAD),
    pb.SEVERITY_MEDIUM: Chip("medium", Tone.POOR),
    pb.SEVERITY_LOW: Chip("minor"),
}
_WHAT: Final = {
    pb.INCIDENT_KIND_ABSENT_DATA: "has no data",
    pb.INCIDENT_KIND_NO_DELIVERY: "stopped delivering",
    pb.INCIDENT_KIND_DELIVERY_DROP: "delivers far less than usual",
    pb.INCIDENT_KIND_DELIVERY_SURGE: "delivers far more than usual",
    pb.INCIDENT_KIND_LEADS_LOST: "brings fewer leads than it should",
    pb.INCIDENT_KIND_LEADS_SURGE: "brings more leads than usual",
    pb.INCIDENT_KIND_COST_RISE: "became dearer",
    pb.INCIDENT_KIND_COST_FALL: "became cheaper",
    pb.INCIDENT_KIND_ENGAGEMENT_DROP: "is clicked less than usual",
    pb.INCIDENT_KIND_ENGAGEMENT_RISE: "is clicked more than usual",
    pb.INCIDENT_KIND_DRIFT: "is drifting",
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
        drawn = [ref for one in answer.incidents[: context.most] if (ref := _drawn(one)) is not None]
        reports = _reports(opened.service, drawn, since, context.last_day)
    finally:
        opened.close()
    entries = [_entry(context, incident, reports) for incident in answer.incidents]
    open_ = [one for one in answer.incidents if one.state == pb.INCIDENT_STATE_OPEN]
    # Open ones are never folded away.
    listed = max(_LISTED, len(open_))
    blocks: list[Block] = [*entries[:listed]]
    if entries[listed:]:
        blocks.append(
            Entry(f"{len(entries) - listed} more", "over, with less at stake", tuple(entries[listed:]))
        )
    if not entries:
        blocks.append(Note(f"Nothing out of line since {day(first)}."))
    behind: list[Block] = [
        Note(f"{answer.assessed_count} entities assessed, {answer.stopped_count} of them stopped.")
    ]
    if answer.skipped_count:
        behind.append(Note(f"{answer.skipped_count} more have too few days to be judged."))
    behind += [Note(sentence(one.message), caution=True) for one in answer.warnings]
    yield Section(
        _KEY,
        "What stopped or broke",
        f"What was out of line with what was to be expected since {day(first)}: one line for each cause, open ones "
        "first, then by what it puts at stake a day.",
        tuple(blocks),
        rank=10,
        findings=tuple(_findings(context, answer.incidents, open_)),
        behind=tuple(behind),
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


def _findings(
    context: ReportContext, incidents: Sequence[pb.Incident], open_: Sequence[pb.Incident]
) -> Iterator[Finding]:
    """The open incidents with most at stake; or that there is none."""
    if not open_:
        over = (
            f"{len(incidents)} in the last {ACCOUNT_DAYS} days, all over."
            if incidents
            else "Nothing out of line."
        )
        yield Finding("No open incident.", over, Tone.GOOD, None, _KEY)
    for one in sorted(open_, key=lambda one: -one.money_at_stake_per_day)[:_FINDINGS]:
        stake = one.money_at_stake_per_day
        text = f"since {day(_first(one))}: {_what(one)}."
        if stake:
            text += f" {context.money(stake)} a day at stake."
        if len(open_) > _FINDINGS and one is open_[0]:
            text += f" Open beside: {len(open_) - _FINDINGS} with less at stake."
        yield Finding(
            f"{_title(context, one)} {_WHAT.get(one.kind, 'is out of line')}", text, _tone(one), 7 * stake,
            one.incident_id, _campaign(context, one),
        )  # fmt: skip


def _tone(incident: pb.Incident) -> Tone:
    welcome = (pb.INCIDENT_KIND_LEADS_SURGE, pb.INCIDENT_KIND_COST_FALL, pb.INCIDENT_KIND_ENGAGEMENT_RISE)
    return Tone.GOOD if incident.kind in welcome else Tone.BAD


def _campaign(context: ReportContext, incident: pb.Incident) -> str | None:
    return (
        context.tree.campaign(entity_ref(incident.entity, "entity")) if incident.HasField("entity") else None
    )


def _title(context: ReportContext, incident: pb.Incident) -> str:
    return "The account" if incident.scope == pb.INCIDENT_SCOPE_ACCOUNT else incident.title or context.name


def _first(incident: pb.Incident) -> date:
    return calendar_day(incident.first_date, "first_date")


def _what(incident: pb.Incident) -> str:
    return incident.summary.partition(": ")[2] or incident.summary


def _entry(
    context: ReportContext, incident: pb.Incident, reports: dict[EntityRef, pb.AnomalyReport]
) -> Entry:
    """An incident on the metric that its words name, with the single incidents that it explains."""
    blocks: list[Block] = []
    ref = _drawn(incident)
    if ref is not None and ref in reports:
        metric = METRIC.find(incident.main_metric)
        if not incident.HasField("entity"):
            blocks.append(Note(f"Shown on {context.tree.label(ref)} ({LEVELS[ref.entity_type]})."))
        blocks.append(
            _chart(context, incident, metric.value if metric is not None else "spend", reports[ref])
        )
    if incident.children:
        rows = tuple(
            Row((one.title, _first(one), _SEVERITY.get(one.severity), _stake(context, one), _what(one)))
            for one in incident.children
        )
        columns = ("name", "since", "severity", "at stake a day", "what")
        caption = f"{len(rows)} single incidents that it explains"
        blocks.append(Table(caption, columns, rows, frozenset({"at stake a day"})))
    state = words(pb.IncidentState.Name(incident.state).removeprefix("INCIDENT_STATE_"))
    last = calendar_day(incident.last_date, "last_date")
    ended = (
        ""
        if incident.state == pb.INCIDENT_STATE_OPEN or last == _first(incident)
        else f" to {short_day(last)}"
    )
    stake = _stake(context, incident)
    return Entry(
        _title(context, incident),
        f"{state}, {short_day(_first(incident))}{ended}: {_what(incident)}"
        + (f"; {stake} a day" if stake else ""),
        tuple(blocks),
        _SEVERITY.get(incident.severity),
        _campaign(context, incident),
        incident.incident_id,
    )


def _stake(context: ReportContext, incident: pb.Incident) -> str:
    return context.money(incident.money_at_stake_per_day) if incident.money_at_stake_per_day else ""


def _chart(context: ReportContext, incident: pb.Incident, metric: str, report: pb.AnomalyReport) -> Chart:
    """The metric as it was, as it was to be expected, and the days of the incident or of alarms of this metric."""
    number = metrics_pb2.Metric.Value(f"METRIC_{metric.upper()}")
    # Every day from the first to the last is assessed; a metric that is not among them is all unset.
    each_day = [
        next((one for one in day.metrics if one.metric == number), pb.MetricAssessment())
        for day in report.days
    ]

    def values(field: Literal["observed", "expected"]) -> list[float | None]:
        return [float(getattr(one, field)) if one.HasField(field) else None for one in each_day]

    def ends(field: Literal["lower", "upper"]) -> list[float | None]:
        ranges = [one.expected_range if one.HasField("expected_range") else None for one in each_day]
        return [None if one is None else float(getattr(one, field)) for one in ranges]

    began, ended = _first(incident), calendar_day(incident.last_date, "last_date")
    dates = [calendar_day(one.date, "date") for one in report.days]
    marks = tuple(
        Mark(at, one.observed, day.summary)
        for at, day, one in zip(dates, report.days, each_day, strict=True)
        if day.anomalous and (began <= at <= ended or day.main_metric == number)
    )
    label = METRIC_LABELS.get(metric, metric)
    return Chart(
        label.capitalize(),
        unit(metric, context.currency),
        dates[0],
        (Line(label, values("observed")), Line("expected", values("expected"), Look.EXPECTED)),
        (Band("expected range at the threshold", ends("lower"), ends("upper")),),
        marks,
    )
