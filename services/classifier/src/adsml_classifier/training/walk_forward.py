"""Rolling origins: every week is answered by a model that learnt only from what was known at its start.

One stretch of days at the end says little of an account: its entities are few and their weeks overlap. So the last
weeks are taken one by one, as retraining takes them, and their answers are judged together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from adsml_classifier.models.panel import Panel
from adsml_classifier.training import assessment, fitting, sampling
from adsml_classifier.training.assessment import Answers, Assessment
from adsml_classifier.training.fit_settings import FitSettings
from adsml_classifier.training.fitting import FittedModel
from adsml_classifier.training.folds import Folds
from adsml_classifier.training.sampling import HORIZON_DAYS, Samples, Split


@dataclass(frozen=True)
class Origin:
    """One week and the model that answered it.

    Attributes
    ----------
    fitted
        The model.
    split
        What it learnt from, and what it answered.
    answers
        What it answered.
    assessment
        Its figures.
    """

    fitted: FittedModel
    split: Split
    answers: Answers
    assessment: Assessment

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        model = self.assessment.model
        return {
            "as_of": [self.assessment.first.isoformat(), self.assessment.last.isoformat()],
            "samples_train": len(self.split.train),
            "samples_test": len(self.split.holdout),
            "weighted_f1": model.weighted_f1,
            "macro_f1": model.macro_f1,
            "persistence": self.assessment.as_dict()["persistence"],
            "parameters": self.fitted.parameters(),
        }


def cutoffs(samples: Samples, *, weeks: int, least_days: int, lag_days: int) -> list[int]:
    """First as-of days of the weeks to answer, in order.

    Parameters
    ----------
    samples
        All samples, at least one.
    weeks
        How many at most: the last ones.
    least_days
        As-of days that the first of the models has to learn from. Where not even the last week leaves so many, the
        last quarter of the days is answered, by one model.
    lag_days
        Days that leads take to come in.
    """
    first, last = sampling.known_days(samples)
    found = [last + 1 - HORIZON_DAYS * week for week in range(weeks, 0, -1)]
    found = [cutoff for cutoff in found if cutoff - HORIZON_DAYS - lag_days - first + 1 >= least_days]
    return found or [last + 1 - max((last - first + 1) // 4, 1)]


def walk_forward(
    samples: Samples,
    panel: Panel,
    settings: FitSettings,
    *,
    what: str,
    weeks: int,
    least_days: int,
    lag_days: int = 0,
) -> list[Origin]:
    """Fit and answer week by week.

    Parameters
    ----------
    samples, panel
        All samples, and where they are from.
    settings
        How to fit.
    what
        Whose, for errors.
    weeks, least_days, lag_days
        As of `cutoffs`.

    Raises
    ------
    InsufficientHistory
        The earliest model would have too few samples to learn from; says what there is.
    FailedPrecondition
        They all have one tier.
    """
    starts = cutoffs(samples, weeks=weeks, least_days=least_days, lag_days=lag_days)
    out = []
    folds = Folds(settings, lag_days=lag_days)
    for place, start in enumerate(starts):
        until = starts[place + 1] - 1 if place + 1 < len(starts) else None
        split = sampling.split(samples, cutoff=start, until=until, lag_days=lag_days)
        last = place + 1 == len(starts)
        thin = len(split.train) < settings.min_samples or len(np.unique(split.train.label)) < 2
        if not last and (thin or not len(split.holdout)):
            # A week that can't be answered yet; a later one may.
            continue
        sampling.require(
            split.train, panel, what=f"{what} up to a week before its last", needed=settings.min_samples
        )
        fitted = fitting.fit(split.train, settings, folds)
        answers = Answers.of(fitted.model, split)
        out.append(Origin(fitted, split, answers, assessment.assess(answers, panel)))
    return out


def assess_together(origins: list[Origin], panel: Panel) -> Assessment:
    """Figures over all weeks."""
    answers = origins[0].answers.join([one.answers for one in origins[1:]])
    return assessment.assess(answers, panel)
