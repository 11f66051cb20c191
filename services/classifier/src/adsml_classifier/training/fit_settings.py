"""How trees and the logit beside them are fitted."""

from dataclasses import dataclass
from typing import Final

from adsml_common.domain.errors import Violations


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
    linear_strength
        How much a sample weighs against the logit's penalty (``C`` of scikit-learn).
    class_weight_power
        For the trees a tier's samples weigh (mean count / its count) to this power: 0 is no weighting, 1 makes tiers
        equal.
    rarity_power, rarity_samples
        Probabilities are divided by the tiers' shares of n samples to the power ``rarity_power * rarity_samples /
        (rarity_samples + n)``: with few samples, fitting draws rare tiers too near to nothing.
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
    linear_strength: float = 0.1
    class_weight_power: float = 0.5
    rarity_power: float = 0.3
    rarity_samples: float = 1000.0
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
        if not self.linear_strength > 0:
            found.add("linear_strength", f"is {self.linear_strength}; expected above 0")
        if not 0 <= self.class_weight_power <= 1:
            found.add("class_weight_power", f"is {self.class_weight_power}; expected 0 to 1")
        if not 0 <= self.rarity_power <= 1:
            found.add("rarity_power", f"is {self.rarity_power}; expected 0 to 1")
        if not self.rarity_samples > 0:
            found.add("rarity_samples", f"is {self.rarity_samples}; expected above 0")
        if self.folds < 0:
            found.add("folds", f"is {self.folds}; expected 0 or more")
        found.raise_if_any()
