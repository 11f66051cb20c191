"""Everything that decides what comes out of an account's data."""

from dataclasses import dataclass, field
from typing import Final

from adsml_classifier.models.labels import LabelMode


@dataclass(frozen=True, slots=True)
class Shape:
    """How much one tree may learn, as XGBoost names it."""

    max_depth: int
    min_child_weight: float  # of second derivatives: about a fifth of the samples


SHAPES: Final = (Shape(2, 20.0), Shape(3, 50.0), Shape(4, 5.0))
"""From an account of few entities, whose snapshots overlap and say little each, to one of many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to fit.

    Probabilities are divided by the tiers' shares of n samples to the power ``rarity_power * rarity_samples /
    (rarity_samples + n)``: with few samples, fitting draws rare tiers too near to nothing.
    """

    min_samples: int = 30
    shapes: tuple[Shape, ...] = SHAPES
    learning_rate: float = 0.1
    subsample: float = 0.6
    columns_per_split: float = 0.25
    max_rounds: int = 300
    patience: int = 20  # boosting stops after so many rounds without gain on the validation days
    linear_strength: float = 0.1  # how much a sample weighs against the logit's penalty (`C` of scikit-learn)
    class_weight_power: float = (
        0.5  # for the trees a tier's samples weigh (mean count / its count) to this power
    )
    rarity_power: float = 0.3
    rarity_samples: float = 1000.0
    folds: int = 3  # stretches of days to validate on
    tuning_samples: int = 20_000  # at most, about, for choices; the final fit takes all
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """How samples are cut from an account.

    Beyond `most` every second, third, ... as-of day is taken, counted from the last: weeks overlap, so neighbouring
    days tell little that is new.
    """

    mode: LabelMode = LabelMode.OUTCOME
    attribution_lag_days: int = 0  # trailing days whose leads are not all in yet: no label looks at them
    most: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a candidate is made and judged.

    The last `weeks` of as-of days judge it, each answered by a model that learnt from what was known at its start;
    weeks before which there are not `least_days` as-of days to learn from are left out.
    """

    sampling: SampleSettings = field(default_factory=SampleSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    weeks: int = 4
    least_days: int = 14
