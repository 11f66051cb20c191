"""The anomaly family's part of `adsml report`: incidents by cause, each on its series with the expected range."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final, Literal

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, day_message, entity_ref, entity_ref_message
from adsml_common.serving.messages import day as calendar_day
from adsml_common.settings import load_settings
from adsml_report import content
from adsml_report.context import ReportContext
from adsml_report.wording import LEVELS, METRIC_LABELS, day, sentence, short_day, unit, words

from adsml_anomaly.display import GOOD_NEWS, what
from adsml_anomaly.server import open_service
from adsml_anomaly.service import ACCOUNT_DAYS
from adsml_anomaly.settings import AnomalySettings

_KEY: Final = "alarms"
_DRAWN: Final = 42
_LISTED: Final = 8
_FINDINGS: Final = 2
# "Low" is a tier's word: of two that could be taken for each other, the incident's is the other one.
_SEVERITY: Final = {
    pb.SEVERITY_CRITICAL: content.Chip("critical", content.Tone.BAD),
    pb.SEVERITY_HIGH: content.Chip("serious", content.Tone.BAD),
    pb.SEVERITY_MEDIUM: content.Chip("medium", content.Tone.POOR),
    pb.SEVERITY_LOW: content.Chip("minor"),
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


def sections(context: ReportContext) -> Iterator[content.Section]:
    """The incidents of the last two weeks, open ones first."""
    first = context.last_day - timedelta(days=ACCOUNT_DAYS - 1)
    since = max(context.first_day, context.last_day - timedelta(days=_DRAWN - 1))
    opened = open_service(load_settings(AnomalySettings))
    try:
        request = pb.DetectAccountAnomaliesRequest(
            config_id=context.config_id, options=_days(first, context.last_day)
        )
        answer = opened.service.DetectAccountAnomalies(request, CallContext())
        # Every day of those that are drawn, as far as they could be judged.
        drawn = {ref: None for one in answer.incidents[: context.most] if (ref := _drawn(one)) is not None}
        every = pb.BatchDetectAnomaliesRequest(options=_days(since, context.last_day))
        every.subjects.extend(pb.DetectionSubject(entity=entity_ref_message(ref)) for ref in drawn)
        results = opened.service.BatchDetectAnomalies(every, CallContext()).results if drawn else []
        reports = {ref: one.report for ref, one in zip(drawn, results, strict=True) if one.HasField("report")}
    finally:
        opened.close()
    entries = [_entry(context, incident, reports) for incident in answer.incidents]
    open_ = [one for one in answer.incidents if one.state == pb.INCIDENT_STATE_OPEN]
    # Open ones are never folded away.
    listed = max(_LISTED, len(open_))
    blocks: list[content.Block] = [*entries[:listed]]
    if folded := entries[listed:]:
        blocks.append(content.Entry(f"{len(folded)} more", "over, with less at stake", tuple(folded)))
    if not entries:
        blocks.append(content.Note(f"Nothing out of line since {day(first)}."))
    looked_at = f"{answer.assessed_count} entities assessed, {answer.stopped_count} of them stopped."
    behind = [content.Note(looked_at)]
    if answer.skipped_count:
        behind.append(content.Note(f"{answer.skipped_count} more have too few days to be judged."))
    behind += [content.Note(sentence(one.message), caution=True) for one in answer.warnings]
    yield content.Section(
        _KEY,
        "What stopped or broke",
        f"What was out of line with what was to be expected since {day(first)}: one line for each cause, open ones "
        "first, then by what it puts at stake a day.",
        tuple(blocks),
        rank=10,
        findings=tuple(_findings(context, answer.incidents, open_)),
        behind=tuple(behind),
    )


def _days(first: date, last: date) -> pb.DetectionOptions:
    return pb.DetectionOptions(first_date=day_message(first), as_of_date=day_message(last))


def _drawn(incident: pb.Incident) -> EntityRef | None:
    """The entity whose series shows an incident: its own, or the one of its children with most at stake."""
    if incident.HasField("entity"):
        return entity_ref(incident.entity, "entity")
    return entity_ref(incident.children[0].entity, "entity") if incident.children else None


def _findings(
    context: ReportContext, incidents: Sequence[pb.Incident], open_: Sequence[pb.Incident]
) -> Iterator[content.Finding]:
    """The open incidents with most at stake; or that there is none."""
    if not open_:
        over = f"{len(incidents)} in the last {ACCOUNT_DAYS} days, all over."
        yield content.Finding(
            "No open incident.", over if incidents else "Nothing out of line.", content.Tone.GOOD, None, _KEY
        )
    for one in sorted(open_, key=lambda one: -one.money_at_stake_per_day)[:_FINDINGS]:
        stake = one.money_at_stake_per_day
        text = f"since {day(_first(one))}: {what(one)}."
        if stake:
            text += f" {context.money(stake)} a day at stake."
        if len(open_) > _FINDINGS and one is open_[0]:
            text += f" Open beside: {len(open_) - _FINDINGS} with less at stake."
        head = f"{_title(context, one)} {_WHAT.get(one.kind, 'is out of line')}"
        tone = content.Tone.GOOD if one.kind in GOOD_NEWS else content.Tone.BAD
        yield content.Finding(head, text, tone, 7 * stake, one.incident_id, _campaign(context, one))


def _campaign(context: ReportContext, incident: pb.Incident) -> str | None:
    own = incident.HasField("entity")
    return context.tree.campaign(entity_ref(incident.entity, "entity")) if own else None


def _title(context: ReportContext, incident: pb.Incident) -> str:
    return "The account" if incident.scope == pb.INCIDENT_SCOPE_ACCOUNT else incident.title or context.name


def _first(incident: pb.Incident) -> date:
    return calendar_day(incident.first_date, "first_date")


def _entry(
    context: ReportContext, incident: pb.Incident, reports: dict[EntityRef, pb.AnomalyReport]
) -> content.Entry:
    """An incident on the metric that its words name, with the single incidents that it explains."""
    blocks: list[content.Block] = []
    ref = _drawn(incident)
    if ref is not None and ref in reports:
        if not incident.HasField("entity"):
            blocks.append(content.Note(f"Shown on {context.tree.label(ref)} ({LEVELS[ref.entity_type]})."))
        blocks.append(_chart(context, incident, reports[ref]))
    if incident.children:
        rows = tuple(
            content.Row(
                (one.title, _first(one), _SEVERITY.get(one.severity), _stake(context, one), what(one))
            )
            for one in incident.children
        )
        columns = ("name", "since", "severity", "at stake a day", "what")
        caption = f"{len(rows)} single incidents that it explains"
        blocks.append(content.Table(caption, columns, rows, frozenset({"at stake a day"})))
    state = words(pb.IncidentState.Name(incident.state).removeprefix("INCIDENT_STATE_"))
    last = calendar_day(incident.last_date, "last_date")
    goes_on = incident.state == pb.INCIDENT_STATE_OPEN or last == _first(incident)
    ended = "" if goes_on else f" to {short_day(last)}"
    stake = _stake(context, incident)
    return content.Entry(
        _title(context, incident),
        f"{state}, {short_day(_first(incident))}{ended}: {what(incident)}"
        + (f"; {stake} a day" if stake else ""),
        tuple(blocks),
        _SEVERITY.get(incident.severity),
        _campaign(context, incident),
        incident.incident_id,
    )


def _stake(context: ReportContext, incident: pb.Incident) -> str:
    return context.money(incident.money_at_stake_per_day) if incident.money_at_stake_per_day else ""


def _chart(context: ReportContext, incident: pb.Incident, report: pb.AnomalyReport) -> content.Chart:
    """The metric as it was, as it was to be expected, and the days of the incident or of alarms of this metric."""
    metric = METRIC.find(incident.main_metric) or Metric.SPEND
    number = METRIC.to_wire(metric)
    # Every day from the first to the last is assessed; a metric that is not among them is all unset.
    each_day = [
        next((one for one in day.metrics if one.metric == number), pb.MetricAssessment())
        for day in report.days
    ]

    def values(
        field: Literal["observed", "expected", "expected_range"], part: str = ""
    ) -> list[float | None]:
        known = [getattr(one, field) if one.HasField(field) else None for one in each_day]
        return [getattr(one, part) if part and one is not None else one for one in known]

    began, ended = _first(incident), calendar_day(incident.last_date, "last_date")
    dates = [calendar_day(one.date, "date") for one in report.days]
    marks = tuple(
        content.Mark(at, one.observed, day.summary)
        for at, day, one in zip(dates, report.days, each_day, strict=True)
        if day.anomalous and (began <= at <= ended or day.main_metric == number)
    )
    label = METRIC_LABELS.get(metric, metric)
    return content.Chart(
        label.capitalize(),
        unit(metric, context.currency),
        dates[0],
        (
            content.Line(label, values("observed")),
            content.Line("expected", values("expected"), content.Look.EXPECTED),
        ),
        (
            content.Band(
                "expected range at the threshold",
                values("expected_range", "lower"),
                values("expected_range", "upper"),
            ),
        ),
        marks,
    )
