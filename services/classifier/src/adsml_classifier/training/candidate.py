"""From an account's days to a candidate model and the figures it is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from adsml_common.domain.entities import EntityType

from adsml_classifier.models import scores
from adsml_classifier.models.labels import Judgement
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.rule import TIERS, RuleSettings
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training import fitting, sampling
from adsml_classifier.training.assessment import Assessment
from adsml_classifier.training.fit_settings import FitSettings
from adsml_classifier.training.fitting import FittedModel
from adsml_classifier.training.folds import fit_linear
from adsml_classifier.training.gate import GateSettings
from adsml_classifier.training.sampling import Samples, SampleSettings
from adsml_classifier.training.walk_forward import Origin, assess_together, walk_forward

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
    sampling: SampleSettings = field(default_factory=SampleSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    weeks: int = 4
    least_days: int = 14


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate.

    Attributes
    ----------
    model
        Learnt from all samples, the last week's included: what would serve.
    origins
        The weeks that it is judged by. The last one's is the holdout model: the same trees' shape, rounds and
        calibration, learnt without that week.
    assessment
        The figures over all those weeks.
    samples
        All samples.
    """

    model: TierModel
    origins: list[Origin]
    assessment: Assessment
    samples: Samples

    @property
    def fitted(self) -> FittedModel:
        """The holdout model, and how it was fitted."""
        return self.origins[-1].fitted

    @property
    def measured(self) -> TierModel:
        """The holdout model."""
        return self.fitted.model

    @property
    def train(self) -> Samples:
        """What the holdout model learnt from."""
        return self.origins[-1].split.train

    @property
    def holdout(self) -> Samples:
        """What the holdout model answered: the last week."""
        return self.origins[-1].split.holdout

    @property
    def train_end(self) -> int:
        """Column of the last day that the holdout model's labels look at."""
        return self.origins[-1].split.cutoff

    def metrics(self) -> dict[str, Any]:
        """For the registry and for `adsml evaluate`."""
        validated = self.fitted.validated
        return {
            **self.assessment.as_dict(),
            "samples_train": len(self.train),
            "by_origin": [origin.as_dict() for origin in self.origins],
            "samples_by_tier": self.samples.counts,
            "samples_by_person": int(self.samples.by_person.sum()),
            "left_out": {
                "not_over": self.samples.excluded.not_over,
                "no_delivery": self.samples.excluded.no_delivery,
                "immaterial": self.samples.excluded.immaterial,
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
) -> TrainedCandidate:
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
    samples = sampling.build(panel, recipe.sampling, recipe.rule, judgements=judgements, levels=levels)
    return learn_samples(samples, panel, recipe, what=what, final=final)


def learn_samples(
    samples: Samples, panel: Panel, recipe: Recipe, *, what: str, final: bool = True
) -> TrainedCandidate:
    """The same from samples that were cut already; parameters and errors as of `learn`."""
    needed, lag = recipe.fit.min_samples, recipe.sampling.attribution_lag_days
    sampling.require(samples, panel, what=what, needed=needed)
    origins = walk_forward(
        samples, panel, recipe.fit, what=what, weeks=recipe.weeks, least_days=recipe.least_days, lag_days=lag
    )
    fitted = origins[-1].fitted
    model = fitted.model
    if final:
        booster = fitting.refit(samples, fitted.shape, fitted.rounds, recipe.fit)
        absent = np.setdiff1d(np.arange(len(TIERS)), samples.label)
        part = fit_linear(samples, recipe.fit)
        model = replace(model, booster=booster, absent=tuple(int(tier) for tier in absent), linear=part)
    return TrainedCandidate(model, origins, assess_together(origins, panel), samples)


def incumbent_scores(measured: TierModel, holdout: Samples) -> scores.Scores:
    """Figures of an earlier holdout model on this holdout."""
    return scores.of_probabilities(holdout.label, measured.probabilities(holdout.x))
