"""Which tier an entity is expected to perform in, and why."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as pb_grpc
from adsml.common.v1 import entity_pb2, tier_pb2

from adsml_client import wire
from adsml_client.connection import Connection, Metadata
from adsml_client.errors import CallError, error_of_status
from adsml_client.values import AnsweredBy, Batch, Degradation, EntityRef, Subject

if TYPE_CHECKING:
    import pandas as pd

_SNAPSHOT = (
    "spend", "impressions", "clicks", "leads", "reach", "cpl", "ctr", "cpc", "cpm", "conversion_rate",
    "frequency", "account_cpl", "account_ctr",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one feature spoke for the answered tier (log-odds; positive speaks for it)."""

    feature: str
    value: float | None
    contribution: float
    explanation: str


@dataclass(frozen=True, slots=True)
class Classification:
    """The tier of one entity as of one day.

    Attributes
    ----------
    entity
        As it was named.
    tier
        ``"high_performer"``, ``"moderate"``, ``"low"`` or ``"underperformer"``.
    confidence, probabilities
        Calibrated; None and empty where the rule answered.
    contributions
        What moved the answer, the strongest first.
    metrics
        Sums and ratios of the 7 days up to `as_of`; None where missing.
    as_of
        The day as of which it was classified.
    rule_tier
        What the rule says beside the model; ``""`` where it can't.
    answered_by, degradations
        What answered, and what it had to do without.
    """

    entity: EntityRef | None
    tier: str
    confidence: float | None
    probabilities: dict[str, float]
    contributions: list[Contribution]
    metrics: dict[str, float | None]
    as_of: dt.date
    rule_tier: str
    answered_by: AnsweredBy
    degradations: list[Degradation]


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a model of other entities was carried over; `confidence_factor` is the discount for that."""

    trained_on: list[str]
    own_days: int
    undiscounted_confidence: float
    confidence_factor: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a person's tier."""

    recorded: dt.datetime | None
    replaced_tier: str
    changed: bool


class ClassifierClient:
    """Calls a classifier service.

    Parameters
    ----------
    connection
        To it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.ClassifierServiceStub(connection.channel)

    def classify_entities(
        self,
        subjects: Sequence[Subject],
        *,
        as_of: dt.date | None = None,
        max_contributions: int | None = None,
        rules_only: bool = False,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Batch[Classification]:
        """Tiers of many entities; each fails alone. Batches beyond 1,000 are split.

        Parameters
        ----------
        subjects
            Stored entities, or their days.
        as_of
            From the days up to this one; None: the latest complete one.
        max_contributions
            How many, 0 to 100; None: 5.
        rules_only
            By the rule even where there is a model.
        timeout, metadata
            As of `Connection.call`, for each part of a batch that is split.

        Raises
        ------
        CallError
            The batch as a whole failed.
        """
        options = _options(as_of, max_contributions, rules_only)

        def send(part: Sequence[Subject]) -> Batch[Classification]:
            request = pb.ClassifyEntitiesRequest(
                subjects=[wire.subject_message(one) for one in part], options=options
            )
            answer = self._connection.call(
                self._stub.ClassifyEntities, request, timeout=timeout, metadata=metadata
            )
            return Batch([_result(one) for one in answer.results], wire.degradations(answer.degradations))

        return wire.in_chunks(subjects, send)

    def classify_new_entity(
        self,
        subject: Subject,
        *,
        as_of: dt.date | None = None,
        max_contributions: int | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> tuple[Classification, Transfer | None]:
        """The tier of an entity with little history, by its account's global model.

        Returns
        -------
        Classification, Transfer or None
            None where the rule answered.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.ClassifyNewEntityRequest(
            subject=wire.subject_message(subject), options=_options(as_of, max_contributions, False)
        )
        answer = self._connection.call(
            self._stub.ClassifyNewEntity, request, timeout=timeout, metadata=metadata
        )
        transfer = None
        if answer.HasField("transfer"):
            told = answer.transfer
            transfer = Transfer(
                [wire.word(entity_pb2.EntityType, "ENTITY_TYPE_", one) for one in told.trained_on],
                told.own_days,
                told.undiscounted_confidence,
                told.confidence_factor,
            )
        named = subject if isinstance(subject, EntityRef) else None
        return classification(answer.classification, named), transfer

    def record_feedback(
        self,
        entity: EntityRef,
        date: dt.date,
        tier: str,
        *,
        person: str = "",
        note: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Recorded:
        """Record a person's tier for an entity and day; it beats the computed label in training.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.RecordFeedbackRequest(
            entity=wire.entity_message(entity),
            date=wire.day_message(date),
            tier=wire.number(tier_pb2.Tier, "TIER_", tier),
            person=person,
            note=note,
        )
        answer = self._connection.call(self._stub.RecordFeedback, request, timeout=timeout, metadata=metadata)
        return Recorded(wire.instant(answer, "recorded_time"), _tier(answer.replaced_tier), answer.changed)


def classification(message: pb.Classification, entity: EntityRef | None) -> Classification:
    """A classification as it came."""
    return Classification(
        entity=entity,
        tier=_tier(message.tier),
        confidence=wire.optional(message, "confidence"),
        probabilities={_tier(one.tier): one.probability for one in message.probabilities},
        contributions=[
            Contribution(one.feature, wire.optional(one, "value"), one.contribution, one.explanation)
            for one in message.contributions
        ],
        metrics={name: wire.optional(message.metrics, name) for name in _SNAPSHOT},
        as_of=wire.day(message.as_of_date),
        rule_tier=_tier(message.rule_tier),
        answered_by=wire.answered_by(message.answered_by),
        degradations=wire.degradations(message.degradations),
    )


def frame(batch: Batch[Classification]) -> "pd.DataFrame":
    """The answers of a batch, one row each; needs pandas (``adsml-client[frames]``)."""
    import pandas as pd  # noqa: PLC0415 - an extra

    rows: list[dict[str, Any]] = []
    for one in batch.answers():
        row: dict[str, Any] = {
            "config_id": one.entity.config_id if one.entity else None,
            "entity_type": one.entity.entity_type if one.entity else None,
            "entity_id": one.entity.entity_id if one.entity else None,
            "as_of": one.as_of,
            "tier": one.tier,
            "confidence": one.confidence,
            "rule_tier": one.rule_tier,
            "source": one.answered_by.source,
            "model": one.answered_by.model.name if one.answered_by.model else None,
            "version": one.answered_by.model.version if one.answered_by.model else None,
        }
        rows.append(row | one.metrics)
    return pd.DataFrame(rows)


def _result(message: pb.ClassifyEntitiesResult) -> Classification | CallError:
    if message.WhichOneof("result") == "error":
        return error_of_status(message.error)
    return classification(message.classification, wire.entity(message.entity))


def _options(
    as_of: dt.date | None, max_contributions: int | None, rules_only: bool
) -> pb.ClassificationOptions:
    return pb.ClassificationOptions(
        as_of_date=None if as_of is None else wire.day_message(as_of),
        max_contributions=max_contributions,
        rules_only=rules_only,
    )


def _tier(number: int) -> str:
    return wire.word(tier_pb2.Tier, "TIER_", number)
