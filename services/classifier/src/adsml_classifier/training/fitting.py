"""Fitting: trees' shape and rounds by rolling-origin validation, then calibration, then the model on all samples.

Everything is chosen inside the samples given, on stretches of days that come after the ones a fold learns
from (with the gap of `sampling.split`): never on the holdout that a model is judged by. A walk forward over the weeks
asks for nearly the same stretches again a week later, so what was learnt on one is kept: it is the same whoever asks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import xgboost
from adsml_common.domain.errors import FailedPrecondition

from adsml_classifier.models import calibration, features, linear, scores
from adsml_classifier.models.linear import Linear
from adsml_classifier.models.panel import FloatArray
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training.recipe import FitSettings, Shape
from adsml_classifier.training.sampling import HORIZON_DAYS, Samples, split

_UNTUNED_ROUNDS: Final = 40
# Rounds have to earn their place: nats of log loss, over what the best number of rounds so far gives.
_WORTH: Final = 0.0005
_LEAST_SHARE: Final = 1e-3
_SMALLEST_FOLD: Final = 30
_LONGEST_FOLD_DAYS: Final = 7


class Fold:
    """A stretch of days, and what those before it (less a gap) teach; worked out when it is asked for."""

    def __init__(self, train: Samples, held: Samples, settings: FitSettings) -> None:
        self.train = train
        self.held = held
        self._settings = settings
        # Without names: XGBoost checks them at every round, which takes as long as a round of a small account.
        self._learnt = matrix(train, settings, named=False)
        # Validation is not weighted: the loss to make small is that of the days as they come.
        self._asked = xgboost.DMatrix(held.x, held.label, nthread=settings.threads)
        self._trees: dict[Shape, tuple[xgboost.Booster, list[float]]] = {}

    def trees(self, shape: Shape, rounds: int) -> xgboost.Booster:
        """Trees of a shape after so many rounds, at least one."""
        self.loss(shape, rounds)
        return self._trees[shape][0][:rounds]

    def loss(self, shape: Shape, rounds: int) -> float:
        """Log loss on the held days after so many rounds, at least one."""
        if shape not in self._trees:
            booster = xgboost.Booster(parameters(shape, self._settings), [self._learnt, self._asked])
            self._trees[shape] = booster, []
        booster, losses = self._trees[shape]
        while len(losses) < rounds:
            booster.update(self._learnt, len(losses))
            losses.append(float(booster.eval(self._asked).rsplit(":", 1)[1]))
        return losses[rounds - 1]

    @cached_property
    def line(self) -> Linear:
        """The linear part."""
        return fit_linear(self.train, self._settings)


class Folds:
    """The folds of one account's samples, kept for whoever asks for the same days again."""

    def __init__(self, settings: FitSettings, *, lag_days: int = 0) -> None:
        self._settings = settings
        self._lag = lag_days
        self._kept: dict[tuple[int, int, int, int], Fold] = {}

    def of(self, samples: Samples) -> list[Fold]:
        """The last stretches of days of these samples; they do not overlap.

        The days that have anything before them (after the gap) are shared out evenly between the folds and what the
        first of them learns from, at most a week to a fold. Folds that would have fewer than 30 samples or one tier
        on either side are left out. `samples` are those of one account that were known at a time: what is kept is
        looked up by its days.
        """
        last_day = int(samples.day.max())
        span = last_day - int(samples.day.min()) + 1 - HORIZON_DAYS - self._lag
        days = min(max(span // (self._settings.folds + 1), 1), _LONGEST_FOLD_DAYS)
        step = -(-len(samples) // self._settings.tuning_samples)
        thinned = samples.where((last_day - samples.day) % step == 0) if step > 1 else samples
        folds = []
        for number in range(self._settings.folds):
            until = last_day - number * days
            key = (until - days + 1, until, step, last_day % step)
            if key not in self._kept:
                part = split(thinned, cutoff=key[0], until=until, lag_days=self._lag)
                enough = min(len(part.train), len(part.holdout)) >= _SMALLEST_FOLD
                if not enough or len(np.unique(part.train.label)) < 2:
                    continue
                self._kept[key] = Fold(part.train, part.holdout, self._settings)
            folds.append(self._kept[key])
        return folds


def matrix(samples: Samples, settings: FitSettings, *, named: bool = True) -> xgboost.DMatrix:
    """Samples for XGBoost, weighted by tier; with the names of the features, which a model that is kept shall have."""
    counts = np.bincount(samples.label, weights=samples.weight, minlength=len(TIERS))
    present = counts > 0
    by_tier = np.ones(len(TIERS))
    by_tier[present] = (counts[present].mean() / counts[present]) ** settings.class_weight_power
    return xgboost.DMatrix(
        samples.x,
        samples.label,
        weight=samples.weight * by_tier[samples.label],
        feature_names=list(features.NAMES) if named else None,
        nthread=settings.threads,
    )


def fit_linear(samples: Samples, settings: FitSettings) -> Linear:
    """The linear part; tiers are not weighted, which would cost it more in log loss than it gives in F1."""
    return linear.fit(samples.x, samples.label, samples.weight, strength=settings.linear_strength)


def parameters(shape: Shape, settings: FitSettings) -> dict[str, object]:
    """As XGBoost names them."""
    return {
        "objective": "multi:softprob",
        "num_class": len(TIERS),
        "eval_metric": "mlogloss",
        "tree_method": "hist",
        "max_depth": shape.max_depth,
        "min_child_weight": shape.min_child_weight,
        "eta": settings.learning_rate,
        "subsample": settings.subsample,
        "colsample_bynode": settings.columns_per_split,
        "seed": settings.seed,
        # Else boosters that are trained in turn draw from one stream, and each depends on the others.
        "seed_per_iteration": True,
        "nthread": settings.threads,
    }


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
    absent = samples.absent
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
    model = assemble(samples, shape, rounds, choice.calibration, settings)
    return FittedModel(model, shape, rounds, choice, validated, notes)


def assemble(
    samples: Samples, shape: Shape, rounds: int, chosen: calibration.Calibration, settings: FitSettings
) -> TierModel:
    """A model of a known shape and number of trees and a known calibration, with rare tiers raised."""
    line = fit_linear(samples, settings)
    # The margins of two parts are averaged, then calibrated: so much of the line makes so much of the answer.
    raised = line.offset + 2.0 / chosen.scale * rarity(samples, settings)
    trees = refit(samples, shape, rounds, settings)
    return TierModel(trees, chosen, replace(line, offset=raised), samples.absent)


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
