"""ClassifierService: where a question about tiers is answered, whatever door it came by."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, transfer_pb2
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.domain.tiers import Tier
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.serving.messages import ENTITY_TYPE, TIER
from adsml_common.serving.serialized import SerializedResponse

from adsml_classifier import decoding
from adsml_classifier.accounts import AccountData, AccountDays
from adsml_classifier.answers import LEVELS, NUMBERS, AccountAnswers
from adsml_classifier.cautions import Surroundings
from adsml_classifier.decoding import InlineGroup, Options
from adsml_classifier.encoding import Provenance, ResponseBuilder, encode_result
from adsml_classifier.models.rule import RuleSettings
from adsml_classifier.models.snapshot import AccountSnapshot
from adsml_classifier.resolver import ProvenanceResolver

FAST_PATH_ROWS: Final = 256
"""Rows that the model runs for in one turn of the event loop: about a millisecond."""
_EXPLAINED_ROW: Final = 64
"""What a row with reasons costs, in rows without."""
_ANSWERS_KEPT: Final = 8


class ClassifierService:
    """Answers by the account's model; by last week's tier or the rule where there is none.

    Parameters
    ----------
    accounts
        Daily rows.
    resolver
        Finds what answers for an account.
    feedback
        Records judgements.
    attribution_lag_days
        Trailing days of stored accounts that are still filling up.
    cache_responses
        Whether what is said of a stored account's entities is kept until its rows, its model or the options change.
    rule
        The rule's thresholds.
    """

    def __init__(
        self,
        accounts: AccountData,
        resolver: ProvenanceResolver,
        feedback: FeedbackRecorder,
        *,
        attribution_lag_days: int = 0,
        cache_responses: bool = True,
        rule: RuleSettings | None = None,
    ) -> None:
        self._accounts = accounts
        self._resolver = resolver
        self._feedback = feedback
        self._lag = attribution_lag_days
        self._cache = cache_responses
        self._rule = rule or RuleSettings()

    def Classify(
        self, request: pb.ClassifyRequest, context: CallContext
    ) -> SerializedResponse[pb.ClassifyResponse]:
        """Classify one entity."""
        wanted, subject = decoding.options(request.options), request.subject
        provenance = self._resolver.for_account(
            decoding.entity_of(subject).config_id, rules_only=wanted.rules_only
        )
        question = self._question(subject, wanted, provenance, cached=self._cache)
        context.check_cancelled()
        answers, row = question.answers, question.row()
        return SerializedResponse(pb.ClassifyResponse, answers.response(row), answers.degradations)

    def BatchClassify(
        self, request: pb.BatchClassifyRequest, context: CallContext
    ) -> SerializedResponse[pb.BatchClassifyResponse]:
        """Classify a batch: one pass per account, one result per subject."""
        wanted, subjects = decoding.options(request.options), request.subjects
        results = _Results(subjects)
        stored: defaultdict[int, list[int]] = defaultdict(list)
        inline: list[int] = []
        for index, subject in enumerate(subjects):
            if subject.HasField("entity"):
                stored[subject.entity.config_id].append(index)
            else:
                inline.append(index)
        for config_id, indices in stored.items():
            context.check_cancelled()
            self._stored_batch(config_id, indices, wanted, results)
        inline = results.valid(inline)
        if inline:
            context.check_cancelled()
            self._inline_batch(inline, wanted, context, results)
        return results.response()

    def ClassifyNewEntity(
        self, request: pb.ClassifyNewEntityRequest, context: CallContext
    ) -> pb.ClassifyNewEntityResponse:
        """Classify one entity by its account's global model."""
        wanted, subject = decoding.options(request.options), request.subject
        ref = decoding.entity_of(subject)
        level = ENTITY_TYPE.from_wire(ref.entity_type, "subject.entity_type")
        provenance, trained_on = self._resolver.for_new_entities(
            ref.config_id, level, rules_only=wanted.rules_only
        )
        question = self._question(subject, wanted, provenance, cached=False)
        context.check_cancelled()
        row = question.row()
        out = pb.ClassifyNewEntityResponse.FromString(question.answers.response(row))
        if trained_on:
            factor = provenance.confidence_factor
            out.transfer.CopyFrom(
                transfer_pb2.TransferDetail(
                    trained_on=[ENTITY_TYPE.to_wire(one) for one in trained_on],  # type: ignore[misc]
                    own_days=int(question.snapshot.days_with_row[row]),
                    undiscounted_confidence=out.classification.confidence / factor,
                    confidence_factor=factor,
                )
            )
        return out

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Store a person's tier; training puts it before what the data say."""
        tier = TIER.from_wire(request.tier, "tier")
        recorded = self._feedback.record(request.feedback, tier.value, context)
        out = pb.RecordFeedbackResponse(receipt=recorded.receipt)
        if recorded.replaced_label is not None:
            out.replaced_tier = TIER.to_wire(Tier(recorded.replaced_label))  # type: ignore[assignment]  # an enum's number
        return out

    # -- from memory alone, many calls at once (`adsml_common.serving.micro_batcher`) --------------------------------

    def classify_from_memory(
        self, calls: Sequence[tuple[pb.ClassifyRequest, CallContext]]
    ) -> Sequence[SerializedResponse[pb.ClassifyResponse] | None]:
        """`Classify` for what needs nothing but memory; None for the others."""
        out: list[SerializedResponse[pb.ClassifyResponse] | None] = [None] * len(calls)
        subjects = [[request.subject] for request, _ in calls]
        for group in self._from_memory(subjects, [request.options for request, _ in calls]):
            for call, rows in group.calls:
                data = group.answers.response(rows[0])
                out[call] = SerializedResponse(pb.ClassifyResponse, data, group.answers.degradations)
        return out

    def batch_classify_from_memory(
        self, calls: Sequence[tuple[pb.BatchClassifyRequest, CallContext]]
    ) -> Sequence[SerializedResponse[pb.BatchClassifyResponse] | None]:
        """`BatchClassify` for what needs nothing but memory, in one pass of the model; None for the others."""
        out: list[SerializedResponse[pb.BatchClassifyResponse] | None] = [None] * len(calls)
        subjects = [request.subjects for request, _ in calls]
        for group in self._from_memory(subjects, [request.options for request, _ in calls]):
            results = group.answers.results([row for _, rows in group.calls for row in rows])
            start = 0
            for call, rows in group.calls:
                end = start + len(rows)
                out[call] = SerializedResponse(
                    pb.BatchClassifyResponse,
                    b"".join(results[start:end]),
                    group.answers.degradations * len(rows),
                )
                start = end
        return out

    def _from_memory(
        self, subjects: Sequence[Sequence[entity_pb2.Subject]], options: Sequence[pb.ClassificationOptions]
    ) -> list["_FastGroup"]:
        """Calls that can be answered from memory, those of one account and options together."""
        groups: dict[tuple[int, bytes], _FastGroup | None] = {}
        work = 0
        for call, (of_call, wanted) in enumerate(zip(subjects, options, strict=True)):
            refs = [subject.entity for subject in of_call]
            config_ids = {ref.config_id for ref in refs}
            if len(config_ids) != 1:
                continue
            [config_id] = config_ids
            key = (config_id, wanted.SerializeToString(deterministic=True))
            if key not in groups:
                answers, due = self._peek(config_id, decoding.options(wanted))
                groups[key] = None if answers is None else _FastGroup(answers)
                if due:
                    # This call asks the store whether the rows have changed; the others need not wait for it.
                    continue
            group = groups[key]
            if group is None:
                continue
            rows = [row for ref in refs if (row := group.answers.row(ref)) is not None]
            if len(rows) < len(refs):
                continue
            if not group.answers.filled:
                cost = len(rows) * (_EXPLAINED_ROW if group.answers.explains else 1)
                if work + cost > FAST_PATH_ROWS:
                    continue
                work += cost
            group.calls.append((call, rows))
        return [group for group in groups.values() if group is not None and group.calls]

    def _peek(self, config_id: int, wanted: Options) -> tuple[AccountAnswers | None, bool]:
        """Answers that memory holds, if any; and whether it is time to ask the store for news."""
        known = self._accounts.peek(config_id)
        if known is None:
            return None, False
        days, due = known
        as_of = wanted.day(days.last, default_lag=self._lag)
        snapshot = days.peek(as_of, self._rule) if days.covers(as_of) else None
        provenance = self._resolver.peek(config_id, rules_only=wanted.rules_only)
        if snapshot is None or provenance is None:
            return None, False
        answers: AccountAnswers | None = snapshot.cache.get(_key(wanted, provenance))
        if answers is None or (self._cache and not answers.filled):
            return None, False
        return answers, due

    # -- inside ------------------------------------------------------------------------------------------------------

    def _question(
        self, subject: entity_pb2.Subject, wanted: Options, provenance: Provenance, *, cached: bool
    ) -> "_Question":
        if subject.HasField("entity"):
            days, as_of = self._days(subject.entity.config_id, wanted)
            answers = self._stored(subject.entity.config_id, days, as_of, wanted, provenance, cached=cached)
            return _Question(answers, days.snapshot(as_of, self._rule), subject.entity, days)
        groups, errors = decoding.group_inline([subject.inline], ["subject.inline"], self._accounts, wanted)
        if errors:
            raise errors[0]
        [group] = groups
        snapshot = AccountSnapshot.of(group.panel, group.as_of, self._rule)
        answers = self._sent(group, snapshot, [subject.inline], wanted, provenance)
        return _Question(answers, snapshot, _placed(subject.inline, 0), None, subject.inline.entity_id)

    def _days(self, config_id: int, wanted: Options) -> tuple[AccountDays, date]:
        as_of = wanted.day(self._accounts.recent(config_id).last, default_lag=self._lag)
        return self._accounts.days(config_id, as_of=as_of), as_of

    def _stored(
        self,
        config_id: int,
        days: AccountDays,
        as_of: date,
        wanted: Options,
        provenance: Provenance,
        *,
        cached: bool,
    ) -> AccountAnswers:
        """Answers for a stored account's entities, kept beside its snapshot."""
        snapshot = days.snapshot(as_of, self._rule)
        cached = cached and days.recent
        key = _key(wanted, provenance)
        answers: AccountAnswers | None = snapshot.cache.get(key)
        if answers is None:
            names = list(snapshot.rows)
            builder = ResponseBuilder(
                snapshot,
                provenance,
                contributions=wanted.contributions,
                reasons=wanted.reasons,
                surroundings=Surroundings(
                    last=days.last, wanted=_after(wanted, as_of), off=lambda name: days.off(name, as_of)
                ),
                entity=lambda row: entity_pb2.EntityRef(
                    config_id=config_id, entity_type=NUMBERS[names[row][0]], entity_id=names[row][1]
                ),
            )
            answers = AccountAnswers(snapshot, builder, cached=cached)
            if len(snapshot.cache) >= _ANSWERS_KEPT:
                snapshot.cache.clear()
            snapshot.cache[key] = answers
        return answers

    def _sent(
        self,
        group: InlineGroup,
        snapshot: AccountSnapshot,
        series: Sequence[entity_pb2.InlineSeries],
        wanted: Options,
        provenance: Provenance,
    ) -> AccountAnswers:
        """Answers for entities whose rows came with the call; their place among `series` is their id in the group."""
        provenance = replace(provenance, degradations=(*provenance.degradations, *group.degradations))
        names = list(snapshot.rows)

        def sent(row: int) -> entity_pb2.InlineSeries:
            return series[int(names[row][1])]

        def off(name: tuple[str, str]) -> str:
            known = group.account
            return "" if known is None else known.off((name[0], series[int(name[1])].entity_id), group.as_of)

        builder = ResponseBuilder(
            snapshot,
            provenance,
            contributions=wanted.contributions,
            reasons=wanted.reasons,
            surroundings=Surroundings(last=group.last, wanted=_after(wanted, group.as_of), off=off),
            entity=lambda row: entity_pb2.EntityRef(
                config_id=sent(row).config_id,
                entity_type=sent(row).entity_type,
                entity_id=sent(row).entity_id,
            ),
        )
        return AccountAnswers(snapshot, builder, cached=False)

    def _stored_batch(
        self, config_id: int, indices: Sequence[int], wanted: Options, results: "_Results"
    ) -> None:
        """Put down the results of one account's entities.

        What is found in the account needs no check: only valid names are stored.
        """
        try:
            days, as_of = self._days(config_id, wanted)
        except NotFound as error:
            for index in results.valid(indices):
                results.put_error(index, error)
            return
        provenance = self._resolver.for_account(config_id, rules_only=wanted.rules_only)
        answers = self._stored(config_id, days, as_of, wanted, provenance, cached=self._cache)
        found: list[int] = []
        rows: list[int] = []
        rest: list[int] = []
        for index in indices:
            row = answers.row(results.subjects[index].entity)
            if row is None:
                rest.append(index)
            else:
                found.append(index)
                rows.append(row)
        if rows:
            results.put(found, answers.results(rows), answers.degradations)
        for index in results.valid(rest):
            ref = results.subjects[index].entity
            known = (LEVELS.get(ref.entity_type, ""), ref.entity_id) in days.statuses
            results.put_error(index, answers.error(ref, called=ref.entity_id, known=known))

    def _inline_batch(
        self, indices: Sequence[int], wanted: Options, context: CallContext, results: "_Results"
    ) -> None:
        """Put down the results of series that came with the call."""
        series = [results.subjects[index].inline for index in indices]
        paths = [f"subjects[{index}].inline" for index in indices]
        groups, errors = decoding.group_inline(series, paths, self._accounts, wanted)
        for place, error in errors.items():
            results.put_error(indices[place], error)
        for group in groups:
            context.check_cancelled()
            provenance = self._resolver.for_account(group.config_id, rules_only=wanted.rules_only)
            snapshot = AccountSnapshot.of(group.panel, group.as_of, self._rule)
            answers = self._sent(group, snapshot, series, wanted, provenance)
            found: list[int] = []
            rows: list[int] = []
            for place in group.places:
                ref = _placed(series[place], place)
                row = answers.row(ref)
                if row is None:
                    error = answers.error(ref, called=series[place].entity_id, known=True)
                    results.put_error(indices[place], error)
                else:
                    found.append(indices[place])
                    rows.append(row)
            if rows:
                results.put(found, answers.results(rows), answers.degradations)


@dataclass(frozen=True, slots=True)
class _Question:
    """One entity among the answers of its account.

    Attributes
    ----------
    answers, snapshot
        Of the account.
    ref
        The entity's key there.
    days
        The stored account; None for rows that were sent.
    called
        The entity's id as the caller knows it, where that is not its key.
    """

    answers: AccountAnswers
    snapshot: AccountSnapshot
    ref: entity_pb2.EntityRef
    days: AccountDays | None
    called: str = ""

    def row(self) -> int:
        """The entity's row.

        Raises
        ------
        NotFound, FailedPrecondition
            Why there is no answer.
        """
        row = self.answers.row(self.ref)
        if row is not None:
            return row
        if self.days is None:
            raise self.answers.error(self.ref, called=self.called, known=True)
        known = (LEVELS.get(self.ref.entity_type, ""), self.ref.entity_id) in self.days.statuses
        raise self.answers.error(self.ref, called=self.ref.entity_id, known=known)


@dataclass(slots=True)
class _FastGroup:
    """Calls that the same answers serve.

    Attributes
    ----------
    answers
        Of the account.
    calls
        Place of each call, and the rows that it asks about.
    """

    answers: AccountAnswers
    calls: list[tuple[int, list[int]]] = field(default_factory=list)


class _Results:
    """The results of a batch, put down in any order.

    Parameters
    ----------
    subjects
        What was asked about.
    """

    def __init__(self, subjects: Sequence[entity_pb2.Subject]) -> None:
        self.subjects = subjects
        self._each = [b""] * len(subjects)
        self._degradations: list[answer_pb2.Degradation] = []

    def valid(self, indices: Sequence[int]) -> list[int]:
        """Those that are in order; of the others it is put down what is wrong."""
        wrong = validation.entry_violations([self.subjects[index] for index in indices], "subjects")
        for place in wrong:
            violations = validation.violations(self.subjects[indices[place]], f"subjects[{indices[place]}]")
            self.put_error(indices[place], InvalidInput(violations))
        return [index for place, index in enumerate(indices) if place not in wrong]

    def put_error(self, index: int, error: AdsmlError) -> None:
        """Why there is no answer for one."""
        entity = decoding.entity_of(self.subjects[index])
        self._each[index] = encode_result(pb.BatchClassifyResult(entity=entity, error=status_of(error)))

    def put(
        self,
        indices: Sequence[int],
        results: Sequence[bytes],
        degradations: Sequence[answer_pb2.Degradation],
    ) -> None:
        """Put down encoded results, with the degradations that stand in each."""
        if len(indices) == len(self._each):
            # All there are, in the order of the request.
            self._each = list(results)
        else:
            for index, result in zip(indices, results, strict=True):
                self._each[index] = result
        if degradations:
            self._degradations.extend(list(degradations) * len(indices))

    def response(self) -> SerializedResponse[pb.BatchClassifyResponse]:
        """The response."""
        return SerializedResponse(pb.BatchClassifyResponse, b"".join(self._each), self._degradations)


def _key(wanted: Options, provenance: Provenance) -> Hashable:
    return wanted, provenance.key


def _after(wanted: Options, as_of: date) -> date | None:
    """The day asked for where it is after the last one with rows."""
    return wanted.as_of if wanted.as_of is not None and wanted.as_of > as_of else None


def _placed(series: entity_pb2.InlineSeries, place: int) -> entity_pb2.EntityRef:
    """The key of a series among those sent."""
    return entity_pb2.EntityRef(entity_type=series.entity_type, entity_id=str(place))
