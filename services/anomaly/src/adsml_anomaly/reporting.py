"""The anomaly family's part of `adsml report`: recent alarms, each on its series with the expected range."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_client.anomaly import Assessment, MetricAssessment, Report, report
from adsml_client.values import Interval
from adsml_common.domain.entities import EntityRef
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day_message, entity_ref_message
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
from adsml_report.wording import LEVELS, METRIC_LABELS, METRIC_UNITS, day

from adsml_anomaly.server import open_servicer
from adsml_anomaly.servicer import AnomalyServicer
from adsml_anomaly.settings import AnomalySettings

_BATCH: Final = 1000
"""The contract's most."""
_LOOKED_AT: Final = 14
_DRAWN: Final = 42
_PICTURES: Final = 2
_TONE: Final = {"critical": Tone.BAD, "high": Tone.BAD, "medium": Tone.POOR, "low": Tone.FAIR}
_ORDER: Final = ("critical", "high", "medium", "low", "")


@dataclass(frozen=True, slots=True)
class _Alarm:
    """One anomalous day of one entity, and what judged it."""

    ref: EntityRef
    on: date
    told: Assessment
    by: str

    @property
    def urgency(self) -> tuple[int, int, EntityRef]:
        """The newest first, and among those the worst."""
        return (-self.on.toordinal(), _ORDER.index(self.told.severity), self.ref)


def sections(context: ReportContext) -> Iterator[Section]:
    """The alarms of the last two weeks, the newest and worst first."""
    refs = context.tree.refs()
    first = context.last_day - timedelta(days=_LOOKED_AT - 1)
    since = max(context.first_day, context.last_day - timedelta(days=_DRAWN - 1))
    opened = open_servicer(load_settings(AnomalySettings))
    try:
        found = list(_detect(opened.service, refs, first, context.last_day, anomalous_only=True))
        alarms = sorted(_alarms(found), key=lambda alarm: alarm.urgency)
        those = list(dict.fromkeys(alarm.ref for alarm in alarms))
        shown = those[: context.most]
        whole = dict(_detect(opened.service, shown, since, context.last_day, anomalous_only=False))
    finally:
        opened.close()
    blocks: list[Block] = []
    if alarms:
        blocks.append(_table(context, alarms))
    else:
        blocks.append(Note(f"No alarm since {day(first)}."))
    if len(found) < len(refs):
        blocks.append(
            Note(f"{len(refs) - len(found)} of {len(refs)} entities have too few days to be judged.")
        )
    blocks += [
        _entry(context, ref, whole[ref], [alarm for alarm in alarms if alarm.ref == ref])
        for ref in shown
        if ref in whole
    ]
    if len(those) > len(shown):
        blocks.append(Note(f"Pictures of {len(shown)} of {len(those)} entities; --most draws more."))
    rates = Counter(answer.false_alarms_per_month for _, answer in found)
    asked_for = (
        f" The threshold is set for {rates.most_common(1)[0][0]:g} false alarm(s) per entity and 30 days."
        if rates
        else ""
    )
    yield Section(
        "alarms",
        "Alarms",
        f"Days among the last {_LOOKED_AT} that are out of line with what was to be expected, by how much, and in "
        f"which metric.{asked_for}",
        tuple(blocks),
    )


def _detect(
    servicer: AnomalyServicer, refs: Sequence[EntityRef], first: date, last: date, *, anomalous_only: bool
) -> Iterator[tuple[EntityRef, Report]]:
    """Reports of those that could be judged."""
    options = pb.DetectionOptions(
        first_date=day_message(first), last_date=day_message(last), anomalous_only=anomalous_only
    )
    for start in range(0, len(refs), _BATCH):
        part = refs[start : start + _BATCH]
        request = pb.BatchDetectAnomaliesRequest(
            series=[pb.SeriesSource(entity=entity_ref_message(ref)) for ref in part], options=options
        )
        answer = servicer.BatchDetectAnomalies(request, CallContext())
        for ref, result in zip(part, answer.results, strict=True):
            if result.WhichOneof("result") == "report":
                yield ref, report(result.report)


def _alarms(found: Sequence[tuple[EntityRef, Report]]) -> Iterator[_Alarm]:
    for ref, answer in found:
        model = answer.answered_by.model
        by = f"{model.name} v{model.version}" if model is not None else answer.answered_by.method
        for one in answer.anomalies():
            if one.date is not None:
                yield _Alarm(ref, one.date, one, by)


def _chip(alarm: _Alarm) -> Chip:
    return Chip(alarm.told.severity or "alarm", _TONE.get(alarm.told.severity, Tone.PLAIN))


def _table(context: ReportContext, alarms: Sequence[_Alarm]) -> Table:
    rows = tuple(
        Row(
            (
                day(alarm.on),
                f"{context.tree.label(alarm.ref)} ({LEVELS[alarm.ref.entity_type]})",
                _chip(alarm),
                alarm.told.summary,
                alarm.by,
            ),
            context.tree.campaign(alarm.ref),
        )
        for alarm in alarms
    )
    return Table(
        f"Alarms of the last {_LOOKED_AT} days, newest first",
        ("day", "entity", "severity", "what", "judged by"),
        rows,
    )


def _entry(context: ReportContext, ref: EntityRef, answer: Report, alarms: Sequence[_Alarm]) -> Entry:
    newest = alarms[0]
    blamed = Counter(
        metric.metric for alarm in alarms for metric in alarm.told.metrics[:1] if metric.metric
    ) or Counter(["spend"])
    charts = tuple(
        _chart(metric, answer, [one for one in answer.days if one.date in {alarm.on for alarm in alarms}])
        for metric, _ in blamed.most_common(_PICTURES)
    )
    return Entry(
        f"{context.tree.label(ref)} ({LEVELS[ref.entity_type]})",
        f"{newest.on:%d %b}: {newest.told.summary}",
        charts,
        _chip(newest),
        context.tree.campaign(ref),
    )


def _chart(metric: str, answer: Report, alarmed: Sequence[Assessment]) -> Chart:
    """The metric as it was, as it was to be expected, and the days that raised an alarm."""
    told: dict[date, tuple[Assessment, MetricAssessment]] = {
        one.date: (one, two)
        for one in answer.days
        for two in one.metrics
        if one.date and two.metric == metric
    }
    days = sorted({one.date for one in answer.days if one.date is not None})
    first = days[0]
    span = [first + timedelta(days=step) for step in range((days[-1] - first).days + 1)]
    those = [told[at][1] if at in told else None for at in span]

    def end(one: MetricAssessment | None, name: str) -> float | None:
        ranged: Interval | None = one.expected_range if one is not None else None
        return None if ranged is None else float(getattr(ranged, name))

    marks = tuple(
        Mark(one.date, told[one.date][1].observed or 0.0, one.summary)
        for one in alarmed
        if one.date in told and one.date is not None
    )
    label = METRIC_LABELS.get(metric, metric)
    return Chart(
        label.capitalize(),
        METRIC_UNITS.get(metric, ""),
        first,
        (
            Line(label, [None if one is None else one.observed for one in those]),
            Line("expected", [None if one is None else one.expected for one in those], Look.EXPECTED),
        ),
        (
            Band(
                "expected range at the threshold",
                [end(one, "lower") for one in those],
                [end(one, "upper") for one in those],
            ),
        ),
        marks,
    )
