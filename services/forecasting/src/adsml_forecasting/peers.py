"""What the other services add to a forecast; each may be missing, slow or broken without harm."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

import grpc
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml_client import AnomalyClient, CallError, ClassifierClient, Connection, ImpactClient
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.tiers import Tier
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, TIER, day, day_message, entity_ref_message
from adsml_common.serving.transport import CODES

from adsml_forecasting.decoding import day_number, day_of
from adsml_forecasting.models.level_shifts import Change, Verdict
from adsml_forecasting.subjects import Question

_T = TypeVar("_T")
_Pending = Future[Any] | DegradationReason

_HISTORY_FIRST: Final = 28
"""Days that serve the anomaly service as history before the first it is asked of."""
_METHODS: Final[dict[Dependency, Callable[[Connection], Callable[..., Any]]]] = {
    Dependency.ANOMALY_SERVICE: lambda peer: AnomalyClient(peer).batch_detect_anomalies,
    Dependency.CLASSIFIER_SERVICE: lambda peer: ClassifierClient(peer).batch_classify,
    Dependency.IMPACT_SERVICE: lambda peer: ImpactClient(peer).batch_analyze_impact,
}
_INSTEAD: Final = {
    Dependency.ANOMALY_SERVICE: "only days that the fit itself finds far out are left out",
    Dependency.CLASSIFIER_SERVICE: "donors of any tier were used",
    Dependency.IMPACT_SERVICE: "every known change counts as a level shift",
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
    name = dependency.replace("_", " ")
    return Degradation(dependency, reason, f"the {name} {_TEXTS[reason]}: {_INSTEAD[dependency]}")


@dataclass(frozen=True, slots=True)
class Insights:
    """What the peers say of one subject: anomalous days (since 1970-01-01), and verdicts on changes."""

    flagged: frozenset[int] = frozenset()
    verdicts: Mapping[Change, Verdict] = field(default_factory=dict)
    degradations: tuple[Degradation, ...] = ()


class Peers:
    """Asks the other services, all at once, within a `share` of the caller's deadline and so many seconds at most."""

    def __init__(
        self, connections: Mapping[Dependency, Connection], *, share: float, longest_seconds: float
    ) -> None:
        self._connections = connections
        self._share = share
        self._longest = longest_seconds
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="peers")

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections.values():
            connection.close()

    def insights(
        self, questions: Sequence[Question], wanted: pb.PeerOptions, context: CallContext
    ) -> list[Insights]:
        """Anomalous days and verdicts of many subjects, in their order, where wanted; what comes late is left out."""
        until, ask = self._asking(context)
        asked = [(at, change) for at, one in enumerate(questions) for change in one.newest_changes]
        days = ask(Dependency.ANOMALY_SERVICE, wanted.mask_anomalies, partial(_anomaly_request, questions))
        judge = wanted.use_change_events and bool(asked)
        judged = ask(Dependency.IMPACT_SERVICE, judge, partial(_impact_request, questions, asked))
        flagged = _collect(days, until, lambda answer: _flagged(answer, len(questions)))
        verdicts = _collect(judged, until, lambda answer: _verdicts(answer, asked))
        out = []
        for at, question in enumerate(questions):
            notes: list[Degradation] = []
            own = flagged if isinstance(flagged, DegradationReason) else flagged[at]
            if isinstance(own, DegradationReason):
                notes.append(_skipped(Dependency.ANOMALY_SERVICE, own))
                own = frozenset()
            mine: dict[Change, Verdict] = {}
            if not isinstance(verdicts, DegradationReason):
                mine = verdicts.get(at, {})
            elif question.newest_changes:
                # Without changes there is nothing to judge.
                notes.append(_skipped(Dependency.IMPACT_SERVICE, verdicts))
            out.append(Insights(own, mine, tuple(notes)))
        return out

    def tiers(
        self, subjects: Sequence[entity_pb2.Subject], context: CallContext, *, wanted: bool
    ) -> tuple[dict[int, Tier], tuple[Degradation, ...]]:
        """Tiers of subjects by their place, and what was done without."""
        until, ask = self._asking(context)
        request = classifier_pb.BatchClassifyRequest(subjects=subjects)
        pending = ask(Dependency.CLASSIFIER_SERVICE, wanted, lambda: request)
        found = _collect(pending, until, _tiers)
        if isinstance(found, DegradationReason):
            return {}, (_skipped(Dependency.CLASSIFIER_SERVICE, found),)
        return found, ()

    def _asking(self, context: CallContext) -> tuple[float, Callable[..., _Pending]]:
        """When answers must be there, and what asks for one."""
        left = context.deadline
        seconds = self._longest if left is None else min(self._longest, left * self._share)
        # Request id and trace, and the caller's own credentials: a peer must not show what they may not see.
        metadata, token = context.outgoing(), context.metadata.get("authorization")
        if token:
            metadata = (*metadata, ("authorization", token))

        def ask(dependency: Dependency, wanted: bool, make: Callable[[], Any]) -> _Pending:
            peer = self._connections.get(dependency)
            if not wanted:
                return DegradationReason.DISABLED_BY_REQUEST
            if peer is None:
                return DegradationReason.NOT_CONFIGURED
            return self._pool.submit(_METHODS[dependency](peer), make(), timeout=seconds, metadata=metadata)

        return monotonic() + seconds, ask


def _collect(pending: _Pending, until: float, read: Callable[[Any], _T]) -> _T | DegradationReason:
    if isinstance(pending, DegradationReason):
        return pending
    try:
        return read(pending.result(max(until - monotonic(), 0.0)))
    except FutureTimeout:
        pending.cancel()
        return DegradationReason.DEADLINE
    except CallError as error:
        return _REASONS.get(error.code, DegradationReason.FAILED)
    except Exception:
        # A peer's odd answer is its own fault, never the forecast's.
        _log.warning("a peer gave an answer that can't be used", exc_info=True)
        return DegradationReason.FAILED


def _anomaly_request(questions: Sequence[Question]) -> anomaly_pb.BatchDetectAnomaliesRequest:
    """Of each subject's whole history."""
    first = min(min(one.history.first_day + _HISTORY_FIRST, one.as_of) for one in questions)
    request = anomaly_pb.BatchDetectAnomaliesRequest()
    request.options.anomalous_only = True
    request.options.first_date.CopyFrom(day_message(day_of(first)))
    request.options.as_of_date.CopyFrom(day_message(day_of(max(one.as_of for one in questions))))
    for one in questions:
        source = one.subject.message.WhichOneof("source") or "inline"
        getattr(request.subjects.add(), source).CopyFrom(getattr(one.subject.message, source))
    return request


def _flagged(
    answer: anomaly_pb.BatchDetectAnomaliesResponse, count: int
) -> list[frozenset[int] | DegradationReason]:
    """Anomalous days of each subject, or why there are none."""
    out: list[frozenset[int] | DegradationReason] = []
    for result in answer.results:
        if result.HasField("report"):
            days = (day_number(day(one.date, "date")) for one in result.report.days if one.anomalous)
            out.append(frozenset(days))
        else:
            code = CODES.get(result.error.code, grpc.StatusCode.UNKNOWN)
            out.append(_REASONS.get(code, DegradationReason.FAILED))
    if len(out) != count:
        raise ValueError(f"{len(out)} reports for {count} subjects")
    return out


def _impact_request(
    questions: Sequence[Question], asked: Sequence[tuple[int, Change]]
) -> impact_pb.BatchAnalyzeImpactRequest:
    request = impact_pb.BatchAnalyzeImpactRequest()
    for at, change in asked:
        entity = questions[at].subject.ref
        if entity is not None:
            one = request.items.add()
            one.panel.stored.treated.append(entity_ref_message(entity))
            one.change.date.CopyFrom(day_message(day_of(change.day)))
            one.change.change_type = CHANGE_TYPE.to_wire(change.change_type)  # type: ignore[assignment]
    return request


def _verdicts(
    answer: impact_pb.BatchAnalyzeImpactResponse, asked: Sequence[tuple[int, Change]]
) -> dict[int, dict[Change, Verdict]]:
    """Verdicts by subject and change."""
    out: dict[int, dict[Change, Verdict]] = {}
    for (at, change), result in zip(asked, answer.results, strict=False):
        if result.HasField("report"):
            name = change_pb2.Verdict.Name(result.report.verdict).removeprefix("VERDICT_")
            if name in Verdict.__members__:
                out.setdefault(at, {})[change] = Verdict[name]
    return out


def _tiers(answer: classifier_pb.BatchClassifyResponse) -> dict[int, Tier]:
    return {
        index: tier
        for index, result in enumerate(answer.results)
        if result.HasField("classification") and (tier := TIER.find(result.classification.tier)) is not None
    }
