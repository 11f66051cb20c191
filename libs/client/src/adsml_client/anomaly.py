"""Which days of an entity are out of line, how much, and in which metric."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as pb_grpc
from google.protobuf import timestamp_pb2

from adsml_client import wire
from adsml_client.connection import Connection, Metadata
from adsml_client.errors import CallError, error_of_status
from adsml_client.values import AnsweredBy, Batch, Change, Degradation, EntityRef, Interval, Series

if TYPE_CHECKING:
    import pandas as pd

_BATCH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Points:
    """Equally spaced values of one measure; times carry a zone, None is not known."""

    times: Sequence[dt.datetime]
    values: Sequence[float | None]
    name: str = ""
    season_length: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a detection beside the series; None is the service's default.

    Attributes
    ----------
    first_date, last_date
        The days to assess.
    false_alarms_per_month, contamination
        How eager to alarm; at most one of them.
    metrics
        To look at; empty: all.
    excluded_dates
        Days without alarms.
    changes
        Known changes that explain a jump.
    exclude_explained_by_change
        Raise no alarm for a jump that a change explains.
    anomalous_only
        Leave ordinary days out of the answer.
    """

    first_date: dt.date | None = None
    last_date: dt.date | None = None
    false_alarms_per_month: float | None = None
    contamination: float | None = None
    metrics: Sequence[str] = ()
    excluded_dates: Sequence[dt.date] = ()
    changes: Sequence[Change] = ()
    exclude_explained_by_change: bool = False
    anomalous_only: bool = False


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """One metric of one day; `gate` says why it could raise no alarm."""

    metric: str
    observed: float | None
    expected: float | None
    expected_range: Interval | None
    robust_z: float | None
    direction: str
    attribution: float
    gate: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """One day (or point).

    Attributes
    ----------
    date, time
        Which; the one that does not apply is None.
    anomalous
        Whether there is an alarm.
    p_value
        Share of clean held-out days at least as strange; None where it could not be scored.
    scores
        ``isolation_forest``, ``max_robust_z``, ``mahalanobis``; None where not computed.
    severity, direction
        ``"low"`` to ``"critical"``; ``"up"``, ``"down"``, ``"relation"``; ``""`` for none.
    metrics
        The most to blame first.
    rules
        Fixed rules that alarmed, in words.
    excluded, exclusion_reason
        Whether and why no alarm was raised.
    summary
        For a person.
    """

    date: dt.date | None
    time: dt.datetime | None
    anomalous: bool
    p_value: float | None
    scores: dict[str, float | None]
    severity: str
    direction: str
    metrics: list[MetricAssessment]
    rules: list[str]
    excluded: bool
    exclusion_reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one series; `threshold` is the p-value at which a day counts as anomalous."""

    entity: EntityRef
    days: list[Assessment]
    threshold: float
    false_alarms_per_month: float
    answered_by: AnsweredBy
    degradations: list[Degradation]
    warnings: list[str]

    def anomalies(self) -> list[Assessment]:
        """The alarms."""
        return [one for one in self.days if one.anomalous]

    def frame(self) -> "pd.DataFrame":
        """One row per day; needs pandas (``adsml-client[frames]``)."""
        import pandas as pd  # noqa: PLC0415 - an extra

        return pd.DataFrame(
            [
                {
                    "date": one.date or one.time,
                    "anomalous": one.anomalous,
                    "p_value": one.p_value,
                    "severity": one.severity,
                    "direction": one.direction,
                    **one.scores,
                    "summary": one.summary,
                }
                for one in self.days
            ]
        )


class AnomalyClient:
    """Calls an anomaly service.

    Parameters
    ----------
    connection
        To it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.AnomalyServiceStub(connection.channel)

    def detect_anomalies(
        self,
        series: EntityRef | Series | Points,
        *,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Report:
        """Assess the days of one series.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.DetectAnomaliesRequest(series=_source(series), options=_options(options))
        answer = self._connection.call(
            self._stub.DetectAnomalies, request, timeout=timeout, metadata=metadata
        )
        return report(answer.report)

    def batch_detect_anomalies(
        self,
        series: Sequence[EntityRef | Series | Points],
        *,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Batch[Report]:
        """Assess many series; each fails alone.

        Raises
        ------
        CallError
            The batch as a whole failed.
        """

        def send(part: Sequence[EntityRef | Series | Points]) -> Batch[Report]:
            request = pb.BatchDetectAnomaliesRequest(
                series=[_source(one) for one in part], options=_options(options)
            )
            answer = self._connection.call(
                self._stub.BatchDetectAnomalies, request, timeout=timeout or _BATCH_SECONDS, metadata=metadata
            )
            return Batch([_result(one) for one in answer.results], wire.degradations(answer.degradations))

        return wire.in_chunks(series, send)

    def record_feedback(
        self,
        entity: EntityRef,
        date: dt.date,
        judgement: str,
        *,
        person: str = "",
        note: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> bool:
        """Record a ``"true_alarm"``, ``"false_alarm"`` or ``"missed_alarm"``; it moves the threshold.

        Returns
        -------
        bool
            Whether it was news.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.RecordFeedbackRequest(
            entity=wire.entity_message(entity),
            date=wire.day_message(date),
            judgement=wire.number(pb.AlarmJudgement, "ALARM_JUDGEMENT_", judgement),
            person=person,
            note=note,
        )
        answer = self._connection.call(self._stub.RecordFeedback, request, timeout=timeout, metadata=metadata)
        return answer.changed


def report(message: pb.AnomalyReport) -> Report:
    """A report as it came."""
    return Report(
        entity=wire.entity(message.entity),
        days=[_assessment(one) for one in message.days],
        threshold=message.threshold.p_value,
        false_alarms_per_month=message.threshold.false_alarms_per_month,
        answered_by=wire.answered_by(message.answered_by),
        degradations=wire.degradations(message.degradations),
        warnings=list(message.warnings),
    )


def _assessment(message: pb.DayAssessment) -> Assessment:
    return Assessment(
        date=wire.optional_day(message, "date"),
        time=wire.instant(message, "time"),
        anomalous=message.anomalous,
        p_value=wire.optional(message, "p_value"),
        scores={
            name: wire.optional(message.scores, name)
            for name in ("isolation_forest", "max_robust_z", "mahalanobis")
        },
        severity=wire.word(pb.Severity, "SEVERITY_", message.severity),
        direction=_direction(message.direction),
        metrics=[
            MetricAssessment(
                wire.metric(one.metric),
                wire.optional(one, "observed"),
                wire.optional(one, "expected"),
                wire.interval(one, "expected_range"),
                wire.optional(one, "robust_z"),
                _direction(one.direction),
                one.attribution,
                one.gate,
            )
            for one in message.metrics
        ],
        rules=[one.message for one in message.rule_alarms],
        excluded=message.excluded,
        exclusion_reason=message.exclusion_reason,
        summary=message.summary,
    )


def _result(message: pb.BatchDetectAnomaliesResult) -> Report | CallError:
    if message.WhichOneof("result") == "error":
        return error_of_status(message.error)
    return report(message.report)


def _source(series: EntityRef | Series | Points) -> pb.SeriesSource:
    if isinstance(series, EntityRef):
        return pb.SeriesSource(entity=wire.entity_message(series))
    if isinstance(series, Series):
        return pb.SeriesSource(inline=wire.series_message(series))
    points = pb.PointSeries(name=series.name, season_length=series.season_length)
    for time, value in zip(series.times, series.values, strict=True):
        stamp = timestamp_pb2.Timestamp()
        stamp.FromDatetime(time)
        points.points.add(time=stamp, value=value)
    return pb.SeriesSource(points=points)


def _options(options: Options | None) -> pb.DetectionOptions | None:
    if options is None:
        return None
    if options.false_alarms_per_month is not None and options.contamination is not None:
        raise ValueError("give false_alarms_per_month or contamination, not both")
    out = pb.DetectionOptions(
        first_date=None if options.first_date is None else wire.day_message(options.first_date),
        last_date=None if options.last_date is None else wire.day_message(options.last_date),
        metrics=[wire.metric_number(one) for one in options.metrics],
        excluded_dates=[wire.day_message(one) for one in options.excluded_dates],
        changes=[wire.change_message(one) for one in options.changes],
        exclude_explained_by_change=options.exclude_explained_by_change,
        anomalous_only=options.anomalous_only,
    )
    if options.false_alarms_per_month is not None:
        out.false_alarms_per_month = options.false_alarms_per_month
    if options.contamination is not None:
        out.contamination = options.contamination
    return out


def _direction(value: int) -> str:
    return wire.word(pb.Direction, "DIRECTION_", value)
