"""Fitting: rounds and shape of the trees by rolling-origin validation, then calibration, then the booster.

Everything is chosen inside the samples given, on stretches of days that come after the ones a fold learns from
(with the gap of `snapshots.split`): never on the holdout that a model is judged by.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import xgboost
from adsml_common.domain.errors import FailedPrecondition, Violations

from adsml_classifier import calibration, features, linear, scores
from adsml_classifier.model import TierModel
from adsml_classifier.panel import IntArray
from adsml_classifier.rule import TIERS
from adsml_classifier.snapshots import HORIZON_DAYS, Snapshots, split


@dataclass(frozen=True, slots=True)
class Shape:
    """How much one tree may learn.

    Attributes
    ----------
    max_depth
        Of a tree.
    min_child_weight
        Least sum of second derivatives (about a fifth of the samples) in a leaf.
    """

    max_depth: int
    min_child_weight: float


SHAPES: Final = (Shape(2, 20.0), Shape(3, 50.0), Shape(4, 5.0))
"""From an account of few entities, whose snapshots overlap and say little each, to one of many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to fit.

    Attributes
    ----------
    min_samples
        Fewest samples to learn from.
    shapes
        Shapes of trees to choose from.
    learning_rate, subsample, columns_per_split
        As in XGBoost (``eta``, ``subsample``, ``colsample_bynode``).
    max_rounds, patience
        Boosting stops after `patience` rounds without gain on the validation days, at the latest after
        `max_rounds`.
    class_weight_power
        A tier's samples weigh (mean count / its count) to this power: 0 is no weighting, 1 makes tiers equal.
    folds
        Stretches of days to validate on.
    tuning_samples
        Choices are made on about so many samples at most; the final fit takes all.
    seed, threads
        Of XGBoost.
    """

    min_samples: int = 30
    shapes: tuple[Shape, ...] = SHAPES
    learning_rate: float = 0.1
    subsample: float = 0.6
    columns_per_split: float = 0.25
    max_rounds: int = 300
    patience: int = 20
    class_weight_power: float = 0.25
    folds: int = 3
    tuning_samples: int = 20_000
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        found = Violations()
        if self.min_samples < 1:
            found.add("min_samples", f"is {self.min_samples}; expected 1 or more")
        if not self.shapes:
            found.add("shapes", "is empty; expected at least one")
        if not 0 <= self.class_weight_power <= 1:
            found.add("class_weight_power", f"is {self.class_weight_power}; expected 0 to 1")
        if self.folds < 0:
            found.add("folds", f"is {self.folds}; expected 0 or more")
        found.raise_if_any()


_UNTUNED_ROUNDS: Final = 40
_SMALLEST_FOLD: Final = 30
_LONGEST_FOLD_DAYS: Final = 7
# Rounds have to earn their place: nats of log loss, over what the best number of rounds so far gives.
_WORTH: Final = 0.0005


@dataclass(frozen=True)
class Fitted:
    """A model and how it came about.

    Attributes
    ----------
    model
        Ready to answer.
    shape, rounds
        What validation chose.
    calibration
        The chosen map and what each would have given.
    validated
        Figures on the validation days; None where there were too few days to have any.
    samples
        Samples of each tier it learnt from.
    notes
        What a reader should know: tiers that never occurred, validation that was not possible.
    """

    model: TierModel
    shape: Shape
    rounds: int
    calibration: calibration.Choice
    validated: scores.Scores | None
    samples: dict[str, int]
    notes: tuple[str, ...] = ()

    def parameters(self) -> dict[str, object]:
        """For the registry."""
        return {
            **asdict(self.shape),
            "rounds": self.rounds,
            "linear_strength": self.model.linear.strength,
            "calibration": self.calibration.name,
        }


@dataclass(frozen=True)
class _Trial:
    """One shape on all folds."""

    shape: Shape
    rounds: int
    loss: float
    boosters: tuple[xgboost.Booster, ...]


@dataclass(frozen=True)
class _Fold:
    train: xgboost.DMatrix
    held: xgboost.DMatrix
    label: IntArray
    x: "np.ndarray[tuple[int, int], np.dtype[np.float32]]" = field(repr=False)
    samples: Snapshots = field(repr=False)


def fit(samples: Snapshots, settings: FitSettings, *, lag_days: int = 0) -> Fitted:
    """Learn from samples.

    Parameters
    ----------
    samples
        All of them; nothing that the model will be judged on.
    settings
        How.
    lag_days
        Days that leads take to come in, for the gaps between folds.

    Raises
    ------
    FailedPrecondition
        If all samples have the same tier: there is nothing to tell apart.
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
    folds = [_fold(part, settings) for part in rolling_origins(samples, settings, lag_days=lag_days)]
    if not folds:
        shape, rounds = settings.shapes[0], _UNTUNED_ROUNDS
        notes += ("too few days to validate on: default trees and rounds, probabilities not calibrated",)
        choice, validated, strength = calibration.choose([]), None, linear.STRENGTHS[0]
    else:
        best = min((_try(shape, folds, settings) for shape in settings.shapes), key=lambda trial: trial.loss)
        shape, rounds = best.shape, best.rounds
        strength = _linear_strength(folds)
        unseen = []
        for booster, fold in zip(best.boosters, folds, strict=True):
            part = refit_linear(fold.samples, strength)
            model = TierModel(booster[:rounds], calibration.IDENTITY, part, absent)
            unseen.append((model.margins(fold.x), fold.label))
        choice = calibration.choose(unseen)
        label = np.concatenate([truth for _, truth in unseen])
        validated = scores.of_probabilities(label, choice.calibration(np.concatenate([z for z, _ in unseen])))
    booster = refit(samples, shape, rounds, settings)
    return Fitted(
        TierModel(booster, choice.calibration, refit_linear(samples, strength), absent),
        shape,
        rounds,
        choice,
        validated,
        samples.counts,
        notes,
    )


def refit(samples: Snapshots, shape: Shape, rounds: int, settings: FitSettings) -> xgboost.Booster:
    """A booster of a known shape and number of rounds."""
    return xgboost.train(_parameters(shape, settings), _matrix(samples, settings), num_boost_round=rounds)


def refit_linear(samples: Snapshots, strength: float) -> linear.Linear:
    """A linear part of a known strength."""
    return linear.fit(samples.x, samples.label, samples.weight, strength=strength)


def rolling_origins(
    samples: Snapshots, settings: FitSettings, *, lag_days: int
) -> list[tuple[Snapshots, Snapshots]]:
    """Pairs of training and validation samples; validation days do not overlap and are the last ones.

    The days that have anything before them (after the gap) are shared out evenly between the folds and what the
    first of them learns from, at most a week to a fold.
    Folds that would have fewer than 30 samples or one tier on either side are left out.
    """
    step = -(-len(samples) // settings.tuning_samples)
    last_day = int(samples.day.max())
    thinned = samples.where((last_day - samples.day) % step == 0) if step > 1 else samples
    span = last_day - int(samples.day.min()) + 1 - HORIZON_DAYS - lag_days
    days = min(max(span // (settings.folds + 1), 1), _LONGEST_FOLD_DAYS)
    found = []
    for number in range(settings.folds):
        until = last_day - number * days
        part = split(thinned, cutoff=until - days + 1, until=until, lag_days=lag_days)
        enough = min(len(part.train), len(part.holdout)) >= _SMALLEST_FOLD
        if enough and len(np.unique(part.train.label)) > 1:
            found.append((part.train, part.holdout))
    return found


def _fold(parts: tuple[Snapshots, Snapshots], settings: FitSettings) -> _Fold:
    train, held = parts
    # Validation is not weighted: the loss to make small is that of the days as they come.
    plain = xgboost.DMatrix(held.x, held.label, feature_names=list(features.NAMES), nthread=settings.threads)
    return _Fold(_matrix(train, settings), plain, held.label, held.x, train)


def _linear_strength(folds: Sequence[_Fold]) -> float:
    """The strength whose linear part alone does best on unseen days.

    Alone, because the trees' shape and rounds were chosen on these very days: beside them it would look superfluous.
    """

    def loss(strength: float) -> float:
        losses = [
            scores.log_loss(
                fold.label, calibration.softmax(refit_linear(fold.samples, strength).margins(fold.x))
            )
            for fold in folds
        ]
        return float(np.average(losses, weights=[len(fold.label) for fold in folds]))

    return min(linear.STRENGTHS, key=loss)


def _try(shape: Shape, folds: Sequence[_Fold], settings: FitSettings) -> _Trial:
    """Boost all folds in step, and stop when their mean loss has not fallen for `patience` rounds.

    In step, because a fold that stopped by itself would hide how much later rounds hurt it.
    """
    parameters = _parameters(shape, settings)
    boosters = [xgboost.Booster(parameters, [fold.train, fold.held]) for fold in folds]
    weights = [len(fold.label) for fold in folds]
    rounds, least = 0, float("inf")
    for done in range(settings.max_rounds):
        losses = []
        for booster, fold in zip(boosters, folds, strict=True):
            booster.update(fold.train, done)
            losses.append(float(booster.eval(fold.held).rsplit(":", 1)[1]))
        loss = float(np.average(losses, weights=weights))
        if loss < least - _WORTH:
            rounds, least = done + 1, loss
        elif done + 1 >= rounds + settings.patience:
            break
    return _Trial(shape, rounds, least, tuple(boosters))


def _matrix(samples: Snapshots, settings: FitSettings) -> xgboost.DMatrix:
    counts = np.bincount(samples.label, weights=samples.weight, minlength=len(TIERS))
    present = counts > 0
    by_tier = np.ones(len(TIERS))
    by_tier[present] = (counts[present].mean() / counts[present]) ** settings.class_weight_power
    return xgboost.DMatrix(
        samples.x,
        samples.label,
        weight=samples.weight * by_tier[samples.label],
        feature_names=list(features.NAMES),
        nthread=settings.threads,
    )


def _parameters(shape: Shape, settings: FitSettings) -> dict[str, object]:
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
        "nthread": settings.threads,
    }
