"""ClassifierService: convert, answer, convert."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt, InvalidInput, NotFound, Unavailable
from adsml_common.domain.tiers import Tier
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.serving.context import CallContext
from adsml_common.serving.convert import ENTITY_TYPE, TIER, day, entity_ref, instant_message, series_frame
from adsml_common.serving.errors import status_of
from adsml_common.serving.rules import RULES
from adsml_common.serving.validation import Validator
from adsml_common.store.feedback import Feedback, FeedbackStore

from adsml_classifier import converters
from adsml_classifier.account_data import AccountData
from adsml_classifier.answering import Answer, Scorer, answer, compared_with, idle
from adsml_classifier.converters import Options
from adsml_classifier.features import LOOKBACK_DAYS
from adsml_classifier.model_files import StoredModel
from adsml_classifier.naming import FAMILY, account_model, global_model
from adsml_classifier.panel import Panel
from adsml_classifier.rule import RuleSettings
from adsml_classifier.transfer import CONFIDENCE_FACTOR

_ANONYMOUS = "is empty and the call carries no identity; say who judges"


@dataclass(frozen=True, slots=True)
class _Model:
    """The model for an account, or why there is none."""

    loaded: Loaded[StoredModel] | None
    reason: str
    degradations: tuple[Degradation, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is looked at: days, the as-of day, entities that exist, and what could not be had."""

    panel: Panel
    as_of: date
    known: frozenset[tuple[str, str]]
    degradations: tuple[Degradation, ...] = ()

    def own_days(self, key: EntityRef) -> int:
        """Days with delivery of an entity of the panel, up to the as-of day."""
        row = self.panel.keys.get_loc((key.entity_type.value, key.entity_id))
        totals = self.panel.running["delivery_days"]
        column = np.array([self.panel.column(self.as_of)])
        return int(totals.last(len(self.panel.days), column)[row, 0])


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
    rule
        The rule's thresholds.
    """

    def __init__(
        self,
        accounts: AccountData,
        models: ModelLoader[StoredModel],
        feedback: FeedbackStore,
        *,
        attribution_lag_days: int = 0,
        confidence_factor: float = CONFIDENCE_FACTOR,
        rule: RuleSettings | None = None,
    ) -> None:
        self._accounts = accounts
        self._models = models
        self._feedback = feedback
        self._lag = timedelta(days=attribution_lag_days)
        self._factor = confidence_factor
        self._rule = rule or RuleSettings()
        self._validator = Validator(RULES)

    def ClassifyEntities(
        self, request: pb.ClassifyEntitiesRequest, context: CallContext
    ) -> pb.ClassifyEntitiesResponse:
        """Classify a batch: one pass per account, one result per subject."""
        options = converters.options(request.options)
        results: list[pb.ClassifyEntitiesResult | None] = [None] * len(request.subjects)
        stored: defaultdict[int, list[int]] = defaultdict(list)
        for index, subject in enumerate(request.subjects):
            found = self._validator.violations(subject, f"subjects[{index}]")
            if found:
                results[index] = _failed(subject, InvalidInput(found))
            elif subject.WhichOneof("source") == "entity":
                stored[subject.entity.config_id].append(index)
            else:
                context.check_cancelled()
                results[index] = self._inline(subject, f"subjects[{index}]", options)
        for config_id, indices in stored.items():
            context.check_cancelled()
            subjects = [request.subjects[index] for index in indices]
            for index, result in zip(indices, self._stored(config_id, subjects, options), strict=True):
                results[index] = result
        return pb.ClassifyEntitiesResponse(results=[one for one in results if one is not None])

    def ClassifyNewEntity(
        self, request: pb.ClassifyNewEntityRequest, context: CallContext
    ) -> pb.ClassifyNewEntityResponse:
        """Classify one entity by its account's global model."""
        options = converters.options(request.options)
        key = converters.subject_key(request.subject, "subject")
        if request.subject.WhichOneof("source") == "entity":
            asked = self._asked(key.config_id, options)
        else:
            asked = self._asked_inline(request.subject.inline, "subject.inline", key, options)
        context.check_cancelled()
        model = self._model(global_model, key.config_id, options)
        scorer = model.loaded.model.for_level(key.entity_type) if model.loaded is not None else None
        [found] = self._answer(asked, [key], scorer, options)
        if isinstance(found, AdsmlError):
            raise found
        told = self._told(found, model, asked.degradations, transferred=True)
        if model.loaded is None:
            return pb.ClassifyNewEntityResponse(classification=told)
        detail = pb.TransferDetail(
            trained_on=[ENTITY_TYPE.to_wire(level) for level in model.loaded.model.trained_on],  # type: ignore[misc]
            own_days=asked.own_days(key),
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
        self, config_id: int, subjects: Sequence[entity_pb2.Subject], options: Options
    ) -> list[pb.ClassifyEntitiesResult]:
        try:
            asked = self._asked(config_id, options)
        except NotFound as error:
            return [_failed(subject, error) for subject in subjects]
        keys = [entity_ref(subject.entity, "entity") for subject in subjects]
        return self._results(subjects, keys, asked, config_id, options)

    def _inline(self, subject: entity_pb2.Subject, path: str, options: Options) -> pb.ClassifyEntitiesResult:
        try:
            key = converters.subject_key(subject, path)
            asked = self._asked_inline(subject.inline, f"{path}.inline", key, options)
            [result] = self._results([subject], [key], asked, key.config_id, options)
        except AdsmlError as error:
            return _failed(subject, error)
        return result

    def _results(
        self,
        subjects: Sequence[entity_pb2.Subject],
        keys: Sequence[EntityRef],
        asked: _Asked,
        config_id: int,
        options: Options,
    ) -> list[pb.ClassifyEntitiesResult]:
        model = self._model(account_model, config_id, options)
        scorer = model.loaded.model.model if model.loaded is not None else None
        return [
            _failed(subject, found)
            if isinstance(found, AdsmlError)
            else pb.ClassifyEntitiesResult(
                entity=converters.echo(subject), classification=self._told(found, model, asked.degradations)
            )
            for subject, found in zip(subjects, self._answer(asked, keys, scorer, options), strict=True)
        ]

    def _answer(
        self, asked: _Asked, keys: Sequence[EntityRef], scorer: Scorer | None, options: Options
    ) -> list[Answer | AdsmlError]:
        names = [(key.entity_type.value, key.entity_id) for key in keys]
        found = answer(
            asked.panel,
            names,
            as_of=asked.as_of,
            model=scorer,
            settings=self._rule,
            most_contributions=options.contributions,
        )
        return [
            idle(name, asked.as_of) if isinstance(one, NotFound) and name in asked.known else one
            for name, one in zip(names, found, strict=True)
        ]

    def _told(
        self,
        found: Answer,
        model: _Model,
        degradations: tuple[Degradation, ...],
        *,
        transferred: bool = False,
    ) -> pb.Classification:
        if model.loaded is None:
            by = converters.answered_by(None, reason=converters.rule_reason(found.week, model.reason))
            return converters.classification(found, by, (*model.degradations, *degradations))
        by = converters.answered_by(model.loaded.version, transferred=transferred)
        factor = self._factor if transferred else 1.0
        told = (*model.loaded.degradations, *degradations)
        return converters.classification(found, by, told, confidence_factor=factor)

    def _asked(self, config_id: int, options: Options) -> _Asked:
        as_of = options.as_of or self._accounts.last_date(config_id) - self._lag
        days = self._accounts.days(config_id, as_of=as_of)
        return _Asked(days.panel, as_of, days.known)

    def _asked_inline(
        self, series: entity_pb2.InlineSeries, path: str, key: EntityRef, options: Options
    ) -> _Asked:
        frame = series_frame(series, path)
        as_of = options.as_of or frame["date"].max().date()
        start = as_of - timedelta(days=LOOKBACK_DAYS - 1)
        panel = Panel.of(frame, start=start, end=as_of)
        account, lacking = self._account_of(series, path, start, as_of)
        known = frozenset({(key.entity_type.value, key.entity_id)})
        return _Asked(compared_with(panel, account), as_of, known, lacking)

    def _account_of(
        self, series: entity_pb2.InlineSeries, path: str, start: date, as_of: date
    ) -> tuple[Panel | None, tuple[Degradation, ...]]:
        """The account that an inline series is compared with, or a word on why there is none."""
        if series.account_rows:
            return Panel.of(series_frame(series, path, account=True), start=start, end=as_of), ()
        if not series.HasField("config_id"):
            return None, (_lacks_account("account_rows and config_id are both unset"),)
        try:
            return self._accounts.days(series.config_id, as_of=as_of).panel, ()
        except NotFound as error:
            return None, (_lacks_account(error.message),)

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


def _lacks_account(why: str) -> Degradation:
    return Degradation(
        "account baseline",
        DegradationReason.NO_DATA,
        f"{why}: features relative to the account are missing and the rule can't be applied",
    )


def _failed(subject: entity_pb2.Subject, error: AdsmlError) -> pb.ClassifyEntitiesResult:
    return pb.ClassifyEntitiesResult(entity=converters.echo(subject), error=status_of(error))
