"""What answers some rows of a snapshot: a model, or last week's tier and the rule in its place."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from adsml_classifier.models import reasons
from adsml_classifier.models.panel import BoolArray, FloatArray, IntArray
from adsml_classifier.models.reasons import Reason
from adsml_classifier.models.snapshot import AccountSnapshot
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.transfer import LevelTransfer

Scorer: TypeAlias = TierModel | LevelTransfer


@dataclass(frozen=True, slots=True)
class TierCalls:
    """Tiers of some rows; what was not asked for is None or empty."""

    tier: IntArray  # `Tier.rank`, shape (rows,)
    probabilities: FloatArray | None  # calibrated, shape (rows, 4); None where no model answered
    contributions: FloatArray | None  # of each feature to the called tier's log-odds, shape (rows, features)
    reasons: list[tuple[Reason, ...]]


def by_model(
    model: Scorer, snapshot: AccountSnapshot, rows: IntArray, *, contributions: bool, most_reasons: int
) -> TierCalls:
    """The most probable tier."""
    x = snapshot.x[rows]
    probabilities = model.probabilities(x)
    tier = probabilities.argmax(axis=1)
    if not contributions and not most_reasons:
        return TierCalls(tier, probabilities, None, [])
    of_tier = model.contributions(x)[np.arange(len(rows)), tier, :-1]
    why = reasons.of_model(snapshot.evidence, rows, tier, of_tier, most=most_reasons) if most_reasons else []
    return TierCalls(tier, probabilities, of_tier, why)


def by_last_week(
    snapshot: AccountSnapshot, rows: IntArray, by_rule: BoolArray, *, most_reasons: int
) -> TierCalls:
    """Last week's tier again, or the rule, which moves it by the step for the trend."""
    tier = np.where(by_rule, snapshot.rule_tier[rows], snapshot.persistence[rows])
    step = np.where(by_rule, snapshot.step[rows], 0)
    why = reasons.of_week(snapshot.evidence, rows, tier, step=step, most=most_reasons) if most_reasons else []
    return TierCalls(tier, None, None, why)
