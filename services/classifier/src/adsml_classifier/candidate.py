"""From an account's days to a candidate model and the figures it is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from adsml_common.domain.entities import EntityType

from adsml_classifier import evaluation, learning, scores, snapshots
from adsml_classifier.fit_settings import FitSettings
from adsml_classifier.folds import fit_linear
from adsml_classifier.gate import GateSettings
from adsml_classifier.labels import Judgement
from adsml_classifier.learning import Fitted
from adsml_classifier.model import TierModel
from adsml_classifier.panel import Panel
from adsml_classifier.rule import TIERS, RuleSettings
from adsml_classifier.snapshots import Snapshots, SnapshotSettings
from adsml_classifier.walk_forward import Origin, judge_together, walk_forward

ALL_LEVELS: Final = tuple(EntityType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what comes out of an account's data.

    Attributes
    ----------
    weeks
        The last weeks of as-of days judge the candidate, each answered by a model that learnt from what was known
        at its start.
    least_days
        As-of days that the first of those models has to learn from; weeks before that are left out.
    """

    rule: RuleSettings = field(default_factory=RuleSettings)
    snapshots: SnapshotSettings = field(default_factory=SnapshotSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    weeks: int = 4
    least_days: int = 14


@dataclass(frozen=True)
class Learned:
    """A candidate.

    Attributes
    ----------
    model
        Learnt from all samples, the last week's included: what would serve.
    origins
        The weeks that it is judged by. The last one's model is its twin: the same trees' shape, rounds and
        calibration, learnt without that week.
    judged
        The figures over all those weeks.
    samples
        All samples.
    """

    model: TierModel
    origins: list[Origin]
    judged: evaluation.Judged
    samples: Snapshots

    @property
    def fitted(self) -> Fitted:
        """The twin, and how it was fitted."""
        return self.origins[-1].fitted

    @property
    def measured(self) -> TierModel:
        """The twin."""
        return self.fitted.model

    @property
    def train(self) -> Snapshots:
        """What the twin learnt from."""
        return self.origins[-1].split.train

    @property
    def holdout(self) -> Snapshots:
        """What the twin answered: the last week."""
        return self.origins[-1].split.holdout

    @property
    def train_end(self) -> int:
        """Column of the last day that the twin's labels look at."""
        return self.origins[-1].split.cutoff

    def metrics(self) -> dict[str, Any]:
        """For the registry and for `adsml evaluate`."""
        validated = self.fitted.validated
        return {
            **self.judged.as_dict(),
            "samples_train": len(self.train),
            "by_origin": [origin.as_dict() for origin in self.origins],
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
    """Cut samples, fit and judge week by week, and fit once more on all.

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
    origins = walk_forward(
        samples, panel, recipe.fit, what=what, weeks=recipe.weeks, least_days=recipe.least_days, lag_days=lag
    )
    fitted = origins[-1].fitted
    model = fitted.model
    if final:
        booster = learning.refit(samples, fitted.shape, fitted.rounds, recipe.fit)
        absent = np.setdiff1d(np.arange(len(TIERS)), samples.label)
        part = fit_linear(samples, recipe.fit)
        model = replace(model, booster=booster, absent=tuple(int(tier) for tier in absent), linear=part)
    return Learned(model, origins, judge_together(origins, panel), samples)


def incumbent_scores(measured: TierModel, holdout: Snapshots) -> scores.Scores:
    """Figures of an earlier model's twin on this holdout."""
    return scores.of_probabilities(holdout.label, measured.probabilities(holdout.x))
