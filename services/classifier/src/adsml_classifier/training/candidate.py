"""From an account's days to a candidate model and the figures it is judged by.

By rolling origins: one stretch of days at the end says little of an account, since its entities are few and their
weeks overlap. So the last weeks are taken one by one, each answered by a model that learnt only from what was known
at its start, as retraining takes them, and the answers are judged together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from adsml_common.domain.entities import EntityType

from adsml_classifier.models.labels import Judgement
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training import fitting, sampling
from adsml_classifier.training.assessment import Answers, Assessment, assess
from adsml_classifier.training.fitting import FittedModel, Folds
from adsml_classifier.training.recipe import Recipe
from adsml_classifier.training.sampling import HORIZON_DAYS, Samples, Split

ALL_LEVELS: Final = tuple(EntityType)


@dataclass(frozen=True)
class Origin:
    """One week and the model that answered it."""

    fitted: FittedModel
    split: Split
    answers: Answers
    assessment: Assessment

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        assessed = self.assessment.as_dict()
        return {
            "as_of": assessed["test_as_of"],
            "samples_train": len(self.split.train),
            "samples_test": len(self.split.holdout),
            **{name: assessed[name] for name in ("weighted_f1", "macro_f1", "persistence")},
            "parameters": self.fitted.parameters(),
        }


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate, and how it was judged.

    The last origin's model is the holdout model: the same trees' shape, rounds and calibration, learnt without the
    last week.
    """

    model: TierModel  # learnt from all samples, the last week's included: what would serve
    origins: list[Origin]  # the weeks that it is judged by
    answers: Answers  # over all those weeks
    assessment: Assessment
    samples: Samples

    @property
    def fitted(self) -> FittedModel:
        """The holdout model, and how it was fitted."""
        return self.origins[-1].fitted

    @property
    def split(self) -> Split:
        """What the holdout model learnt from, and what it answered."""
        return self.origins[-1].split

    def metrics(self) -> dict[str, Any]:
        """For the registry and for `adsml evaluate`."""
        validated = self.fitted.validated
        return {
            **self.assessment.as_dict(),
            "samples_train": len(self.split.train),
            "by_origin": [origin.as_dict() for origin in self.origins],
            "samples_by_tier": self.samples.counts,
            "samples_by_person": int(self.samples.by_person.sum()),
            "left_out": asdict(self.samples.excluded),
            "validation": None if validated is None else asdict(validated),
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
    """Cut samples of some levels, fit and judge week by week, and, unless it is for a report, fit once more on all.

    `what` says whose it is, for errors, which are those of `walk_forward`.
    """
    samples = sampling.build(panel, recipe.sampling, judgements=judgements, levels=levels)
    sampling.require(samples, panel, what=what, needed=recipe.fit.min_samples)
    origins = walk_forward(samples, panel, recipe, what=what)
    fitted = origins[-1].fitted
    model = fitted.model
    if final:
        model = fitting.assemble(samples, fitted.shape, fitted.rounds, model.calibration, recipe.fit)
    answers = origins[0].answers.join([one.answers for one in origins[1:]])
    return TrainedCandidate(model, origins, answers, assess(answers, panel), samples)


def cutoffs(samples: Samples, recipe: Recipe) -> list[int]:
    """First as-of days of the weeks that judge, in order.

    Where not even the last week leaves the first of the models enough days to learn from, the last quarter of the
    days is answered, by one model.
    """
    first, last = sampling.known_days(samples)
    gap = HORIZON_DAYS + recipe.sampling.attribution_lag_days
    starts = [last + 1 - HORIZON_DAYS * week for week in range(recipe.weeks, 0, -1)]
    starts = [start for start in starts if start - gap - first + 1 >= recipe.least_days]
    return starts or [last + 1 - max((last - first + 1) // 4, 1)]


def walk_forward(samples: Samples, panel: Panel, recipe: Recipe, *, what: str) -> list[Origin]:
    """Fit and answer week by week; `what` says whose samples they are, for errors.

    `InsufficientHistory` where the earliest model would have too few samples to learn from, `FailedPrecondition`
    where they all have one tier.
    """
    starts, settings, lag_days = cutoffs(samples, recipe), recipe.fit, recipe.sampling.attribution_lag_days
    out = []
    folds = Folds(settings, lag_days=lag_days)
    for place, start in enumerate(starts):
        until = starts[place + 1] - 1 if place + 1 < len(starts) else None
        split = sampling.split(samples, cutoff=start, until=until, lag_days=lag_days)
        thin = len(split.train) < settings.min_samples or len(np.unique(split.train.label)) < 2
        if until is not None and (thin or not len(split.holdout)):
            # A week that can't be answered yet; a later one may.
            continue
        where = f"{what} up to a week before its last"
        sampling.require(split.train, panel, what=where, needed=settings.min_samples)
        fitted = fitting.fit(split.train, settings, folds)
        answers = Answers.of(fitted.model, split)
        out.append(Origin(fitted, split, answers, assess(answers, panel)))
    return out
