"""What answers some rows of a snapshot: a model, or last week's tier and the rule in its place."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adsml_classifier.models import reasons
from adsml_classifier.models.panel import FloatArray, IntArray
from adsml_classifier.models.reasons import Reason
from adsml_classifier.models.snapshot import AccountSnapshot


class Scorer(Protocol):
    """What scoring needs of a model."""

    def probabilities(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Calibrated probabilities, shape (rows, 4)."""

    def contributions(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Shapley values, shape (rows, 4, features + 1)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Tiers of some rows.

    Attributes
    ----------
    tier
        The answer, `Tier.rank`, shape (rows,).
    probabilities
        Calibrated, of the tiers from best to worst, shape (rows, 4); None where no model answered.
    contributions
        Of each feature to the answered tier's log-odds, shape (rows, features); None where none were asked for.
    reasons
        Of each row; empty where none were asked for.
    """

    tier: IntArray
    probabilities: FloatArray | None
    contributions: FloatArray | None
    reasons: list[tuple[Reason, ...]]


def by_model(
    model: Scorer, snapshot: AccountSnapshot, rows: IntArray, *, contributions: bool, most_reasons: int
) -> Scores:
    """The most probable tier."""
    x = snapshot.x[rows]
    probabilities = model.probabilities(x)
    tier = probabilities.argmax(axis=1)
    if not contributions and not most_reasons:
        return Scores(tier, probabilities, None, [])
    of_tier = model.contributions(x)[np.arange(len(rows)), tier, :-1]
    why = reasons.of_model(snapshot.evidence, rows, tier, of_tier, most=most_reasons) if most_reasons else []
    return Scores(tier, probabilities, of_tier, why)


def by_last_week(snapshot: AccountSnapshot, rows: IntArray, *, with_step: bool, most_reasons: int) -> Scores:
    """Last week's tier again; `with_step`: the rule, which moves it by the step for the trend."""
    tier = (snapshot.rule_tier if with_step else snapshot.persistence)[rows]
    step = snapshot.step[rows] if with_step else None
    why = reasons.of_week(snapshot.evidence, rows, tier, step=step, most=most_reasons) if most_reasons else []
    return Scores(tier, None, None, why)
