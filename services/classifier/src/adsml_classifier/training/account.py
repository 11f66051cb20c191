"""One account from its daily rows to a model with its figures and the gate's decision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InsufficientHistory

from adsml_classifier.artifacts import StoredModel
from adsml_classifier.models import transfer
from adsml_classifier.models.labels import Judgement, LabelMode
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.transfer import CONFIDENCE_FACTOR
from adsml_classifier.training import gate, sampling, transfer_check
from adsml_classifier.training.candidate import ALL_LEVELS, Recipe, TrainedCandidate, incumbent_scores, learn
from adsml_classifier.training.gate import Decision, Incumbent

MIN_CAMPAIGNS: Final = 10
"""Campaigns that the model for new entities is learnt from alone; with fewer it is learnt from all levels."""


@dataclass(frozen=True)
class AccountResult:
    """A candidate and what the gate says of it.

    Attributes
    ----------
    stored
        What goes into the registry.
    parameters, metrics
        For the registry.
    decision
        Whether it may serve, and why.
    samples
        Samples it learnt from.
    first, last
        Days it learnt from.
    candidate
        The candidate itself, for whoever needs the same again.
    """

    stored: StoredModel
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    decision: Decision
    samples: int
    first: date
    last: date
    candidate: TrainedCandidate


def train_for_new(
    frame: pd.DataFrame,
    entities: pd.DataFrame,
    recipe: Recipe,
    *,
    what: str,
    judgements: Sequence[Judgement] = (),
    incumbent: tuple[str, StoredModel] | None = None,
    candidate: TrainedCandidate | None = None,
    confidence_factor: float = CONFIDENCE_FACTOR,
) -> AccountResult:
    """Learn the account's model for entities that are new to it: on its campaigns, where there are enough.

    A model of campaigns is tried on the account's ad sets and ads, which it never saw: with their features rescaled
    to the campaigns' and as they are. What did better is what it does from then on; the figures go with it.

    Parameters
    ----------
    confidence_factor
        What a carried-over confidence is multiplied by, for the figures.
    candidate
        What `train_account` learnt from just these rows on all levels: where campaigns are too few it is the same.
    frame, entities, recipe, what, judgements, incumbent
        As of `train_account`, with the same errors.
    """
    levels = levels_for_new(frame)
    result = train_account(
        frame,
        entities,
        recipe,
        what=what,
        judgements=judgements,
        incumbent=incumbent,
        levels=levels,
        candidate=candidate if levels == ALL_LEVELS else None,
    )
    if levels == ALL_LEVELS:
        return result
    panel = Panel.of(frame, entities=entities)
    samples = sampling.build(panel, recipe.sampling, recipe.rule)
    statistics = transfer.statistics(samples.x, samples.level)
    after = samples.where(samples.day >= panel.column(result.stored.twin_until))
    check = transfer_check.check(result.stored.holdout_model, after, statistics, factor=confidence_factor)
    if check is None:
        return result
    stored = replace(result.stored, levels=statistics if check.rescales else {})
    return replace(result, stored=stored, metrics={**result.metrics, "transfer": check.as_dict()})


def train_account(
    frame: pd.DataFrame,
    entities: pd.DataFrame,
    recipe: Recipe,
    *,
    what: str,
    judgements: Sequence[Judgement] = (),
    incumbent: tuple[str, StoredModel] | None = None,
    levels: Sequence[EntityType] = ALL_LEVELS,
    candidate: TrainedCandidate | None = None,
) -> AccountResult:
    """Learn an account's model and decide whether it may serve.

    Parameters
    ----------
    frame, entities
        The account's daily rows, and its tree.
    recipe
        How.
    what
        Whose, for errors.
    judgements
        What people said.
    incumbent
        Name and bundle of the model that serves now.
    levels
        The entity types to learn from.
    candidate
        What was learnt from just this before; only the incumbent is another one.

    Raises
    ------
    InsufficientHistory
        No rows, or too few samples; says what there is.
    FailedPrecondition
        All samples have one tier.
    """
    if frame.empty:
        raise InsufficientHistory(what, had=0, needed=1, unit="daily rows")
    panel = Panel.of(frame, entities=entities)
    if candidate is None:
        candidate = learn(panel, recipe, what=what, judgements=judgements, levels=levels)
    mode = recipe.sampling.mode
    decision = gate.decide(
        candidate.assessment, _against(candidate, panel, incumbent), recipe.gate, mode=mode
    )
    stored = StoredModel(
        candidate.model, candidate.measured, panel.day(candidate.train_end), mode, tuple(levels)
    )
    return AccountResult(
        stored=stored,
        parameters={**candidate.fitted.parameters(), "weeks": recipe.weeks},
        metrics={**candidate.metrics(), "label_mode": mode.value},
        decision=decision,
        samples=len(candidate.samples),
        first=panel.day(0),
        last=panel.day(len(panel.days) - 1),
        candidate=candidate,
    )


def levels_for_new(frame: pd.DataFrame) -> tuple[EntityType, ...]:
    """The levels that the model for new entities is learnt from."""
    campaigns = frame.loc[frame["entity_type"] == EntityType.CAMPAIGN.value, "entity_id"].nunique()
    return (EntityType.CAMPAIGN,) if campaigns >= MIN_CAMPAIGNS else ALL_LEVELS


def _against(
    candidate: TrainedCandidate, panel: Panel, incumbent: tuple[str, StoredModel] | None
) -> Incumbent | None:
    if incumbent is None:
        return None
    name, stored = incumbent
    outcome = stored.mode is LabelMode.OUTCOME
    first = panel.day(int(candidate.holdout.day.min()))
    if stored.twin_until > first:
        note = f"it learnt from days up to {stored.twin_until}, which the holdout from {first} has too"
        return Incumbent(name, None, note, outcome)
    return Incumbent(name, incumbent_scores(stored.holdout_model, candidate.holdout), outcome=outcome)
