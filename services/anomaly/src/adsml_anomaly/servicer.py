"""AnomalyService: convert, judge, convert."""

from collections import defaultdict
from datetime import UTC, datetime

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.domain.errors import AdsmlError, InvalidInput
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import day, entity_ref, instant_message, series_frame
from adsml_common.store.feedback import Feedback, FeedbackStore

from adsml_anomaly import converters
from adsml_anomaly.answering import Answer, By, Detector
from adsml_anomaly.channels import calendar
from adsml_anomaly.naming import FAMILY
from adsml_anomaly.point_report import assess_points
from adsml_anomaly.report import Threshold
from adsml_anomaly.thresholds import DEFAULT_FALSE_ALARMS, Judgement

_ANONYMOUS = "is empty and the call carries no identity; say who judges"
_POINTS_METHOD = "robust_seasonal_smoothing"


class AnomalyServicer:
    """Answers by entities' own models, by profiles of their level or account, or by the rows sent.

    Parameters
    ----------
    detector
        Judges series.
    feedback
        Where judgements go.
    """

    def __init__(self, detector: Detector, feedback: FeedbackStore) -> None:
        self._detector = detector
        self._feedback = feedback
        self._validator = validation

    def DetectAnomalies(
        self, request: pb.DetectAnomaliesRequest, context: CallContext
    ) -> pb.DetectAnomaliesResponse:
        """Judge one series."""
        context.check_cancelled()
        if request.series.WhichOneof("source") != "entity":
            return pb.DetectAnomaliesResponse(report=self._sent(request.series, request.options, "series"))
        ref = entity_ref(request.series.entity, "series.entity")
        [found] = self._detector.stored(ref.config_id, [ref], converters.options(request.options, ref))
        if isinstance(found, AdsmlError):
            raise found
        return pb.DetectAnomaliesResponse(report=_told(found, request.series))

    def BatchDetectAnomalies(
        self, request: pb.BatchDetectAnomaliesRequest, context: CallContext
    ) -> pb.BatchDetectAnomaliesResponse:
        """Judge many series: one pass per account, one result per series."""
        results: list[pb.BatchDetectAnomaliesResult | None] = [None] * len(request.series)
        accounts: defaultdict[int, list[int]] = defaultdict(list)
        options = converters.options(request.options)
        for index, source in enumerate(request.series):
            found = self._validator.violations(source, f"series[{index}]")
            if found:
                results[index] = _failed(source, InvalidInput(found))
            elif source.WhichOneof("source") == "entity":
                accounts[source.entity.config_id].append(index)
            else:
                context.check_cancelled()
                try:
                    report = self._sent(source, request.options, f"series[{index}]")
                    results[index] = pb.BatchDetectAnomaliesResult(entity=report.entity, report=report)
                except AdsmlError as error:
                    results[index] = _failed(source, error)
        for config_id, indices in accounts.items():
            context.check_cancelled()
            refs = [entity_ref(request.series[i].entity, f"series[{i}].entity") for i in indices]
            for i, one in zip(indices, self._detector.stored(config_id, refs, options), strict=True):
                source = request.series[i]
                results[i] = (
                    _failed(source, one)
                    if isinstance(one, AdsmlError)
                    else pb.BatchDetectAnomaliesResult(entity=source.entity, report=_told(one, source))
                )
        return pb.BatchDetectAnomaliesResponse(results=[one for one in results if one is not None])

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Store a person's judgement; the entity's threshold moves with it."""
        person = request.person or context.caller.identity
        if not person:
            raise InvalidInput.at("person", _ANONYMOUS)
        ref = entity_ref(request.entity, "entity")
        judged = Feedback(
            family=FAMILY,
            entity=ref,
            date=day(request.date, "date"),
            person=person,
            label=converters.JUDGEMENT.from_wire(request.judgement, "judgement").value,
            note=request.note or None,
            recorded_at=datetime.now(UTC),
        )
        self._detector.require(ref)
        before, earlier = self._detector.threshold(ref), self._word(judged)
        changed = self._feedback.record(judged)
        counts = self._word(judged) or judged
        out = pb.RecordFeedbackResponse(
            recorded_time=instant_message(counts.recorded_at),
            changed=changed,
            threshold_before=converters.threshold(before),
            threshold_after=converters.threshold(self._detector.threshold(ref)),
        )
        if changed and earlier is not None:
            out.replaced_judgement = converters.JUDGEMENT.to_wire(Judgement(earlier.label))  # type: ignore[assignment]  # an enum's number
        return out

    # -- inside ----------------------------------------------------------------------------------------------

    def _sent(self, source: pb.SeriesSource, asked: pb.DetectionOptions, path: str) -> pb.AnomalyReport:
        if source.WhichOneof("source") == "points":
            return self._points(source, asked, f"{path}.points")
        frame = series_frame(source.inline, f"{path}.inline")
        ref = converters.inline_ref(source.inline)
        days = calendar(frame)
        found = self._detector.sent(ref, days, converters.options(asked, ref), what=f"{path}.inline")
        return _told(found, source)

    @staticmethod
    def _points(source: pb.SeriesSource, asked: pb.DetectionOptions, path: str) -> pb.AnomalyReport:
        if asked.metrics:
            raise InvalidInput.at("options.metrics", "must be empty for points: they are one measure")
        if asked.HasField("first_date") or asked.HasField("last_date"):
            raise InvalidInput.at("options.first_date", "is for daily rows; every point is assessed")
        seconds, values = converters.points(source.points, path)
        rate = converters.sensitivity(asked)
        found = assess_points(
            source.points.name,
            seconds,
            values,
            season_length=source.points.season_length if source.points.HasField("season_length") else None,
            threshold=Threshold(DEFAULT_FALSE_ALARMS if rate is None else rate),
            anomalous_only=asked.anomalous_only,
        )
        by = By(
            None, pooled=False, method=_POINTS_METHOD, reason="points are judged by the points before them"
        )
        return converters.report(found, by, converters.echo(source))

    def _word(self, judged: Feedback) -> Feedback | None:
        """What this person's last word on this entity and day is."""
        spoken = self._feedback.history(
            FAMILY,
            judged.entity.config_id,
            entity_type=judged.entity.entity_type,
            entity_ids=[judged.entity.entity_id],
            start=judged.date,
            end=judged.date,
        )
        return next((one for one in reversed(spoken) if one.person == judged.person), None)


def _told(found: Answer, source: pb.SeriesSource) -> pb.AnomalyReport:
    return converters.report(found.report, found.by, converters.echo(source))


def _failed(source: pb.SeriesSource, error: AdsmlError) -> pb.BatchDetectAnomaliesResult:
    return pb.BatchDetectAnomaliesResult(entity=converters.echo(source), error=status_of(error))
