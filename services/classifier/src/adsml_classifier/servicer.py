"""ClassifierService: convert, answer, convert."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt, InvalidInput, NotFound, Unavailable
from adsml_common.domain.tiers import Tier
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import ENTITY_TYPE, TIER, day, entity_ref, instant_message
from adsml_common.serving.serialized import SerializedResponse
from adsml_common.store.feedback import Feedback, FeedbackStore

from adsml_classifier import converters, inline, wire
from adsml_classifier.account_data import AccountData, AccountDays
from adsml_classifier.answering import answer
from adsml_classifier.at_once import ClassifyAtOnce
from adsml_classifier.converters import Options, Teller
from adsml_classifier.model_files import StoredModel
from adsml_classifier.naming import FAMILY, account_model, global_model
from adsml_classifier.panel import Panel
from adsml_classifier.rule import RuleSettings
from adsml_classifier.standing import Standing
from adsml_classifier.transfer import CONFIDENCE_FACTOR

_LEVELS: Final = {ENTITY_TYPE.to_wire(level): level.value for level in EntityType}
_ANONYMOUS: Final = "is empty and the call carries no identity; say who judges"


@dataclass(frozen=True, slots=True)
class _Model:
    """The model for an account, or why there is none."""

    loaded: Loaded[StoredModel] | None
    reason: str
    degradations: tuple[Degradation, ...]


def _own_days(panel: Panel, as_of: date, name: tuple[str, str]) -> int:
    """Days with delivery of an entity of the panel, up to the as-of day."""
    row = panel.keys.get_loc(name)
    totals = panel.running["delivery_days"]
    return int(totals.last(len(panel.days), np.array([panel.column(as_of)]))[row, 0])


class ClassifierServicer:
    """Answers by the account's model, or by the rule where there is none.

    Parameters
    ----------
    accounts
        Daily rows.
    models
        The accounts' models, for their own entities and for new ones.
    feedback
        Where judgements go.
    attribution_lag_days
        Trailing days that are still filling up.
    confidence_factor
        What a transferred answer's confidence is multiplied by.
    keep_answers
        Whether the answer for a stored entity is kept until a row of its account or its model changes.
    rule
        The rule's thresholds.

    Attributes
    ----------
    classify_at_once
        `ClassifyEntities` from memory alone, for the server to try first.
    """

    def __init__(
        self,
        accounts: AccountData,
        models: ModelLoader[StoredModel],
        feedback: FeedbackStore,
        *,
        attribution_lag_days: int = 0,
        confidence_factor: float = CONFIDENCE_FACTOR,
        keep_answers: bool = True,
        rule: RuleSettings | None = None,
    ) -> None:
        self._accounts = accounts
        self._models = models
        self._feedback = feedback
        self._lag = timedelta(days=attribution_lag_days)
        self._factor = confidence_factor
        self._keep = keep_answers
        self._rule = rule or RuleSettings()
        self._validator = validation
        self.classify_at_once = ClassifyAtOnce(
            accounts, models, lag=self._lag, keep_answers=keep_answers, rule=self._rule
        )

    def ClassifyEntities(
        self, request: pb.ClassifyEntitiesRequest, context: CallContext
    ) -> SerializedResponse[pb.ClassifyEntitiesResponse]:
        """Classify a batch: one pass per account, one result per subject."""
        options = converters.options(request.options)
        subjects = request.subjects
        results = wire.Results(len(subjects))
        stored: defaultdict[int, list[tuple[int, entity_pb2.EntityRef]]] = defaultdict(list)
        sent: list[int] = []
        for index, subject in enumerate(subjects):
            if subject.HasField("entity"):
                ref = subject.entity
                stored[ref.config_id].append((index, ref))
            elif found := self._validator.violations(subject, f"subjects[{index}]"):
                results.put(index, _failed(subject, InvalidInput(found)))
            else:
                sent.append(index)
        for config_id, mine in stored.items():
            context.check_cancelled()
            self._stored(config_id, subjects, mine, options, results)
        if sent:
            context.check_cancelled()
            self._inline(subjects, sent, options, context, results)
        return results.packed()

    def ClassifyNewEntity(
        self, request: pb.ClassifyNewEntityRequest, context: CallContext
    ) -> pb.ClassifyNewEntityResponse:
        """Classify one entity by its account's global model."""
        options = converters.options(request.options)
        key = converters.subject_key(request.subject, "subject")
        name = (key.entity_type.value, key.entity_id)
        if request.subject.HasField("entity"):
            days, as_of = self._days(key.config_id, options)
            panel, known = days.panel, days.known
            degradations: tuple[Degradation, ...] = ()
            standing = days.standing(as_of, self._rule)
        else:
            groups, errors = inline.grouped(
                [request.subject.inline], ["subject.inline"], self._accounts, as_of=options.as_of
            )
            if errors:
                raise errors[0]
            panel, as_of, degradations = groups[0].panel, groups[0].as_of, groups[0].degradations
            name, known = (name[0], "0"), frozenset()
            standing = Standing.of(panel, as_of, self._rule)
        context.check_cancelled()
        model = self._model(global_model, key.config_id, options)
        scorer = model.loaded.model.for_level(key.entity_type) if model.loaded is not None else None
        [found] = answer(
            standing,
            [name],
            model=scorer,
            most_contributions=options.contributions,
            known=known,
            called=[key.entity_id],
        )
        if isinstance(found, AdsmlError):
            raise found
        told = self._teller(model, degradations, as_of, transferred=True)(found)
        if model.loaded is None:
            return pb.ClassifyNewEntityResponse(classification=told)
        detail = pb.TransferDetail(
            trained_on=[ENTITY_TYPE.to_wire(level) for level in model.loaded.model.trained_on],  # type: ignore[misc]
            own_days=_own_days(panel, as_of, name),
            undiscounted_confidence=found.confidence or 0.0,
            confidence_factor=self._factor,
        )
        return pb.ClassifyNewEntityResponse(classification=told, transfer=detail)

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Store a person's tier; training puts it before what the data say."""
        person = request.person or context.caller.identity
        if not person:
            raise InvalidInput.at("person", _ANONYMOUS)
        judged = Feedback(
            family=FAMILY,
            entity=entity_ref(request.entity, "entity"),
            date=day(request.date, "date"),
            person=person,
            label=TIER.from_wire(request.tier, "tier").value,
            note=request.note or None,
        )
        before = self._word(judged)
        changed = self._feedback.record(judged)
        counts = self._word(judged) or judged
        out = pb.RecordFeedbackResponse(recorded_time=instant_message(counts.recorded_at), changed=changed)
        if changed and before is not None:
            out.replaced_tier = TIER.to_wire(Tier(before.label))  # type: ignore[assignment]  # an enum's number
        return out

    # -- inside ----------------------------------------------------------------------------------------------

    def _stored(
        self,
        config_id: int,
        subjects: Sequence[entity_pb2.Subject],
        mine: Sequence[tuple[int, entity_pb2.EntityRef]],
        options: Options,
        results: wire.Results,
    ) -> None:
        """Put down the results of one account's entities, given with their places.

        What is found in the account needs no validation: only valid names are stored.
        """
        days, error = None, NotFound(f"account {config_id} has no daily rows")
        if config_id > 0:
            try:
                days, as_of = self._days(config_id, options)
            except NotFound as absent:
                error = absent
        if days is None:
            for index in self._valid(subjects, [index for index, _ in mine], results):
                results.put(index, _failed(subjects[index], error))
            return
        standing = days.standing(as_of, self._rule)
        model = self._model(account_model, config_id, options)
        rest = [index for index, _ in mine]
        if model.loaded is not None:
            rest = self._scored(mine, standing, model.loaded, options, results)
        good = self._valid(subjects, rest, results)
        if good:
            wanted = [subjects[index] for index in good]
            names = [_name(one.entity) for one in wanted]
            told = self._results(wanted, names, standing, model, options, known=days.known)
            for index, result in zip(good, told, strict=True):
                results.put(index, result)

    def _scored(
        self,
        mine: Sequence[tuple[int, entity_pb2.EntityRef]],
        standing: Standing,
        loaded: Loaded[StoredModel],
        options: Options,
        results: wire.Results,
    ) -> list[int]:
        """Put down the results of entities that delivered lately; the places of the others."""
        answers = wire.StoredAnswers.of(standing, loaded)
        rest: list[int] = []
        indices: list[int] = []
        refs: list[entity_pb2.EntityRef] = []
        rows: list[int] = []
        for index, ref in mine:
            row = answers.row(ref)
            if row is None:
                rest.append(index)
            else:
                indices.append(index)
                refs.append(ref)
                rows.append(row)
        if rows:
            told = answers.results(refs, rows, contributions=options.contributions, keep=self._keep)
            results.put_stored(indices, told, answers.degradations)
        return rest

    def _valid(
        self, subjects: Sequence[entity_pb2.Subject], indices: Sequence[int], results: wire.Results
    ) -> list[int]:
        """Those in order; of the others it is put down what is wrong."""
        good = []
        for index in indices:
            if found := self._validator.violations(subjects[index], f"subjects[{index}]"):
                results.put(index, _failed(subjects[index], InvalidInput(found)))
            else:
                good.append(index)
        return good

    def _inline(
        self,
        subjects: Sequence[entity_pb2.Subject],
        indices: Sequence[int],
        options: Options,
        context: CallContext,
        results: wire.Results,
    ) -> None:
        groups, errors = inline.grouped(
            [subjects[index].inline for index in indices],
            [f"subjects[{index}].inline" for index in indices],
            self._accounts,
            as_of=options.as_of,
        )
        for place, error in errors.items():
            results.put(indices[place], _failed(subjects[indices[place]], error))
        for group in groups:
            context.check_cancelled()
            mine = [subjects[indices[place]] for place in group.places]
            names = [
                (inline.level_of(one.inline).value, str(place))
                for one, place in zip(mine, group.places, strict=True)
            ]
            told = self._results(
                mine,
                names,
                Standing.of(group.panel, group.as_of, self._rule),
                self._model(account_model, mine[0].inline.config_id, options),
                options,
                degradations=group.degradations,
            )
            for place, result in zip(group.places, told, strict=True):
                results.put(indices[place], result)

    def _results(
        self,
        subjects: Sequence[entity_pb2.Subject],
        names: Sequence[tuple[str, str]],
        standing: Standing,
        model: _Model,
        options: Options,
        *,
        known: frozenset[tuple[str, str]] = frozenset(),
        degradations: tuple[Degradation, ...] = (),
    ) -> list[pb.ClassifyEntitiesResult]:
        found = answer(
            standing,
            names,
            model=model.loaded.model.model if model.loaded is not None else None,
            most_contributions=options.contributions,
            known=known,
            called=[converters.echo(subject).entity_id for subject in subjects],
        )
        tell = self._teller(model, degradations, standing.as_of)
        return [
            _failed(subject, one)
            if isinstance(one, AdsmlError)
            else pb.ClassifyEntitiesResult(entity=converters.echo(subject), classification=tell(one))
            for subject, one in zip(subjects, found, strict=True)
        ]

    def _teller(
        self,
        model: _Model,
        degradations: tuple[Degradation, ...],
        as_of: date,
        *,
        transferred: bool = False,
    ) -> Teller:
        if model.loaded is None:
            told = (*model.degradations, *degradations)
            return Teller(as_of, version=None, why=model.reason, degradations=told)
        return Teller(
            as_of,
            version=model.loaded.version,
            degradations=(*model.loaded.degradations, *degradations),
            transferred=transferred,
            confidence_factor=self._factor if transferred else 1.0,
        )

    def _days(self, config_id: int, options: Options) -> tuple[AccountDays, date]:
        as_of = options.as_of or self._accounts.last_date(config_id) - self._lag
        return self._accounts.days(config_id, as_of=as_of), as_of

    def _model(self, named: Callable[[int], str], config_id: int, options: Options) -> _Model:
        if options.rules_only:
            return _Model(None, "rules_only was asked for", ())
        if config_id <= 0:
            return _Model(None, "no config_id, so no account's model", ())
        name = named(config_id)
        try:
            loaded = self._models.get(name)
        except ArtifactCorrupt as error:
            return _without(name, DegradationReason.CORRUPT, error.message)
        except Unavailable as error:
            return _without(name, DegradationReason.UNAVAILABLE, error.message)
        if loaded is None:
            return _without(name, DegradationReason.NO_MODEL, "none is registered and active")
        return _Model(loaded, "", ())

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


def _without(name: str, reason: DegradationReason, detail: str) -> _Model:
    told = Degradation(f"model {name}", reason, f"{detail}; the rule was used instead")
    return _Model(None, f"model {name}: {detail}", (told,))


def _name(ref: entity_pb2.EntityRef) -> tuple[str, str]:
    return _LEVELS.get(ref.entity_type, ""), ref.entity_id


def _failed(subject: entity_pb2.Subject, error: AdsmlError) -> pb.ClassifyEntitiesResult:
    return pb.ClassifyEntitiesResult(entity=converters.echo(subject), error=status_of(error))
