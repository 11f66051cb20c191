"""The training job of the classifier: store -> model with its figures and the gate's decision -> registry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt, FailedPrecondition, InsufficientHistory
from adsml_common.domain.tiers import Tier
from adsml_common.registry.models import Candidate, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import FeedbackStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_classifier.artifacts import (
    FAMILY,
    GLOBAL,
    MODEL_TYPE,
    StoredModel,
    account_model,
    global_model,
    parse,
    to_files,
)
from adsml_classifier.models import scores, transfer
from adsml_classifier.models.features import NAMES
from adsml_classifier.models.labels import Judgement, LabelMode
from adsml_classifier.models.panel import LEVELS, Panel
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.transfer import CONFIDENCE_FACTOR, TOP_LEVEL, LevelStatistics, LevelTransfer
from adsml_classifier.training import gate, sampling
from adsml_classifier.training.assessment import assess
from adsml_classifier.training.candidate import ALL_LEVELS, TrainedCandidate, learn
from adsml_classifier.training.gate import Decision, Incumbent
from adsml_classifier.training.recipe import Recipe
from adsml_classifier.training.sampling import Samples

HISTORY_DAYS: Final = 365
"""Longer ago than this an account was another account."""
MIN_CAMPAIGNS: Final = 10
"""Campaigns that the model for new entities is learnt from alone; with fewer it is learnt from all levels."""


@dataclass(frozen=True)
class AccountResult:
    """A candidate, what goes into the registry of it, and what the gate says."""

    stored: StoredModel
    metrics: dict[str, Any]
    decision: Decision
    candidate: TrainedCandidate
    panel: Panel


def train_account(
    frame: pd.DataFrame,
    entities: pd.DataFrame,
    recipe: Recipe,
    *,
    what: str,
    for_new: bool = False,
    judgements: Sequence[Judgement] = (),
    incumbent: tuple[str, StoredModel] | None = None,
    candidate: TrainedCandidate | None = None,
) -> AccountResult:
    """Learn an account's model from its daily rows and its tree, and decide whether it may serve.

    The model for entities that are new to the account (`for_new`) is learnt on its campaigns, where there are enough.
    It is tried on the ad sets and ads, which it never saw: with their features rescaled to the campaigns' and as they
    are. What did better is what it does from then on; the figures go with it.

    `what` says whose it is, for errors; `incumbent` is name and bundle of the model that serves now; `candidate` what
    was learnt from just this on all levels before. `InsufficientHistory` says what there is where it is too little;
    `FailedPrecondition` where all samples have one tier.
    """
    if frame.empty:
        raise InsufficientHistory(what, had=0, needed=1, unit="daily rows")
    campaigns = frame.loc[frame["entity_type"] == EntityType.CAMPAIGN.value, "entity_id"].nunique()
    carried = for_new and campaigns >= MIN_CAMPAIGNS
    levels = (EntityType.CAMPAIGN,) if carried else ALL_LEVELS
    panel = Panel.of(frame, entities=entities)
    if candidate is None or carried:
        candidate = learn(panel, recipe, what=what, judgements=judgements, levels=levels)
    mode, holdout_model = recipe.sampling.mode, candidate.fitted.model
    metrics = {**candidate.metrics(), "label_mode": mode.value}
    statistics: Mapping[str, LevelStatistics] = {}
    if carried:
        samples = sampling.build(panel, recipe.sampling)
        statistics = transfer.statistics(samples.x, samples.level)
        after = samples.where(samples.day >= candidate.split.cutoff)
        check = _transfer_check(holdout_model, after, statistics)
        if check is None or not check["rescales"]:
            statistics = {}
        if check is not None:
            metrics["transfer"] = check
    twin_until = panel.day(candidate.split.cutoff)
    return AccountResult(
        stored=StoredModel(candidate.model, holdout_model, twin_until, mode, levels, statistics),
        metrics=metrics,
        decision=gate.decide(candidate.assessment, _against(candidate, panel, incumbent), mode=mode),
        candidate=candidate,
        panel=panel,
    )


def _against(
    candidate: TrainedCandidate, panel: Panel, incumbent: tuple[str, StoredModel] | None
) -> Incumbent | None:
    if incumbent is None:
        return None
    name, stored = incumbent
    holdout, model, until = candidate.split.holdout, stored.holdout_model, stored.twin_until
    first = panel.day(int(holdout.day.min()))
    last_week, note = None, f"it learnt from days up to {until}, which the holdout from {first} has too"
    if until <= first:
        last_week, note = scores.of_probabilities(holdout.label, model.probabilities(holdout.x)), ""
    since = candidate.answers.samples.day >= panel.column(until)
    unseen = assess(candidate.answers.by(model, since), panel) if since.any() else None
    return Incumbent(name, last_week, note, stored.mode is LabelMode.OUTCOME, unseen)


def _transfer_check(
    model: TierModel, samples: Samples, levels: Mapping[str, LevelStatistics]
) -> dict[str, Any] | None:
    """Figures of a campaigns' model on later samples of the other levels, as they are and rescaled; None without any.

    ``rescales`` says whether rescaling helps, by log loss; ``ece_discounted`` is the calibration error of the better
    one's confidences after the discount.
    """
    others = samples.where(samples.level > 0)
    if not len(others) or TOP_LEVEL not in levels:
        return None
    carried = np.empty((len(others), len(TIERS)))
    for code in np.unique(others.level):
        mask = others.level == code
        scorer = LevelTransfer(model, levels[LEVELS[code]], levels[TOP_LEVEL])
        carried[mask] = scorer.probabilities(others.x[mask])
    plain = model.probabilities(others.x)
    as_is, rescaled = (scores.of_probabilities(others.label, one) for one in (plain, carried))
    rescales = rescaled.log_loss < as_is.log_loss
    better = carried if rescales else plain
    right = better.argmax(axis=1) == others.label
    return {
        "plain": asdict(as_is),
        "rescaled": asdict(rescaled),
        "rescales": rescales,
        "confidence_factor": CONFIDENCE_FACTOR,
        "ece_discounted": scores.expected_calibration_error(right, CONFIDENCE_FACTOR * better.max(axis=1)),
    }


def items_of(config_ids: Sequence[int]) -> list[Item]:
    """Two items an account: its own model, and the one for entities that are new to it.

    They are one group: where campaigns are few both are the same model, learnt once by the process that has both.
    """
    return [
        Item(key, config_id, payload={"part": part}, group=str(config_id))
        for config_id in config_ids
        for key, part in ((str(config_id), ""), (f"{config_id}/{GLOBAL}", GLOBAL))
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
        for_new = item.payload.get("part") == GLOBAL
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
        said = {"decision": "passed" if decision.passed else "rejected", "reason": decision.reason}
        version = self._registry.register(
            Candidate(
                name=name,
                model_type=MODEL_TYPE,
                config_id=item.config_id,
                files=to_files(result.stored),
                parameters={**candidate.fitted.parameters(), "weeks": self._recipe.weeks},
                feature_columns=NAMES,
                training_metrics={**result.metrics, "gate": said},
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
        tree = self._entities.frame(config_id)
        judgements = [
            Judgement(
                one.entity.entity_type.value, one.entity.entity_id, one.date, Tier(one.label), one.recorded_at
            )
            for one in self._feedback.latest(FAMILY, config_id)
        ]
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

    def _incumbent(self, name: str) -> tuple[ModelVersion, StoredModel] | None:
        active = self._registry.active(name)
        if active is None:
            return None
        try:
            return active, parse(active, self._registry.read(active, parse=parse))
        except ArtifactCorrupt:
            # What can't be loaded can't defend its place.
            return None
