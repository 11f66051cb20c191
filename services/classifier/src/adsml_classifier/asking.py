"""`adsml classify`: the service's own answers, from a server or worked out here."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2, entity_pb2
from adsml_client import CallError, connect
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import NotFound, Unavailable
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import TIER, day_message, entity_ref_message
from adsml_common.settings import load_settings
from adsml_common.store.entities import EntityStore

from adsml_classifier.server import open_servicer
from adsml_classifier.settings import ClassifierSettings

BATCH: Final = 1000
"""The contract's most."""


def ask(
    config_id: int,
    entity_type: EntityType,
    *,
    entity_ids: Sequence[str] | None,
    as_of: date | None,
    reasons: int,
    rules_only: bool,
    server: str | None,
) -> list[dict[str, Any]]:
    """Ask for the tiers of stored entities.

    Returns
    -------
    list of dict
        One for each entity: ``entity_id`` and either ``error``, or the answer.

    Raises
    ------
    NotFound
        The account has no entities of the level.
    Unavailable
        The server does not answer.
    """
    options = pb.ClassificationOptions(max_contributions=reasons, rules_only=rules_only)
    if as_of is not None:
        options.as_of_date.CopyFrom(day_message(as_of))
    opened = open_servicer(load_settings(ClassifierSettings))
    try:
        ids = list(entity_ids or _all(EntityStore(opened.database), config_id, entity_type))
        requests = [
            pb.ClassifyEntitiesRequest(
                subjects=[
                    entity_pb2.Subject(entity=entity_ref_message(EntityRef(config_id, entity_type, one)))
                    for one in ids[start : start + BATCH]
                ],
                options=options,
            )
            for start in range(0, len(ids), BATCH)
        ]
        if server is None:
            answers = [
                opened.service.ClassifyEntities(request, CallContext()).message() for request in requests
            ]
        else:
            answers = _remote(server, requests)
    finally:
        opened.close()
    results = [result for answer in answers for result in answer.results]
    return [_plain(one, result) for one, result in zip(ids, results, strict=True)]


def _all(entities: EntityStore, config_id: int, entity_type: EntityType) -> list[str]:
    found = [one.ref.entity_id for one in entities.list(config_id, entity_type=entity_type)]
    if not found:
        raise NotFound(
            f"account {config_id} has no {entity_type}; import some first, or choose another level"
        )
    return found


def _remote(server: str, requests: Sequence[pb.ClassifyEntitiesRequest]) -> list[pb.ClassifyEntitiesResponse]:
    with connect(server) as connection:
        stub = pb_grpc.ClassifierServiceStub(connection.channel)
        try:
            return [connection.call(stub.ClassifyEntities, request) for request in requests]
        except CallError as error:
            raise Unavailable(f"{server}: {error}") from None


def _plain(entity_id: str, result: pb.ClassifyEntitiesResult) -> dict[str, Any]:
    if result.WhichOneof("result") == "error":
        return {"entity_id": entity_id, "error": result.error.message}
    one = result.classification
    tier = TIER.from_wire(one.tier, "tier")
    by = one.answered_by
    rule = TIER.find(one.rule_tier)
    return {
        "entity_id": entity_id,
        "tier": tier.value,
        "rank": tier.rank,
        "confidence": one.confidence if one.HasField("confidence") else None,
        "probabilities": {TIER.from_wire(p.tier, "tier").value: p.probability for p in one.probabilities},
        "rule_tier": None if rule is None else rule.value,
        "contributions": [
            {
                "feature": c.feature,
                "value": c.value if c.HasField("value") else None,
                "contribution": c.contribution,
                "explanation": c.explanation,
            }
            for c in one.contributions
        ],
        "metrics": {field.name: value for field, value in one.metrics.ListFields() if not field.message_type},
        "as_of": f"{one.as_of_date.year:04}-{one.as_of_date.month:02}-{one.as_of_date.day:02}",
        "source": answer_pb2.AnswerSource.Name(by.source).removeprefix("ANSWER_SOURCE_"),
        "model": f"{by.model.name} v{by.model.version}" if by.HasField("model") else by.method,
        "reason": by.reason,
        "degradations": [f"{d.dependency}: {d.detail}" for d in one.degradations],
    }
