"""One account from its daily rows to a model with its figures and the gate's decision."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InsufficientHistory

from adsml_classifier.artifacts import StoredModel
from adsml_classifier.models import scores, transfer
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
    holdout, model = candidate.split.holdout, stored.holdout_model
    first = panel.day(int(holdout.day.min()))
    last_week, note = None, ""
    if stored.twin_until > first:
        note = f"it learnt from days up to {stored.twin_until}, which the holdout from {first} has too"
    else:
        last_week = scores.of_probabilities(holdout.label, model.probabilities(holdout.x))
    since = candidate.answers.samples.day >= panel.column(stored.twin_until)
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
