"""AnomalyService: every question of the contract is answered here, whatever door it came by."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.serving import messages, paging
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.serving.validation import entry_violations

from adsml_anomaly import decoding, encoding
from adsml_anomaly.account import AccountContext
from adsml_anomaly.assessor import Assessment, Assessor
from adsml_anomaly.incident_store import IncidentStore
from adsml_anomaly.models.points import assess_points
from adsml_anomaly.models.results import Incident, Threshold
from adsml_anomaly.models.thresholds import USUAL, Judgement
from adsml_anomaly.resolver import Provenance

ACCOUNT_DAYS: Final = 14
"""Days that an account is looked at where the request says no first one."""
_BY_POINTS: Final = Provenance(
    None, False, "robust_seasonal_smoothing", "points are judged by the points before them"
)


@dataclass(frozen=True)
class AnomalyService:
    """Answers by entities' own models, by profiles of their level or account, or by the rows sent."""

    assessor: Assessor
    feedback: FeedbackRecorder
    incidents: IncidentStore
    tokens: paging.PageTokens

    def DetectAnomalies(  # named as in the contract, here and below
        self, request: pb.DetectAnomaliesRequest, context: CallContext
    ) -> pb.DetectAnomaliesResponse:
        """Assess one series."""
        context.check_cancelled()
        subject = request.subject
        if subject.WhichOneof("source") != "entity":
            return pb.DetectAnomaliesResponse(report=self._sent(subject, request.options, "subject"))
        ref = messages.entity_ref(subject.entity, "subject.entity")
        account, outcomes = self.assessor.stored(ref.config_id, [ref], decoding.options(request.options, ref))
        outcome = outcomes[ref]
        if isinstance(outcome, AdsmlError):
            raise outcome
        return pb.DetectAnomaliesResponse(report=_report(outcome, subject, account))

    def BatchDetectAnomalies(
        self, request: pb.BatchDetectAnomaliesRequest, context: CallContext
    ) -> pb.BatchDetectAnomaliesResponse:
        """Assess many series: one pass per account, one result per series, and what happened by cause."""
        told: dict[int, pb.AnomalyReport | AdsmlError] = {}
        accounts: defaultdict[int, dict[int, EntityRef]] = defaultdict(dict)
        wrong = entry_violations(request.subjects, "subjects")
        for i, subject in enumerate(request.subjects):
            if i in wrong:
                told[i] = InvalidInput(wrong[i])
            elif subject.WhichOneof("source") == "entity":
                ref = messages.entity_ref(subject.entity, f"subjects[{i}].entity")
                accounts[ref.config_id][i] = ref
            else:
                context.check_cancelled()
                try:
                    told[i] = self._sent(subject, request.options, f"subjects[{i}]")
                except AdsmlError as error:
                    told[i] = error
        incidents: list[Incident] = []
        for config_id, refs in accounts.items():
            context.check_cancelled()
            asked = decoding.options(request.options)
            try:
                account, outcomes = self.assessor.stored(config_id, list(dict.fromkeys(refs.values())), asked)
                grouped = self.assessor.grouped(account, outcomes, asked)
            except AdsmlError as error:
                told |= dict.fromkeys(refs, error)
                continue
            incidents += grouped
            causes = _causes(grouped)
            for i, ref in refs.items():
                subject, outcome = request.subjects[i], outcomes[ref]
                if isinstance(outcome, Assessment):
                    told[i] = _report(outcome, subject, account, causes)
                else:
                    told[i] = outcome
        return pb.BatchDetectAnomaliesResponse(
            results=[_result(subject, told[i]) for i, subject in enumerate(request.subjects)],
            incidents=encoding.value(incidents),
        )

    def DetectAccountAnomalies(
        self, request: pb.DetectAccountAnomaliesRequest, context: CallContext
    ) -> pb.DetectAccountAnomaliesResponse:
        """What happened in an account, by cause."""
        context.check_cancelled()
        config_id, reader = request.config_id, self.assessor.reader
        asked = decoding.options(request.options)
        last = reader.metrics.last_date(config_id)
        if last is None:
            raise NotFound(f"account {config_id} has no daily rows; import some first")
        as_of = asked.last_date or last
        first = asked.first_date or as_of - timedelta(days=ACCOUNT_DAYS - 1)
        asked = replace(asked, first_date=first, last_date=as_of, anomalous_only=True)
        level = messages.ENTITY_TYPE.find(request.entity_type)
        refs = [one.ref for one in reader.entities.list(config_id, entity_type=level)]
        account, outcomes = self.assessor.stored(config_id, refs, asked)
        context.check_cancelled()
        grouped = self.assessor.grouped(account, outcomes, asked)
        assessed = {ref: one for ref, one in outcomes.items() if isinstance(one, Assessment)}
        deliveries = [one.report.delivery for one in assessed.values()]
        out = pb.DetectAccountAnomaliesResponse(
            incidents=encoding.value(grouped),
            first_date=messages.day_message(first),
            as_of_date=messages.day_message(as_of),
            account_last_date=messages.day_message(last),
            assessed_count=len(assessed),
            skipped_count=len(outcomes) - len(assessed),
            stopped_count=sum(one is not None and one.stopped for one in deliveries),
            warnings=encoding.stale(last, as_of),
            currency_code=account.details.currency_code or "",
        )
        if request.include_reports:
            causes = _causes(grouped)
            for ref, outcome in assessed.items():
                if outcome.report.incidents:
                    subject = pb.DetectionSubject(entity=messages.entity_ref_message(ref))
                    out.reports.append(_report(outcome, subject, account, causes))
        return out

    def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: CallContext
    ) -> pb.ListIncidentsResponse:
        """A page of what the nightly scan keeps of an account."""
        size = paging.page_size(request)
        position = self.tokens.open(request, context)
        after = int(position[0]) if position is not None else 0
        found = self.incidents.page(
            request.config_id,
            state=encoding.STATE.find(request.state),
            since=messages.optional_day(request, "since_date", "since_date"),
            after=after,
            size=size + 1,
        )
        return pb.ListIncidentsResponse(
            incidents=[one.message for one in found[:size]],
            next_page_token=self.tokens.seal(request, [after + size], context) if len(found) > size else "",
            scan_date=encoding.value(self.incidents.scan_date(request.config_id)),
            currency_code=self.assessor.reader.accounts.currency(request.config_id) or "",
        )

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Store a person's judgement; the entity's threshold moves with it, and its open incident is acknowledged."""
        ref = messages.entity_ref(request.feedback.entity, "feedback.entity")
        judgement = decoding.JUDGEMENT.from_wire(request.judgement, "judgement")
        thresholds = partial(self.assessor.reader.thresholds, ref.config_id, [ref.entity_id])
        before = thresholds()[ref]
        recorded = self.feedback.record(request.feedback, judgement.value, context)
        self.incidents.acknowledge(
            ref,
            messages.day(request.feedback.date, "feedback.date"),
            judgement,
            person=request.feedback.person or context.caller.identity,
            at=datetime.now(UTC),
        )
        replaced = recorded.replaced_label
        return pb.RecordFeedbackResponse(
            receipt=recorded.receipt,
            replaced_judgement=None if replaced is None else decoding.JUDGEMENT.to_wire(Judgement(replaced)),  # type: ignore[arg-type]  # an enum's number
            threshold_before=encoding.value(before),
            threshold_after=encoding.value(thresholds()[ref]),
        )

    # -- inside ----------------------------------------------------------------------------------------------

    def _sent(
        self, subject: pb.DetectionSubject, options: pb.DetectionOptions, path: str
    ) -> pb.AnomalyReport:
        if subject.WhichOneof("source") == "points":
            return _points(subject, options, f"{path}.points")
        path = f"{path}.inline"
        ref, days = decoding.inline_series(subject.inline, path)
        account, assessment = self.assessor.inline(ref, days, decoding.options(options, ref), what=path)
        return _report(assessment, subject, account)


def _points(subject: pb.DetectionSubject, options: pb.DetectionOptions, path: str) -> pb.AnomalyReport:
    if options.metrics:
        raise InvalidInput.at("options.metrics", "must be empty for points: they are one measure")
    if options.HasField("first_date") or options.HasField("as_of_date"):
        raise InvalidInput.at("options.first_date", "is for daily rows; every point is assessed")
    points = subject.points
    seconds, values = decoding.points(points, path)
    rate = decoding.sensitivity(options)
    report = assess_points(
        points.name,
        seconds,
        values,
        season_length=points.season_length if points.HasField("season_length") else None,
        threshold=USUAL if rate is None else Threshold(rate),
        anomalous_only=options.anomalous_only,
    )
    return encoding.report(report, _BY_POINTS, decoding.subject_ref(subject))


def _report(
    outcome: Assessment,
    subject: pb.DetectionSubject,
    account: AccountContext | None,
    causes: Mapping[str, str] = MappingProxyType({}),
) -> pb.AnomalyReport:
    """Of a series; its days and incidents carry the ids of their `causes`."""
    out = encoding.report(outcome.report, outcome.provenance, decoding.subject_ref(subject), account)
    parts: list[Any] = [*out.days, *out.incidents]
    for one in parts:
        one.incident_id = causes.get(one.incident_id, one.incident_id)
    return out


def _causes(grouped: Sequence[Incident]) -> dict[str, str]:
    """Ids of the incidents that others are part of, by theirs."""
    return {leaf.incident_id: one.incident_id for one in grouped for leaf in one.children}


def _result(
    subject: pb.DetectionSubject, told: pb.AnomalyReport | AdsmlError
) -> pb.BatchDetectAnomaliesResult:
    entity = decoding.subject_ref(subject)
    if isinstance(told, AdsmlError):
        return pb.BatchDetectAnomaliesResult(entity=entity, error=status_of(told))
    return pb.BatchDetectAnomaliesResult(entity=entity, report=told)
