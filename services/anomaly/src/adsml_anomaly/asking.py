"""`adsml anomalies`: the service's own answers, from a server or worked out here."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2
from adsml_client import CallError, connect
from adsml_common.collecting import collector_paused
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import NotFound, Unavailable
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import METRIC, day_message, entity_ref_message
from adsml_common.settings import load_settings
from adsml_common.store.entities import EntityStore

from adsml_anomaly.server import open_servicer
from adsml_anomaly.settings import AnomalySettings

BATCH: Final = 1000
"""The contract's most."""


def ask(
    config_id: int,
    entity_type: EntityType | None,
    *,
    entity_ids: Sequence[str] | None,
    first_date: date | None,
    last_date: date | None,
    false_alarms: float | None,
    everything: bool,
    server: str | None,
) -> list[dict[str, Any]]:
    """Ask for the anomalies of stored entities.

    Returns
    -------
    list of dict
        One for each entity: ``entity_type``, ``entity_id`` and either ``error``, or days, incidents and what
        answered. Without `everything`, only days that are anomalous.

    Raises
    ------
    NotFound
        The account has no such entities.
    Unavailable
        The server does not answer.
    """
    options = pb.DetectionOptions(anomalous_only=not everything)
    if first_date is not None:
        options.first_date.CopyFrom(day_message(first_date))
    if last_date is not None:
        options.last_date.CopyFrom(day_message(last_date))
    if false_alarms is not None:
        options.false_alarms_per_month = false_alarms
    opened = open_servicer(load_settings(AnomalySettings))
    try:
        refs = _refs(EntityStore(opened.database), config_id, entity_type, entity_ids)
        requests = [
            pb.BatchDetectAnomaliesRequest(
                series=[
                    pb.SeriesSource(entity=entity_ref_message(ref)) for ref in refs[start : start + BATCH]
                ],
                options=options,
            )
            for start in range(0, len(refs), BATCH)
        ]
        if server is None:
            with collector_paused():
                answers = [opened.service.BatchDetectAnomalies(one, CallContext()) for one in requests]
        else:
            answers = _remote(server, requests)
    finally:
        opened.close()
    results = [result for answer in answers for result in answer.results]
    return [_plain(ref, result) for ref, result in zip(refs, results, strict=True)]


def _refs(
    store: EntityStore, config_id: int, level: EntityType | None, ids: Sequence[str] | None
) -> list[EntityRef]:
    if ids and level is not None:
        return [EntityRef(config_id, level, one) for one in ids]
    found = [one.ref for one in store.list(config_id, entity_type=level, entity_ids=ids)]
    if not found:
        what = level.value if level is not None else "entity"
        raise NotFound(f"account {config_id} has no such {what}; import some first, or choose another level")
    return found


def _remote(
    server: str, requests: Sequence[pb.BatchDetectAnomaliesRequest]
) -> list[pb.BatchDetectAnomaliesResponse]:
    with connect(server) as connection:
        stub = pb_grpc.AnomalyServiceStub(connection.channel)
        try:
            return [connection.call(stub.BatchDetectAnomalies, request) for request in requests]
        except CallError as error:
            raise Unavailable(f"{server}: {error}") from None


def _plain(ref: EntityRef, result: pb.BatchDetectAnomaliesResult) -> dict[str, Any]:
    key = {"entity_type": ref.entity_type.value, "entity_id": ref.entity_id}
    if result.WhichOneof("result") == "error":
        return {**key, "error": result.error.message}
    report = result.report
    by = report.answered_by
    return {
        **key,
        "days": [_day(one) for one in report.days],
        "incidents": [
            {
                "incident_id": one.incident_id,
                "first_date": _iso(one.first_date),
                "last_date": _iso(one.last_date),
                "severity": pb.Severity.Name(one.severity).removeprefix("SEVERITY_"),
                "ongoing": one.ongoing,
                "summary": one.summary,
            }
            for one in report.incidents
        ],
        "false_alarms_per_month": report.threshold.false_alarms_per_month,
        "source": answer_pb2.AnswerSource.Name(by.source).removeprefix("ANSWER_SOURCE_"),
        "model": f"{by.model.name} v{by.model.version}" if by.HasField("model") else by.method,
        "degradations": [f"{one.dependency}: {one.detail}" for one in report.degradations],
        "warnings": list(report.warnings),
    }


def _day(one: pb.DayAssessment) -> dict[str, Any]:
    scores = one.scores
    return {
        "date": _iso(one.date),
        "anomalous": one.anomalous,
        "p_value": one.p_value if one.HasField("p_value") else None,
        "scores": {
            name: getattr(scores, name) if scores.HasField(name) else None
            for name in ("isolation_forest", "max_robust_z", "mahalanobis")
        },
        "severity": pb.Severity.Name(one.severity).removeprefix("SEVERITY_"),
        "direction": pb.Direction.Name(one.direction).removeprefix("DIRECTION_"),
        "metrics": [_metric(m) for m in one.metrics],
        "rules": [pb.AlarmRule.Name(alarm.rule).removeprefix("ALARM_RULE_") for alarm in one.rule_alarms],
        "excluded": one.excluded,
        "exclusion_reason": one.exclusion_reason,
        "summary": one.summary,
    }


def _metric(one: pb.MetricAssessment) -> dict[str, Any]:
    metric = METRIC.find(one.metric)
    ranged = one.HasField("expected_range")
    return {
        "metric": metric.value if metric is not None else None,
        "observed": one.observed if one.HasField("observed") else None,
        "expected": one.expected if one.HasField("expected") else None,
        "lower": one.expected_range.lower if ranged else None,
        "upper": one.expected_range.upper if ranged else None,
        "robust_z": one.robust_z if one.HasField("robust_z") else None,
        "attribution": one.attribution,
        "gate": one.gate,
    }


def _iso(day: Any) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02}"
