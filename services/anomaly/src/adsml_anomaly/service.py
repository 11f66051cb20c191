"""AnomalyService: every question of the contract is answered here, whatever door it came by."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.serving import paging
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.serving.messages import (
    ENTITY_TYPE,
    day,
    day_message,
    entity_ref,
    entity_ref_message,
    optional_day,
)
from adsml_common.serving.validation import entry_violations

from adsml_anomaly import decoding, encoding
from adsml_anomaly.account import AccountContext
from adsml_anomaly.assessor import Assessment, Assessor, Outcome
from adsml_anomaly.incident_store import IncidentStore
from adsml_anomaly.models.point_detection import assess_points
from adsml_anomaly.models.results import DayAssessment, Incident, Threshold
from adsml_anomaly.models.thresholds import DEFAULT_FALSE_ALARMS, Judgement
from adsml_anomaly.resolver import Provenance

ACCOUNT_DAYS: Final = 14
"""Days that an account is looked at where the request says no first one."""
_POINTS_METHOD: Final = "robust_seasonal_smoothing"
T = TypeVar("T", DayAssessment, Incident)


class AnomalyService:
    """Answers by entities' own models, by profiles of their level or account, or by the rows sent."""

    def __init__(
        self,
        assessor: Assessor,
        feedback: FeedbackRecorder,
        incidents: IncidentStore,
        tokens: paging.PageTokens,
    ) -> None:
        self._assessor = assessor
        self._feedback = feedback
        self._incidents = incidents
        self._tokens = tokens

    def DetectAnomalies(  # named as in the contract, here and below
        self, request: pb.DetectAnomaliesRequest, context: CallContext
    ) -> pb.DetectAnomaliesResponse:
        """Assess one series."""
        context.check_cancelled()
        subject = request.subject
        if subject.WhichOneof("source") != "entity":
            return pb.DetectAnomaliesResponse(report=self._sent(subject, request.options, "subject"))
        ref = entity_ref(subject.entity, "subject.entity")
        account, outcomes = self._assessor.stored(
            ref.config_id, [ref], decoding.options(request.options, ref)
        )
        outcome = outcomes[ref]
        if isinstance(outcome, AdsmlError):
            raise outcome
        return pb.DetectAnomaliesResponse(report=_report(outcome, subject, account))

    def BatchDetectAnomalies(
        self, request: pb.BatchDetectAnomaliesRequest, context: CallContext
    ) -> pb.BatchDetectAnomaliesResponse:
        """Assess many series: one pass per account, one result per series, and what happened by cause."""
        results: dict[int, pb.BatchDetectAnomaliesResult] = {}
        accounts: defaultdict[int, dict[int, EntityRef]] = defaultdict(dict)
        wrong = entry_violations(request.subjects, "subjects")
        for i, subject in enumerate(request.subjects):
            if i in wrong:
                results[i] = _result(subject, InvalidInput(wrong[i]))
            elif subject.WhichOneof("source") == "entity":
                ref = entity_ref(subject.entity, f"subjects[{i}].entity")
                accounts[ref.config_id][i] = ref
            else:
                context.check_cancelled()
                try:
                    results[i] = _result(subject, self._sent(subject, request.options, f"subjects[{i}]"))
                except AdsmlError as error:
                    results[i] = _result(subject, error)
        incidents: list[Incident] = []
        for config_id, refs in accounts.items():
            context.check_cancelled()
            asked = decoding.options(request.options)
            try:
                account, outcomes = self._assessor.stored(
                    config_id, list(dict.fromkeys(refs.values())), asked
                )
                grouped = self._assessor.grouped(account, outcomes, asked)
            except AdsmlError as error:
                results |= {i: _result(request.subjects[i], error) for i in refs}
                continue
            incidents += grouped
            named = _under_causes(outcomes, grouped)
            for i, ref in refs.items():
                subject, outcome = request.subjects[i], named[ref]
                told = outcome if isinstance(outcome, AdsmlError) else _report(outcome, subject, account)
                results[i] = _result(subject, told)
        return pb.BatchDetectAnomaliesResponse(
            results=[results[i] for i in range(len(request.subjects))],
            incidents=[encoding.incident(one) for one in incidents],
        )

    def DetectAccountAnomalies(
        self, request: pb.DetectAccountAnomaliesRequest, context: CallContext
    ) -> pb.DetectAccountAnomaliesResponse:
        """What happened in an account, by cause."""
        context.check_cancelled()
        config_id, reader = request.config_id, self._assessor.reader
        asked = decoding.options(request.options)
        last = reader.metrics.last_date(config_id)
        if last is None:
            raise NotFound(f"account {config_id} has no daily rows; import some first")
        as_of = asked.options.last_date or last
        first = asked.options.first_date or as_of - timedelta(days=ACCOUNT_DAYS - 1)
        asked = replace(
            asked, options=replace(asked.options, first_date=first, last_date=as_of, anomalous_only=True)
        )
        level = ENTITY_TYPE.find(request.entity_type)
        refs = [one.ref for one in reader.entities.list(config_id, entity_type=level)]
        account, outcomes = self._assessor.stored(config_id, refs, asked)
        context.check_cancelled()
        grouped = self._assessor.grouped(account, outcomes, asked)
        assessed = [one for one in outcomes.values() if isinstance(one, Assessment)]
        stopped = sum(one.report.delivery is not None and one.report.delivery.stopped for one in assessed)
        out = pb.DetectAccountAnomaliesResponse(
            incidents=[encoding.incident(one) for one in grouped],
            first_date=day_message(first),
            as_of_date=day_message(as_of),
            account_last_date=day_message(last),
            assessed_count=len(assessed),
            skipped_count=len(outcomes) - len(assessed),
            stopped_count=stopped,
            warnings=encoding.stale(last, as_of),
            currency_code=account.currency,
        )
        if request.include_reports:
            for ref, outcome in _under_causes(outcomes, grouped).items():
                if isinstance(outcome, Assessment) and outcome.report.incidents:
                    subject = pb.DetectionSubject(entity=entity_ref_message(ref))
                    out.reports.append(_report(outcome, subject, account))
        return out

    def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: CallContext
    ) -> pb.ListIncidentsResponse:
        """A page of what the nightly scan keeps of an account."""
        size = paging.page_size(request)
        position = self._tokens.open(request, context)
        after = int(position[0]) if position is not None else 0
        found = self._incidents.page(
            request.config_id,
            state=encoding.STATE.find(request.state),
            since=optional_day(request, "since_date", "since_date"),
            after=after,
            size=size + 1,
        )
        scan_date = self._incidents.scan_date(request.config_id)
        return pb.ListIncidentsResponse(
            incidents=[one.message for one in found[:size]],
            next_page_token=self._tokens.seal(request, [after + size], context) if len(found) > size else "",
            scan_date=day_message(scan_date) if scan_date is not None else None,
            currency_code=self._assessor.reader.currency(request.config_id),
        )

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Store a person's judgement; the entity's threshold moves with it, and its open incident is acknowledged."""
        ref = entity_ref(request.feedback.entity, "feedback.entity")
        judgement = decoding.JUDGEMENT.from_wire(request.judgement, "judgement")
        before = self._assessor.threshold(ref)
        recorded = self._feedback.record(request.feedback, judgement.value, context)
        self._incidents.acknowledge(
            ref,
            day(request.feedback.date, "feedback.date"),
            judgement,
            person=request.feedback.person or context.caller.identity,
            at=datetime.now(UTC),
        )
        out = pb.RecordFeedbackResponse(
            receipt=recorded.receipt,
            threshold_before=encoding.threshold(before),
            threshold_after=encoding.threshold(self._assessor.threshold(ref)),
        )
        if recorded.replaced_label is not None:
            out.replaced_judgement = decoding.JUDGEMENT.to_wire(Judgement(recorded.replaced_label))  # type: ignore[assignment]  # an enum's number
        return out

    # -- inside ----------------------------------------------------------------------------------------------

    def _sent(
        self, subject: pb.DetectionSubject, options: pb.DetectionOptions, path: str
    ) -> pb.AnomalyReport:
        if subject.WhichOneof("source") == "points":
            return _points(subject, options, f"{path}.points")
        path = f"{path}.inline"
        ref, days = decoding.inline_series(subject.inline, path)
        account, assessment = self._assessor.inline(ref, days, decoding.options(options, ref), what=path)
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
        threshold=Threshold(DEFAULT_FALSE_ALARMS if rate is None else rate),
        anomalous_only=options.anomalous_only,
    )
    by = Provenance(None, False, _POINTS_METHOD, "points are judged by the points before them")
    return encoding.report(report, by, decoding.subject_ref(subject))


def _report(
    outcome: Assessment, subject: pb.DetectionSubject, account: AccountContext | None
) -> pb.AnomalyReport:
    entity = decoding.subject_ref(subject)
    if account is None:
        return encoding.report(outcome.report, outcome.provenance, entity)
    out = encoding.report(
        outcome.report,
        outcome.provenance,
        entity,
        account_last=account.last_day,
        currency=account.currency,
    )
    out.warnings.extend(encoding.stale(account.last_day, account.as_of))
    return out


def _result(
    subject: pb.DetectionSubject, told: pb.AnomalyReport | AdsmlError
) -> pb.BatchDetectAnomaliesResult:
    entity = decoding.subject_ref(subject)
    if isinstance(told, AdsmlError):
        return pb.BatchDetectAnomaliesResult(entity=entity, error=status_of(told))
    return pb.BatchDetectAnomaliesResult(entity=entity, report=told)


def _under_causes(
    outcomes: Mapping[EntityRef, Outcome], grouped: Sequence[Incident]
) -> Mapping[EntityRef, Outcome]:
    """Outcomes whose incidents and days carry the id of their cause."""
    causes = {leaf.incident_id: one.incident_id for one in grouped for leaf in one.children}
    out = dict(outcomes)

    def under(several: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(
            replace(one, incident_id=causes.get(one.incident_id, one.incident_id)) for one in several
        )

    for ref, outcome in outcomes.items():
        if isinstance(outcome, Assessment) and any(
            one.incident_id in causes for one in outcome.report.incidents
        ):
            report = outcome.report
            report = replace(report, days=under(report.days), incidents=under(report.incidents))
            out[ref] = replace(outcome, report=report)
    return out
