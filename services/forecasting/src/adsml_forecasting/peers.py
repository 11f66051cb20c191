"""What the other services add to a forecast; each may be missing, slow or broken without harm."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import date
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import grpc
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml_client import CallError, Connection
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.tiers import Tier
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, TIER, day, day_message, entity_ref_message

from adsml_forecasting.models.level_shifts import Verdict

ResultT = TypeVar("ResultT")

ANOMALY: Final = "anomaly service"
CLASSIFIER: Final = "classifier service"
IMPACT: Final = "impact service"
CHANGES_ASKED: Final = 5
"""The impact service is asked of so many of the newest changes at most."""
_INSTEAD: Final = {
    ANOMALY: "no day was masked",
    CLASSIFIER: "donors of any tier were used",
    IMPACT: "every known change counts as a level shift",
}
_REASONS: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DegradationReason.DEADLINE,
    grpc.StatusCode.UNAVAILABLE: DegradationReason.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: DegradationReason.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: DegradationReason.PERMISSION_DENIED,
    grpc.StatusCode.PERMISSION_DENIED: DegradationReason.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND: DegradationReason.NO_DATA,
    grpc.StatusCode.FAILED_PRECONDITION: DegradationReason.INSUFFICIENT_HISTORY,
}
_SAID: Final = {
    DegradationReason.DEADLINE: "did not answer within its share of the deadline",
    DegradationReason.UNAVAILABLE: "could not be reached or refused work",
    DegradationReason.PERMISSION_DENIED: "refused the credentials",
    DegradationReason.NO_DATA: "holds nothing for this entity",
    DegradationReason.INSUFFICIENT_HISTORY: "needs more history",
    DegradationReason.FAILED: "answered with an error",
    DegradationReason.NOT_CONFIGURED: "is not configured on this server",
    DegradationReason.DISABLED_BY_REQUEST: "was switched off in the request",
}
_log = logging.getLogger(__name__)


def skipped(dependency: str, reason: DegradationReason) -> Degradation:
    """The word on a service that was not used, and what was done without it."""
    return Degradation(dependency, reason, f"{dependency} {_SAID[reason]}: {_INSTEAD[dependency]}")


@dataclass(slots=True)
class Asked(Generic[ResultT]):
    """A question on its way, or why it was not asked."""

    dependency: str
    future: "Future[ResultT] | None"
    why_not: DegradationReason | None = None


@dataclass(frozen=True, slots=True)
class Insights:
    """What the peers said.

    Attributes
    ----------
    anomalous
        Days to mask.
    verdicts
        On changes, by their place in the question.
    tiers
        Of subjects, by their place in the question.
    """

    anomalous: tuple[date, ...] = ()
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    tiers: Mapping[int, Tier] = field(default_factory=dict)
    degradations: tuple[Degradation, ...] = ()


class Peers:
    """Asks the other services, all at once, within a share of the caller's deadline.

    Parameters
    ----------
    anomaly, classifier, impact
        Connections; None where there is no address.
    share, longest_seconds
        Of the caller's remaining deadline; the most that is ever waited.
    """

    def __init__(
        self,
        *,
        anomaly: Connection | None = None,
        classifier: Connection | None = None,
        impact: Connection | None = None,
        share: float = 0.3,
        longest_seconds: float = 2.0,
    ) -> None:
        self._anomaly = anomaly
        self._classifier = classifier
        self._impact = impact
        self._share = share
        self._longest = longest_seconds
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="peers")

    def close(self) -> None:
        """Hang up."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in (self._anomaly, self._classifier, self._impact):
            if connection is not None:
                connection.close()

    def ask(
        self,
        context: CallContext,
        *,
        subject: entity_pb2.Subject | None = None,
        mask: bool = False,
        changes: Sequence[ChangeEvent] = (),
        entity: EntityRef | None = None,
        verdicts: bool = False,
        tier_subjects: Sequence[entity_pb2.Subject] = (),
        tiers: bool | None = None,
    ) -> Insights:
        """Ask whom it concerns, in parallel, and take what has come when time is up.

        Parameters
        ----------
        subject, mask
            Whose anomalous days to ask for, and whether to.
        changes, entity, verdicts
            Of which changes to which stored entity verdicts are wanted, and whether.
        tier_subjects, tiers
            Whose tiers are wanted; None: the question does not arise.
        """
        left = context.deadline
        seconds = self._longest if left is None else min(self._longest, left * self._share)
        until = monotonic() + seconds
        asked: list[Asked[Any]] = []
        if subject is not None:
            asked.append(
                self._start(
                    ANOMALY, self._anomaly, mask, lambda peer: _masked(peer, subject, context, seconds)
                )
            )
        if entity is not None and changes:
            newest = list(enumerate(changes))[-CHANGES_ASKED:]
            asked.append(
                self._start(
                    IMPACT,
                    self._impact,
                    verdicts,
                    lambda peer: _verdicts(peer, entity, newest, context, seconds),
                )
            )
        if tiers is not None and tier_subjects:
            asked.append(
                self._start(
                    CLASSIFIER,
                    self._classifier,
                    tiers,
                    lambda peer: _tiers(peer, tier_subjects, context, seconds),
                )
            )
        found: dict[str, Any] = {}
        degradations: list[Degradation] = []
        for one in asked:
            why = one.why_not
            if one.future is not None:
                try:
                    found[one.dependency] = one.future.result(max(until - monotonic(), 0.0))
                    continue
                except FutureTimeout:
                    one.future.cancel()
                    why = DegradationReason.DEADLINE
                except CallError as error:
                    why = _REASONS.get(error.code, DegradationReason.FAILED)
                except Exception:
                    # A peer's odd answer is its own fault, never the forecast's.
                    _log.warning("%s gave an answer that can't be used", one.dependency, exc_info=True)
                    why = DegradationReason.FAILED
            degradations.append(skipped(one.dependency, why or DegradationReason.FAILED))
        return Insights(
            found.get(ANOMALY, ()), found.get(IMPACT, {}), found.get(CLASSIFIER, {}), tuple(degradations)
        )

    def _start(
        self,
        dependency: str,
        connection: Connection | None,
        wanted: bool,
        call: Callable[[Connection], ResultT],
    ) -> Asked[ResultT]:
        if not wanted:
            return Asked(dependency, None, DegradationReason.DISABLED_BY_REQUEST)
        if connection is None:
            return Asked(dependency, None, DegradationReason.NOT_CONFIGURED)
        return Asked(dependency, self._pool.submit(call, connection))


def _masked(
    peer: Connection, subject: entity_pb2.Subject, context: CallContext, seconds: float
) -> tuple[date, ...]:
    stub = anomaly_grpc.AnomalyServiceStub(peer.channel)
    request = anomaly_pb.DetectAnomaliesRequest()
    request.options.anomalous_only = True
    if subject.WhichOneof("source") == "entity":
        request.series.entity.CopyFrom(subject.entity)
    else:
        request.series.inline.CopyFrom(subject.inline)
    answer = peer.call(stub.DetectAnomalies, request, timeout=seconds, metadata=_forwarded(context))
    return tuple(day(one.date, "date") for one in answer.report.days if one.anomalous)


def _verdicts(
    peer: Connection,
    entity: EntityRef,
    changes: Sequence[tuple[int, ChangeEvent]],
    context: CallContext,
    seconds: float,
) -> dict[int, Verdict]:
    stub = impact_grpc.ImpactServiceStub(peer.channel)
    request = impact_pb.BatchAnalyzeImpactRequest()
    for _, change in changes:
        one = request.items.add()
        one.panel.stored.treated.append(entity_ref_message(entity))
        one.change.date.CopyFrom(day_message(change.date))
        one.change.change_type = CHANGE_TYPE.to_wire(change.change_type)  # type: ignore[assignment]
    answer = peer.call(stub.BatchAnalyzeImpact, request, timeout=seconds, metadata=_forwarded(context))
    found: dict[int, Verdict] = {}
    for (index, _), result in zip(changes, answer.results, strict=False):
        if result.HasField("report"):
            name = change_pb2.Verdict.Name(result.report.verdict).removeprefix("VERDICT_")
            if name in Verdict.__members__:
                found[index] = Verdict[name]
    return found


def _tiers(
    peer: Connection, subjects: Sequence[entity_pb2.Subject], context: CallContext, seconds: float
) -> dict[int, Tier]:
    stub = classifier_grpc.ClassifierServiceStub(peer.channel)
    answer = peer.call(
        stub.ClassifyEntities,
        classifier_pb.ClassifyEntitiesRequest(subjects=subjects),
        timeout=seconds,
        metadata=_forwarded(context),
    )
    found: dict[int, Tier] = {}
    for index, result in enumerate(answer.results):
        if result.HasField("classification"):
            tier = TIER.find(result.classification.tier)
            if tier is not None:
                found[index] = tier
    return found


def _forwarded(context: CallContext) -> tuple[tuple[str, str], ...]:
    """Request id and trace, and the caller's own credentials: a peer must not show what they may not see."""
    own = context.outgoing()
    token = context.metadata.get("authorization")
    return (*own, ("authorization", token)) if token else own
