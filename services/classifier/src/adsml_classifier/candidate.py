"""From an account's days to a candidate model and the figures it is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from adsml_common.domain.entities import EntityType

from adsml_classifier import evaluation, learning, scores, snapshots
from adsml_classifier.gate import GateSettings
from adsml_classifier.labels import Judgement
from adsml_classifier.learning import FitSettings, Fitted
from adsml_classifier.model import TierModel
from adsml_classifier.panel import Panel
from adsml_classifier.rule import RuleSettings
from adsml_classifier.snapshots import Snapshots, SnapshotSettings

ALL_LEVELS: Final = tuple(EntityType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what comes out of an account's data.

    Attributes
    ----------
    holdout_days
        As-of days at the end that judge the candidate; a quarter of the days where there are few.
    """

    rule: RuleSettings = field(default_factory=RuleSettings)
    snapshots: SnapshotSettings = field(default_factory=SnapshotSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    holdout_days: int = 14


@dataclass(frozen=True)
class Learned:
    """A candidate.

    Attributes
    ----------
    model
        Learnt from all samples, holdout included: what would serve.
    measured
        Its twin that never saw the holdout: what the figures are of.
    fitted
        How the twin was fitted; the model has the same trees' shape, rounds and calibration.
    judged
        The figures.
    samples, train, holdout
        All samples, those of the twin, those of the figures.
    train_end
        Column of the last day that the twin's labels look at.
    """

    model: TierModel
    measured: TierModel
    fitted: Fitted
    judged: evaluation.Judged
    samples: Snapshots
    train: Snapshots
    holdout: Snapshots
    train_end: int

    def metrics(self) -> dict[str, Any]:
        """For the registry and for `adsml evaluate`."""
        validated = self.fitted.validated
        return {
            **self.judged.as_dict(),
            "samples_train": len(self.train),
            "samples_by_tier": self.samples.counts,
            "samples_by_person": int(self.samples.by_person.sum()),
            "left_out": {
                "not_over": self.samples.left.not_over,
                "no_delivery": self.samples.left.no_delivery,
                "immaterial": self.samples.left.immaterial,
            },
            "validation": None if validated is None else validated.as_dict(),
            "calibration_log_loss": self.fitted.calibration.log_loss,
            "notes": list(self.fitted.notes),
        }


def learn(
    panel: Panel,
    recipe: Recipe,
    *,
    what: str,
    judgements: Sequence[Judgement] = (),
    levels: Sequence[EntityType] = ALL_LEVELS,
    final: bool = True,
) -> Learned:
    """Cut samples, fit, judge on the last days, and fit once more on all.

    Parameters
    ----------
    panel
        The account.
    recipe
        How.
    what
        Whose, for errors, e.g. ``"account 7"``.
    judgements
        What people said.
    levels
        The entity types to learn from.
    final
        Whether to fit once more; not needed for a report.

    Raises
    ------
    InsufficientHistory
        Too few samples, in all or before the holdout; says what there is.
    FailedPrecondition
        All samples have one tier.
    """
    samples = snapshots.build(panel, recipe.snapshots, recipe.rule, judgements=judgements, levels=levels)
    return learn_samples(samples, panel, recipe, what=what, final=final)


def learn_samples(
    samples: Snapshots, panel: Panel, recipe: Recipe, *, what: str, final: bool = True
) -> Learned:
    """The same from samples that were cut already; parameters and errors as of `learn`."""
    needed, lag = recipe.fit.min_samples, recipe.snapshots.attribution_lag_days
    snapshots.require(samples, panel, what=what, needed=needed)
    cutoff = snapshots.holdout_cutoff(samples, days=recipe.holdout_days)
    parts = snapshots.split(samples, cutoff=cutoff, lag_days=lag)
    snapshots.require(parts.train, panel, what=f"{what} up to a week before the holdout", needed=needed)
    fitted = learning.fit(parts.train, recipe.fit, lag_days=lag)
    model = fitted.model
    if final:
        booster = learning.refit(samples, fitted.shape, fitted.rounds, recipe.fit)
        absent = np.setdiff1d(np.arange(4), samples.label)
        model = replace(model, booster=booster, absent=tuple(int(tier) for tier in absent))
    return Learned(
        model=model,
        measured=fitted.model,
        fitted=fitted,
        judged=evaluation.judge(fitted.model, parts.holdout, panel),
        samples=samples,
        train=parts.train,
        holdout=parts.holdout,
        train_end=cutoff,
    )


def incumbent_scores(measured: TierModel, holdout: Snapshots) -> scores.Scores:
    """Figures of an earlier model's twin on this holdout."""
    return scores.of_probabilities(holdout.label, measured.probabilities(holdout.x))
