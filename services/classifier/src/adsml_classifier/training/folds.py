"""Rolling origins inside the samples, and what was learnt on each: the ground that choices are made on.

A walk forward over the weeks asks for nearly the same stretches of days again a week later, so what has been learnt
on one is kept: it is the same whoever asks.
"""

from functools import cached_property
from typing import Final

import numpy as np
import xgboost

from adsml_classifier.models import features, linear
from adsml_classifier.models.linear import Linear
from adsml_classifier.models.rule import TIERS
from adsml_classifier.training.recipe import FitSettings, Shape
from adsml_classifier.training.sampling import HORIZON_DAYS, Samples, split

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
