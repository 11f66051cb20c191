"""The training job of the classifier: store -> domain -> registry, one account at a time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pandas as pd
from adsml_common.database import Database
from adsml_common.domain.errors import ArtifactCorrupt, FailedPrecondition, InsufficientHistory
from adsml_common.domain.tiers import Tier
from adsml_common.registry.models import Candidate, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import FeedbackStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_classifier.artifacts import MODEL_TYPE, StoredModel, parse, to_files
from adsml_classifier.models.features import NAMES
from adsml_classifier.models.labels import Judgement
from adsml_classifier.naming import FAMILY, account_model, global_model
from adsml_classifier.training.account import AccountResult, train_account
from adsml_classifier.training.candidate import TrainedCandidate
from adsml_classifier.training.recipe import Recipe

HISTORY_DAYS: Final = 365
"""Longer ago than this an account was another account."""

_GLOBAL: Final = "global"


def items_of(config_ids: Sequence[int]) -> list[Item]:
    """Two items an account: its own model, and the one for entities that are new to it.

    They are one group: where campaigns are few both are the same model, learnt once by the process that has both.
    """
    return [
        Item(key, config_id, payload={"part": part}, group=str(config_id))
        for config_id in config_ids
        for key, part in ((str(config_id), ""), (f"{config_id}/{_GLOBAL}", _GLOBAL))
    ]


class AccountTrainer:
    """Trains and registers the models of one account after the other on shared connections."""

    def __init__(self, database: Database, registry: ModelRegistry, *, run_id: str, recipe: Recipe) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._feedback = FeedbackStore(database)
        self._registry = registry
        self._run_id = run_id
        self._recipe = recipe
        # What was learnt last on all levels of an account, and from what.
        self._latest: tuple[int, pd.DataFrame, pd.DataFrame, list[Judgement], TrainedCandidate] | None = None

    def __call__(self, item: Item) -> ItemResult:
        """Train one item, register its model, and activate it if its gate lets it in."""
        for_new = item.payload.get("part") == _GLOBAL
        name = global_model(item.config_id) if for_new else account_model(item.config_id)
        incumbent = self._incumbent(name)
        try:
            result = self._train(item.config_id, incumbent, for_new=for_new)
        except InsufficientHistory:
            raise
        except FailedPrecondition as error:
            # One tier only, no leads at all: nothing to learn today, and nothing is broken.
            return ItemResult(ItemStatus.SKIPPED, error.message)
        decision, candidate, panel = result.decision, result.candidate, result.panel
        gate = {"decision": "passed" if decision.passed else "rejected", "reason": decision.reason}
        version = self._registry.register(
            Candidate(
                name=name,
                model_type=MODEL_TYPE,
                config_id=item.config_id,
                files=to_files(result.stored),
                parameters={**candidate.fitted.parameters(), "weeks": self._recipe.weeks},
                feature_columns=NAMES,
                training_metrics={**result.metrics, "gate": gate},
                samples_count=len(candidate.samples),
                window_start=panel.day(0),
                window_end=panel.day(len(panel.days) - 1),
                run_id=self._run_id,
            )
        )
        about = {"actor": f"training run {self._run_id}", "reason": decision.reason}
        if decision.passed:
            version = self._registry.activate(name, version.version, **about)
        else:
            self._registry.reject(name, version.version, **about)
            if decision.retires and incumbent is not None:
                self._registry.retire(name, incumbent[0].version, **about)
        figures = {key: result.metrics[key] for key in ("weighted_f1", "macro_f1", "ece")}
        return ItemResult(ItemStatus.TRAINED, decision.reason, model=version, metrics=figures)

    def _train(
        self, config_id: int, incumbent: tuple[ModelVersion, StoredModel] | None, *, for_new: bool
    ) -> AccountResult:
        last = self._metrics.last_date(config_id)
        start = last - timedelta(days=HISTORY_DAYS - 1) if last is not None else None
        frame = self._metrics.daily(config_id, start=start)
        tree, judgements = self._entities.frame(config_id), self._judgements(config_id)
        candidate = None
        if self._latest is not None:
            of, of_frame, of_tree, of_judgements, learnt = self._latest
            same = of == config_id and of_judgements == judgements
            if same and frame.equals(of_frame) and tree.equals(of_tree):
                candidate = learnt
        result = train_account(
            frame,
            tree,
            self._recipe,
            what=f"account {config_id}",
            for_new=for_new,
            judgements=judgements,
            incumbent=None if incumbent is None else (str(incumbent[0]), incumbent[1]),
            candidate=candidate,
        )
        if not for_new:
            self._latest = config_id, frame, tree, judgements, result.candidate
        return result

    def _judgements(self, config_id: int) -> list[Judgement]:
        return [
            Judgement(
                one.entity.entity_type.value, one.entity.entity_id, one.date, Tier(one.label), one.recorded_at
            )
            for one in self._feedback.latest(FAMILY, config_id)
        ]

    def _incumbent(self, name: str) -> tuple[ModelVersion, StoredModel] | None:
        active = self._registry.active(name)
        if active is None:
            return None
        try:
            return active, parse(active, self._registry.read(active, parse=parse))
        except ArtifactCorrupt:
            # What can't be loaded can't defend its place.
            return None
