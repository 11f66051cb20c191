"""Finds what answers for an account: its model, or last week's tier and the rule, and why."""

import time
from collections.abc import Callable
from typing import Final

from adsml.common.v1 import answer_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import Unavailable
from adsml_common.registry.loader import Loaded, ModelLoader, ModelResolver, ResolvedModel
from adsml_common.registry.models import ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.messages import model_ref_message

from adsml_classifier.artifacts import StoredModel, account_model, global_model
from adsml_classifier.encoding import Provenance

_RULE: Final = "cpl_rule"
_PERSISTENCE: Final = "last_week_tier"
_TRANSFER: Final = "level_transfer"
_KNOWN: Final = 1_000
_NO_WEEK: Final = "by the rule, since it first delivered less than 7 days ago and there is no full week"


class ProvenanceResolver:
    """Finds what answers; threads share it.

    The registry has what the gates said of models that may not serve; it is asked again for each name every
    `max_age_seconds`. A transferred answer's confidence is multiplied by `confidence_factor`.
    """

    def __init__(
        self,
        models: ModelLoader[StoredModel],
        registry: ModelRegistry,
        *,
        confidence_factor: float,
        max_age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._registry = registry
        self._resolver = ModelResolver(models, instead="last week's tier was used instead")
        self._factor = confidence_factor
        self._max_age = max_age_seconds
        self._clock = clock
        self._rejections: dict[str, tuple[float, ModelVersion | None]] = {}
        self._known: dict[tuple[str, EntityType | None], tuple[Loaded[StoredModel], Provenance]] = {}

    def for_account(self, config_id: int, *, rules_only: bool) -> Provenance:
        """What answers for an account's entities."""
        names = [account_model(config_id)] if config_id > 0 and not rules_only else []
        return self._answering(self._resolver.resolve(names), rules_only=rules_only)

    def for_new_entities(
        self, config_id: int, level: EntityType, *, rules_only: bool
    ) -> tuple[Provenance, tuple[EntityType, ...]]:
        """What answers for an account's new entities of a level, and the levels that a model learnt from."""
        names = [global_model(config_id)] if config_id > 0 and not rules_only else []
        resolved = self._resolver.resolve(names)
        trained_on = () if resolved.loaded is None else resolved.loaded.model.trained_on
        return self._answering(resolved, rules_only=rules_only, transfer_to=level), trained_on

    def peek(self, config_id: int) -> Provenance | None:
        """What `for_account` gives for a model, from memory alone; None where it would have to ask."""
        name = account_model(config_id)
        loaded, known = self._models.peek(name), self._known.get((name, None))
        return known[1] if known is not None and known[0] is loaded else None

    def _answering(
        self, resolved: ResolvedModel[StoredModel], *, rules_only: bool, transfer_to: EntityType | None = None
    ) -> Provenance:
        """The same for the same loaded model: to make it costs more than a look-up that it serves."""
        loaded = resolved.loaded
        if loaded is None:
            return self._without_model(resolved.degradations, rules_only=rules_only)
        version, place = loaded.version, (loaded.version.name, transfer_to)
        known = self._known.get(place)
        if known is not None and known[0] is loaded:
            return known[1]
        transferred = transfer_to is not None
        newer = self._rejected(version.name)
        reason = ""
        if newer is not None and newer.version > version.version:
            reason = f"{newer} was trained since and not let in ({newer.training_metrics['gate']['reason']})"
        by = answer_pb2.AnsweredBy(
            source=answer_pb2.ANSWER_SOURCE_TRANSFER if transferred else answer_pb2.ANSWER_SOURCE_MODEL,
            model=model_ref_message(version.name, version=version.version, trained=version.created_at),
            method=_TRANSFER if transferred else "",
            reason=reason,
        )
        scorer = loaded.model.model if transfer_to is None else loaded.model.for_level(transfer_to)
        factor = self._factor if transferred else 1.0
        key = (version.name, version.version, loaded.degradations, transfer_to, reason)
        provenance = Provenance(scorer, by, by, False, loaded.degradations, factor, key)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[place] = loaded, provenance
        return provenance

    def _without_model(self, degradations: tuple[Degradation, ...], *, rules_only: bool) -> Provenance:
        if rules_only:
            reason = "rules_only was asked for"
        elif not degradations:
            reason = "no config_id, so no account's model"
        elif rejected := self._rejected(degradations[0].name):
            reason = f"the gate of {rejected.name} is shut ({rejected.training_metrics['gate']['reason']})"
        elif degradations[0].reason is DegradationReason.NO_MODEL:
            reason = "the account has no model yet"
        else:
            reason = degradations[0].detail
        why_rule = reason if rules_only else f"{reason}; {_NO_WEEK}"
        rule, last_week = answer_pb2.ANSWER_SOURCE_RULES, answer_pb2.ANSWER_SOURCE_PERSISTENCE
        by = answer_pb2.AnsweredBy(source=last_week, method=_PERSISTENCE, reason=reason)
        by_rule = answer_pb2.AnsweredBy(source=rule, method=_RULE, reason=why_rule)
        key = (rules_only, degradations, reason)
        return Provenance(None, by, by_rule, rules_only, degradations, 1.0, key)

    def _rejected(self, name: str) -> ModelVersion | None:
        """The newest version of a name where its gate did not let it in."""
        now = self._clock()
        known = self._rejections.get(name)
        if known is not None and now - known[0] < self._max_age:
            return known[1]
        try:
            newest = next(iter(self._registry.list(name=name, limit=1)), None)
        except Unavailable:
            return None
        if newest is not None and newest.training_metrics.get("gate", {}).get("decision") != "rejected":
            newest = None
        if len(self._rejections) >= _KNOWN:
            self._rejections.clear()
        self._rejections[name] = now, newest
        return newest
