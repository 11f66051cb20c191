"""Fitting: trees' shape and rounds by rolling-origin validation, then calibration, then the model on all samples.

Everything is chosen inside the samples given, on stretches of days that come after the ones a fold learns
from (with the gap of `sampling.split`): never on the holdout that a model is judged by.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import xgboost
from adsml_common.domain.errors import FailedPrecondition

from adsml_classifier.models import calibration, scores
from adsml_classifier.models.panel import FloatArray
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training.folds import Fold, Folds, fit_linear, matrix, parameters
from adsml_classifier.training.recipe import FitSettings, Shape
from adsml_classifier.training.sampling import Samples

_UNTUNED_ROUNDS: Final = 40
# Rounds have to earn their place: nats of log loss, over what the best number of rounds so far gives.
_WORTH: Final = 0.0005
_LEAST_SHARE: Final = 1e-3


@dataclass(frozen=True)
class FittedModel:
    """A model, what validation chose for it, and what a reader should know (`notes`)."""

    model: TierModel
    shape: Shape
    rounds: int
    calibration: calibration.Choice
    validated: scores.Scores | None  # on the validation days; None where there were too few
    notes: tuple[str, ...] = ()

    def parameters(self) -> dict[str, object]:
        """For the registry."""
        name = self.calibration.calibration.name
        return {**asdict(self.shape), "rounds": self.rounds, "calibration": name}


def fit(samples: Samples, settings: FitSettings, folds: Folds | None = None) -> FittedModel:
    """Learn from samples, nothing of which the model will be judged on.

    `folds` are where choices are made, without a lag where not given; those of a walk forward know most of it
    already. `FailedPrecondition` where all samples have the same tier: there is nothing to tell apart.
    """
    present = np.unique(samples.label)
    if len(present) < 2:
        tier = TIERS[int(present[0])].value if len(present) else "no tier"
        raise FailedPrecondition(
            f"all {len(samples)} samples are {tier}: there is nothing to tell apart, and the rule serves as well",
            metadata={"samples": str(len(samples)), "tiers": str(len(present))},
        )
    absent = tuple(int(t) for t in np.setdiff1d(np.arange(len(TIERS)), present))
    notes = tuple(f"no sample is {TIERS[t].value}; this model never answers it" for t in absent)
    held = (folds or Folds(settings)).of(samples)
    if not held:
        shape, rounds = settings.shapes[0], _UNTUNED_ROUNDS
        notes += ("too few days to validate on: default trees and rounds, probabilities not calibrated",)
        choice, validated = calibration.choose([]), None
    else:
        shape, rounds = _trees(held, settings)
        unseen = []
        for fold in held:
            model = TierModel(fold.trees(shape, rounds), calibration.IDENTITY, fold.line, absent)
            unseen.append((model.margins(fold.held.x), fold.held.label))
        choice = calibration.choose(unseen)
        label = np.concatenate([truth for _, truth in unseen])
        validated = scores.of_probabilities(label, choice.calibration(np.concatenate([z for z, _ in unseen])))
    booster = refit(samples, shape, rounds, settings)
    # The margins of two parts are averaged, then calibrated: so much of the line makes so much of the answer.
    line = fit_linear(samples, settings).raised(2.0 / choice.calibration.scale * rarity(samples, settings))
    model = TierModel(booster, choice.calibration, line, absent)
    return FittedModel(model, shape, rounds, choice, validated, notes)


def rarity(samples: Samples, settings: FitSettings) -> FloatArray:
    """What is added to each tier's log-odds, shape (4,): the more, the rarer it is and the fewer the samples.

    Penalties and early stopping draw what little is known to the tiers' shares. The weeks to come bear that out
    less than the validation days, and with few samples it costs log loss as well as F1 (docs/classifier.md).
    """
    share = np.bincount(samples.label, weights=samples.weight, minlength=len(TIERS)) / samples.weight.sum()
    power = settings.rarity_power * settings.rarity_samples / (settings.rarity_samples + len(samples))
    raised: FloatArray = -power * np.log(np.maximum(share, _LEAST_SHARE))
    return raised


def refit(samples: Samples, shape: Shape, rounds: int, settings: FitSettings) -> xgboost.Booster:
    """A booster of a known shape and number of rounds."""
    return xgboost.train(parameters(shape, settings), matrix(samples, settings), num_boost_round=rounds)


def _trees(folds: Sequence[Fold], settings: FitSettings) -> tuple[Shape, int]:
    """The shape and the number of rounds with the least mean loss.

    All folds are boosted in step, until their mean loss has not fallen for `patience` rounds: a fold that stopped by
    itself would hide how much later rounds hurt it.
    """
    best = settings.shapes[0], 0, float("inf")
    weights = [len(fold.held) for fold in folds]
    for shape in settings.shapes:
        rounds, least = 0, float("inf")
        for done in range(1, settings.max_rounds + 1):
            loss = float(np.average([fold.loss(shape, done) for fold in folds], weights=weights))
            if loss < least - _WORTH:
                rounds, least = done, loss
            elif done >= rounds + settings.patience:
                break
        if least < best[2]:
            best = shape, rounds, least
    return best[:2]
