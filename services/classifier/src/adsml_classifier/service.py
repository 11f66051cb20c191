"""ClassifierService: where a question about tiers is answered, whatever door it came by."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, TypeAlias

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
from adsml_classifier.models.snapshot import AccountSnapshot
from adsml_classifier.resolver import ProvenanceResolver

# Rows that the model runs for in one turn of the event loop: about a millisecond.
_FAST_PATH_ROWS: Final = 256
# What a row with reasons costs, in rows without.
_EXPLAINED_ROW: Final = 64
_ANSWERS_KEPT: Final = 8


class ClassifierService:
    """Answers by the account's model; by last week's tier or the rule where there is none.

    `cache_responses` keeps what is said of a stored account's entities until its rows, its model or the options
    change.
    """

    def __init__(
        self,
        accounts: AccountData,
        resolver: ProvenanceResolver,
        feedback: FeedbackRecorder,
        *,
        attribution_lag_days: int = 0,
        cache_responses: bool = True,
    ) -> None:
        self._accounts = accounts
        self._resolver = resolver
        self._feedback = feedback
        self._lag = attribution_lag_days
        self._cache = cache_responses

    def Classify(
        self, request: pb.ClassifyRequest, context: CallContext
    ) -> SerializedResponse[pb.ClassifyResponse]:
        """Classify one entity."""
        options = decoding.options(request.options)
        one = self._locate_one(request.subject, options, context)
        data = one.answers.response(one.rows[0])
        return SerializedResponse(pb.ClassifyResponse, data, one.answers.degradations)

    def BatchClassify(
        self, request: pb.BatchClassifyRequest, context: CallContext
    ) -> SerializedResponse[pb.BatchClassifyResponse]:
        """Classify a batch: one pass per account, one result per subject."""
        options, subjects = decoding.options(request.options), request.subjects
        located, errors = self._locate(subjects, "subjects[{}]", options, context)
        degradations = [kind for one in located for kind in one.answers.degradations * len(one.rows)]
        if len(located) == 1 and not errors:
            # One account, as usual; it has the subjects in the order of the request.
            results = located[0].answers.results(located[0].rows)
            return SerializedResponse(pb.BatchClassifyResponse, b"".join(results), degradations)
        results = [b""] * len(subjects)
        for one in located:
            for index, result in zip(one.indices, one.answers.results(one.rows), strict=True):
                results[index] = result
        for index, error in errors.items():
            entity = decoding.entity_of(subjects[index])
            results[index] = encode_result(pb.BatchClassifyResult(entity=entity, error=status_of(error)))
        return SerializedResponse(pb.BatchClassifyResponse, b"".join(results), degradations)

    def ClassifyNewEntity(
        self, request: pb.ClassifyNewEntityRequest, context: CallContext
    ) -> pb.ClassifyNewEntityResponse:
        """Classify one entity by its account's global model."""
        options, subject = decoding.options(request.options), request.subject
        ref = decoding.entity_of(subject)
        level = ENTITY_TYPE.from_wire(ref.entity_type, "subject.entity_type")
        provenance, trained_on = self._resolver.for_new_entities(
            ref.config_id, level, rules_only=options.rules_only
        )
        one = self._locate_one(subject, options, context, provenance)
        [row] = one.rows
        out = pb.ClassifyNewEntityResponse.FromString(one.answers.response(row))
        if trained_on:
            detail = transfer_pb2.TransferDetail(
                trained_on=[ENTITY_TYPE.to_wire(one) for one in trained_on],  # type: ignore[misc]
                own_days=int(one.answers.snapshot.days_with_row[row]),
                undiscounted_confidence=out.classification.confidence / provenance.confidence_factor,
                confidence_factor=provenance.confidence_factor,
            )
            out.transfer.CopyFrom(detail)
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
        asked = [((request.subject,), request.options) for request, _ in calls]
        for answers, of_calls in self._from_memory(asked):
            for call, [row] in of_calls:
                data = answers.response(row)
                out[call] = SerializedResponse(pb.ClassifyResponse, data, answers.degradations)
        return out

    def batch_classify_from_memory(
        self, calls: Sequence[tuple[pb.BatchClassifyRequest, CallContext]]
    ) -> Sequence[SerializedResponse[pb.BatchClassifyResponse] | None]:
        """`BatchClassify` for what needs nothing but memory, in one pass of the model; None for the others."""
        out: list[SerializedResponse[pb.BatchClassifyResponse] | None] = [None] * len(calls)
        asked = [(request.subjects, request.options) for request, _ in calls]
        for answers, of_calls in self._from_memory(asked):
            results = answers.results([row for _, rows in of_calls for row in rows])
            start = 0
            for call, rows in of_calls:
                end = start + len(rows)
                data, degradations = b"".join(results[start:end]), answers.degradations * len(rows)
                out[call] = SerializedResponse(pb.BatchClassifyResponse, data, degradations)
                start = end
        return out

    def _from_memory(
        self, asked: Sequence[tuple[Sequence[entity_pb2.Subject], pb.ClassificationOptions]]
    ) -> "list[_FastGroup]":
        """Calls that can be answered from memory, those of one account and options together."""
        groups: dict[tuple[int, bytes], _FastGroup | None] = {}
        work = 0
        for call, (subjects, options) in enumerate(asked):
            refs = [subject.entity for subject in subjects]
            config_ids = {ref.config_id for ref in refs}
            if len(config_ids) != 1:
                continue
            [config_id] = config_ids
            key = (config_id, options.SerializeToString(deterministic=True))
            if key not in groups:
                known, due = self._peek(config_id, decoding.options(options))
                groups[key] = None if known is None else (known, [])
                if due:
                    # This call asks the store whether the rows have changed; the others need not wait for it.
                    continue
            group = groups[key]
            if group is None:
                continue
            answers = group[0]
            rows = [row for ref in refs if (row := answers.row(ref)) is not None]
            if len(rows) < len(refs):
                continue
            if not answers.filled:
                cost = len(rows) * (_EXPLAINED_ROW if answers.explains else 1)
                if work + cost > _FAST_PATH_ROWS:
                    continue
                work += cost
            group[1].append((call, rows))
        return [group for group in groups.values() if group is not None and group[1]]

    def _peek(self, config_id: int, options: Options) -> tuple[AccountAnswers | None, bool]:
        """Answers that memory holds, if any; and whether it is time to ask the store for news."""
        known = None if options.rules_only else self._accounts.peek(config_id)
        if known is None:
            return None, False
        days, due = known
        as_of = options.day(days.last, default_lag=self._lag)
        snapshot = days.peek(as_of)
        provenance = self._resolver.peek(config_id)
        if snapshot is None or provenance is None:
            return None, False
        answers: AccountAnswers | None = snapshot.cache.get((options, provenance.key))
        if answers is None or (self._cache and not answers.filled):
            return None, False
        return answers, due

    # -- inside ------------------------------------------------------------------------------------------------------

    def _locate_one(
        self,
        subject: entity_pb2.Subject,
        options: Options,
        context: CallContext,
        provenance: Provenance | None = None,
    ) -> "_Located":
        located, errors = self._locate([subject], "subject", options, context, provenance)
        if errors:
            raise errors[0]
        return located[0]

    def _locate(
        self,
        subjects: Sequence[entity_pb2.Subject],
        path: str,
        options: Options,
        context: CallContext,
        provenance: Provenance | None = None,
    ) -> tuple[list["_Located"], dict[int, AdsmlError]]:
        """Where the answers for some subjects are; every subject is in one of them, or has an error.

        What is found in a stored account needs no check: only valid names are stored. Where no `provenance` is given,
        each account's own answers.
        """

        def answering(config_id: int) -> Provenance:
            return provenance or self._resolver.for_account(config_id, rules_only=options.rules_only)

        located: list[_Located] = []
        errors: dict[int, AdsmlError] = {}
        stored: defaultdict[int, list[int]] = defaultdict(list)
        inline: list[int] = []
        for index, subject in enumerate(subjects):
            if subject.HasField("entity"):
                stored[subject.entity.config_id].append(index)
            else:
                inline.append(index)

        def check(indices: Sequence[int]) -> list[int]:
            """Those that are in order."""
            for place in validation.entry_violations([subjects[index] for index in indices], "subjects"):
                index = indices[place]
                errors[index] = InvalidInput(validation.violations(subjects[index], path.format(index)))
            return [index for index in indices if index not in errors]

        for config_id, indices in stored.items():
            context.check_cancelled()
            try:
                as_of = options.day(self._accounts.recent(config_id).last, default_lag=self._lag)
                days = self._accounts.days(config_id, as_of=as_of)
            except NotFound as error:
                errors |= dict.fromkeys(check(indices), error)
                continue
            answers = self._stored(config_id, days, as_of, options, answering(config_id))
            one = _Located(answers)
            absent = one.take(indices, [subjects[index].entity for index in indices])
            for index in check([indices[place] for place in absent]):
                ref = subjects[index].entity
                known = (LEVELS[ref.entity_type], ref.entity_id) in days.statuses
                errors[index] = answers.error(ref, called=ref.entity_id, known=known)
            located.append(one)
        inline = check(inline)
        if not inline:
            return [one for one in located if one.rows], errors
        series = [subjects[index].inline for index in inline]
        paths = [f"{path.format(index)}.inline" for index in inline]
        groups, wrong = decoding.group_inline(series, paths, self._accounts, options)
        errors |= {inline[place]: error for place, error in wrong.items()}
        for group in groups:
            context.check_cancelled()
            answers = self._sent(group, series, options, answering(group.config_id))
            one = _Located(answers)
            refs = [
                entity_pb2.EntityRef(entity_type=series[place].entity_type, entity_id=str(place))
                for place in group.places
            ]
            for absent_place in one.take([inline[place] for place in group.places], refs):
                place = group.places[absent_place]
                called = series[place].entity_id
                errors[inline[place]] = answers.error(refs[absent_place], called=called, known=True)
            located.append(one)
        return [one for one in located if one.rows], errors

    def _stored(
        self, config_id: int, days: AccountDays, as_of: date, options: Options, provenance: Provenance
    ) -> AccountAnswers:
        """Answers for a stored account's entities, kept beside its snapshot."""
        snapshot = days.snapshot(as_of)
        key = (options, provenance.key)
        answers: AccountAnswers | None = snapshot.cache.get(key)
        if answers is None:
            builder = ResponseBuilder(
                snapshot,
                provenance,
                Surroundings(days.last, _after(options, as_of), days),
                lambda level, name: entity_pb2.EntityRef(
                    config_id=config_id, entity_type=NUMBERS[level], entity_id=name
                ),
                options,
            )
            # A new entity is asked about by itself: the account's others need no answer by its global model.
            cached = self._cache and days.recent and provenance.by.source != answer_pb2.ANSWER_SOURCE_TRANSFER
            answers = AccountAnswers(snapshot, builder, cached=cached)
            if len(snapshot.cache) >= _ANSWERS_KEPT:
                snapshot.cache.clear()
            snapshot.cache[key] = answers
        return answers

    def _sent(
        self,
        group: InlineGroup,
        series: Sequence[entity_pb2.InlineSeries],
        options: Options,
        provenance: Provenance,
    ) -> AccountAnswers:
        """Answers for entities whose rows came with the call; their place among `series` is their id in the group."""
        snapshot = AccountSnapshot.of(group.panel, group.as_of)
        builder = ResponseBuilder(
            snapshot,
            replace(provenance, degradations=(*provenance.degradations, *group.degradations)),
            Surroundings(group.last, _after(options, group.as_of), group.account),
            lambda _, place: decoding.entity_sent(series[int(place)]),
            options,
        )
        return AccountAnswers(snapshot, builder, cached=False)


_FastGroup: TypeAlias = tuple[AccountAnswers, list[tuple[int, list[int]]]]
"""Answers that serve several calls: the place of each, and the rows that it asks about."""


@dataclass(slots=True)
class _Located:
    """Subjects among the answers of one account: their places in the request, and their rows."""

    answers: AccountAnswers
    indices: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def take(self, indices: Sequence[int], refs: Sequence[entity_pb2.EntityRef]) -> list[int]:
        """Note the subjects that have an answer; which of those given do not."""
        row_of, absent = self.answers.row, []
        for place, ref in enumerate(refs):
            row = row_of(ref)
            if row is None:
                absent.append(place)
            else:
                self.indices.append(indices[place])
                self.rows.append(row)
        return absent


def _after(options: Options, as_of: date) -> date | None:
    """The day asked for where it is after the last one with rows."""
    return options.as_of if options.as_of is not None and options.as_of > as_of else None
