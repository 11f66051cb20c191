"""What the other services add to a forecast; each may be missing, slow or broken without harm."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, TypeVar

import grpc
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml_client import CallError, Connection
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.tiers import Tier
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, TIER, day, day_message, entity_ref_message

from adsml_forecasting.decoding import day_number, day_of
from adsml_forecasting.models.level_shifts import Change, Verdict

ResultT = TypeVar("ResultT")

_CHANGES_ASKED: Final = 5
"""The impact service is asked of so many of an entity's newest changes at most."""
_MOST_ITEMS: Final = 1000
_HISTORY_FIRST: Final = 28
"""Days that serve the anomaly service as history before the first it is asked of."""
_INSTEAD: Final = {
    Dependency.ANOMALY_SERVICE: (
        "anomaly service",
        "only days that the fit itself finds far out are left out",
    ),
    Dependency.CLASSIFIER_SERVICE: ("classifier service", "donors of any tier were used"),
    Dependency.IMPACT_SERVICE: ("impact service", "every known change counts as a level shift"),
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
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_TEXTS: Final = {
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


def _skipped(dependency: Dependency, reason: DegradationReason) -> Degradation:
    """The word on a service that was not used, and what was done without it."""
    name, instead = _INSTEAD[dependency]
    return Degradation(dependency, reason, f"the {name} {_TEXTS[reason]}: {instead}")


@dataclass(frozen=True, slots=True)
class PeerQuestion:
    """What is asked of one subject, from its first row's day to the last day of history (since 1970-01-01).

    Anomalous days are wanted of any subject, verdicts only of recorded `changes` to a stored `entity`.
    """

    subject: entity_pb2.Subject
    first_day: int
    as_of: int
    entity: EntityRef | None = None
    changes: tuple[Change, ...] = ()

    @property
    def newest(self) -> tuple[Change, ...]:
        """The changes to ask of: those of the history, for a stored entity."""
        past = [one for one in self.changes if one.day <= self.as_of and self.entity is not None]
        return tuple(sorted(past, key=lambda one: one.day)[-_CHANGES_ASKED:])


@dataclass(frozen=True, slots=True)
class Insights:
    """What the peers say of one subject: anomalous days (since 1970-01-01), and verdicts by a change's day and type."""

    flagged: frozenset[int] = frozenset()
    verdicts: Mapping[tuple[int, str], Verdict] = field(default_factory=dict)
    degradations: tuple[Degradation, ...] = ()


class Peers:
    """Asks the other services, all at once, within a `share` of the caller's deadline and so many seconds at most."""

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
        """Close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in (self._anomaly, self._classifier, self._impact):
            if connection is not None:
                connection.close()

    def insights(
        self, questions: Sequence[PeerQuestion], context: CallContext, *, mask: bool, verdicts: bool
    ) -> list[Insights]:
        """Anomalous days and verdicts of many subjects, in their order, where wanted; what comes late is left out."""
        until, seconds = self._budget(context)
        days = self._start(self._anomaly, mask, lambda peer: _flagged(peer, questions, context, seconds))
        asked = [(at, change) for at, one in enumerate(questions) for change in one.newest]
        judged = self._start(
            self._impact,
            verdicts and bool(asked),
            lambda peer: _verdicts(peer, questions, asked, context, seconds),
        )
        flagged, found = _collect(days, until), _collect(judged, until)
        out = []
        for at, question in enumerate(questions):
            notes: list[Degradation] = []
            own = flagged if isinstance(flagged, DegradationReason) else flagged[at]
            if isinstance(own, DegradationReason):
                notes.append(_skipped(Dependency.ANOMALY_SERVICE, own))
                own = frozenset()
            mine: dict[tuple[int, str], Verdict] = {}
            if not isinstance(found, DegradationReason):
                mine = {key[1:]: verdict for key, verdict in found.items() if key[0] == at}
            elif question.newest:
                # Without changes there is nothing to judge.
                notes.append(_skipped(Dependency.IMPACT_SERVICE, found))
            out.append(Insights(own, mine, tuple(notes)))
        return out

    def tiers(
        self, subjects: Sequence[entity_pb2.Subject], context: CallContext, *, wanted: bool
    ) -> tuple[dict[int, Tier], tuple[Degradation, ...]]:
        """Tiers of subjects by their place, and what was done without."""
        until, seconds = self._budget(context)
        found = _collect(
            self._start(self._classifier, wanted, lambda peer: _tiers(peer, subjects, context, seconds)),
            until,
        )
        if isinstance(found, DegradationReason):
            return {}, (_skipped(Dependency.CLASSIFIER_SERVICE, found),)
        return found, ()

    def _budget(self, context: CallContext) -> tuple[float, float]:
        left = context.deadline
        seconds = self._longest if left is None else min(self._longest, left * self._share)
        return monotonic() + seconds, seconds

    def _start(
        self, connection: Connection | None, wanted: bool, call: Callable[[Connection], ResultT]
    ) -> "Future[ResultT] | DegradationReason":
        if not wanted:
            return DegradationReason.DISABLED_BY_REQUEST
        if connection is None:
            return DegradationReason.NOT_CONFIGURED
        return self._pool.submit(call, connection)


def _collect(pending: "Future[ResultT] | DegradationReason", until: float) -> "ResultT | DegradationReason":
    if isinstance(pending, DegradationReason):
        return pending
    try:
        return pending.result(max(until - monotonic(), 0.0))
    except FutureTimeout:
        pending.cancel()
        return DegradationReason.DEADLINE
    except CallError as error:
        return _REASONS.get(error.code, DegradationReason.FAILED)
    except Exception:
        # A peer's odd answer is its own fault, never the forecast's.
        _log.warning("a peer gave an answer that can't be used", exc_info=True)
        return DegradationReason.FAILED


def _flagged(
    peer: Connection, questions: Sequence[PeerQuestion], context: CallContext, seconds: float
) -> list[frozenset[int] | DegradationReason]:
    """Anomalous days of the whole history of each subject, or why there are none."""
    stub = anomaly_grpc.AnomalyServiceStub(peer.channel)
    last = max(one.as_of for one in questions)
    first = min(min(one.first_day + _HISTORY_FIRST, one.as_of) for one in questions)
    request = anomaly_pb.BatchDetectAnomaliesRequest()
    request.options.anomalous_only = True
    request.options.first_date.CopyFrom(day_message(day_of(first)))
    request.options.as_of_date.CopyFrom(day_message(day_of(last)))
    for one in questions:
        subject = request.subjects.add()
        if one.subject.WhichOneof("source") == "entity":
            subject.entity.CopyFrom(one.subject.entity)
        else:
            subject.inline.CopyFrom(one.subject.inline)
    answer = peer.call(stub.BatchDetectAnomalies, request, timeout=seconds, metadata=_forwarded(context))
    out: list[frozenset[int] | DegradationReason] = []
    for result in answer.results:
        if result.HasField("report"):
            days = (day_number(day(one.date, "date")) for one in result.report.days if one.anomalous)
            out.append(frozenset(days))
        else:
            code = _CODES.get(result.error.code, grpc.StatusCode.UNKNOWN)
            out.append(_REASONS.get(code, DegradationReason.FAILED))
    if len(out) != len(questions):
        raise ValueError(f"{len(out)} reports for {len(questions)} subjects")
    return out


def _verdicts(
    peer: Connection,
    questions: Sequence[PeerQuestion],
    asked: Sequence[tuple[int, Change]],
    context: CallContext,
    seconds: float,
) -> dict[tuple[int, int, str], Verdict]:
    """Verdicts by subject, day and type of the change."""
    stub = impact_grpc.ImpactServiceStub(peer.channel)
    request = impact_pb.BatchAnalyzeImpactRequest()
    for at, change in asked[:_MOST_ITEMS]:
        entity = questions[at].entity
        if entity is not None:
            one = request.items.add()
            one.panel.stored.treated.append(entity_ref_message(entity))
            one.change.date.CopyFrom(day_message(day_of(change.day)))
            one.change.change_type = CHANGE_TYPE.to_wire(change.change_type)  # type: ignore[assignment]
    answer = peer.call(stub.BatchAnalyzeImpact, request, timeout=seconds, metadata=_forwarded(context))
    out: dict[tuple[int, int, str], Verdict] = {}
    for (at, change), result in zip(asked, answer.results, strict=False):
        if result.HasField("report"):
            name = change_pb2.Verdict.Name(result.report.verdict).removeprefix("VERDICT_")
            if name in Verdict.__members__:
                out[at, change.day, change.change_type.value] = Verdict[name]
    return out


def _tiers(
    peer: Connection, subjects: Sequence[entity_pb2.Subject], context: CallContext, seconds: float
) -> dict[int, Tier]:
    stub = classifier_grpc.ClassifierServiceStub(peer.channel)
    request = classifier_pb.BatchClassifyRequest(subjects=subjects)
    answer = peer.call(stub.BatchClassify, request, timeout=seconds, metadata=_forwarded(context))
    found = {
        index: TIER.find(result.classification.tier)
        for index, result in enumerate(answer.results)
        if result.HasField("classification")
    }
    return {index: tier for index, tier in found.items() if tier is not None}


def _forwarded(context: CallContext) -> tuple[tuple[str, str], ...]:
    """Request id and trace, and the caller's own credentials: a peer must not show what they may not see."""
    own = context.outgoing()
    token = context.metadata.get("authorization")
    return (*own, ("authorization", token)) if token else own
