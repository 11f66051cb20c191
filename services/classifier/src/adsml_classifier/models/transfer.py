"""A model of an account's campaigns read on its ad sets and ads.

Features that grow with an entity's size (leads, days with leads, swings) lie elsewhere on another level: a
campaign of 40 leads a week and an ad of 3 are both ordinary. They are rescaled so that an entity as far from its
own level's middle as a campaign from the campaigns' looks the same to the model. Features that are relative to the
account already mean the same on every level and stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_classifier.models import features
from adsml_classifier.models.panel import LEVELS, FloatArray, IntArray
from adsml_classifier.models.tier_model import FeatureMatrix, TierModel

CONFIDENCE_FACTOR: Final = 0.85
"""What a carried-over confidence is multiplied by."""

SIZED: Final[tuple[str, ...]] = (
    "expected_leads_7", "expected_leads_28", "leads_7", "lead_days_7", "lead_days_28", "days_since_lead",
    "volatility_leads_7", "consistency_14",
)  # fmt: skip
"""Features that are rescaled: on a scale of log(1 + x)."""

_COLUMNS: Final = np.array([features.NAMES.index(name) for name in SIZED])
_SMALLEST_SPREAD: Final = 0.05
# On the scale of log(1 + x): beyond any entity, and within the reach of a float.
_LARGEST: Final = 20.0
TOP_LEVEL: Final = LEVELS[0]


@dataclass(frozen=True)
class LevelStatistics:
    """Where a level's features `SIZED` lie, on the scale of log(1 + x): shape (features,)."""

    middle: FloatArray  # median
    spread: FloatArray  # interquartile range
    samples: int

    @classmethod
    def of(cls, x: FeatureMatrix) -> "LevelStatistics":
        """Statistics of feature rows, shape (rows, features); columns without any value get 0 and 1."""
        known = np.log1p(x[:, _COLUMNS].astype(np.float64))
        empty = np.isnan(known).all(axis=0)
        known[:, empty] = 0.0
        low, middle, high = np.nanpercentile(known, [25, 50, 75], axis=0)
        spread = np.where(empty, 1.0, np.maximum(high - low, _SMALLEST_SPREAD))
        return cls(np.where(empty, 0.0, middle), spread, len(x))

    def as_dict(self) -> dict[str, object]:
        """For JSON; `from_dict` reads it."""
        return {"middle": self.middle.tolist(), "spread": self.spread.tolist(), "samples": self.samples}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "LevelStatistics":
        """Read what `as_dict` wrote; KeyError, TypeError or ValueError where it is something else."""
        middle, spread = (np.array(data[name], dtype=np.float64) for name in ("middle", "spread"))
        if middle.shape != (len(SIZED),) or spread.shape != middle.shape:
            raise ValueError(f"expected {len(SIZED)} statistics of a level")
        return cls(middle, spread, int(data["samples"]))  # type: ignore[call-overload]


def statistics(x: FeatureMatrix, level: IntArray) -> dict[str, LevelStatistics]:
    """Statistics of every level that has rows."""
    there = np.unique(level).tolist()
    return {LEVELS[code]: LevelStatistics.of(x[level == code]) for code in there}


@dataclass(frozen=True)
class LevelTransfer:
    """A model of one level that answers for another."""

    model: TierModel
    source: LevelStatistics  # of the level that it is asked about
    target: LevelStatistics  # of the level that it learnt on

    def probabilities(self, x: FeatureMatrix) -> FloatArray:
        """Calibrated probabilities, shape (rows, 4)."""
        return self.model.probabilities(rescale(x, source=self.source, target=self.target))

    def contributions(self, x: FeatureMatrix) -> FloatArray:
        """TreeSHAP values of the rescaled features, shape (rows, 4, features + 1)."""
        return self.model.contributions(rescale(x, source=self.source, target=self.target))


def rescale(x: FeatureMatrix, *, source: LevelStatistics, target: LevelStatistics) -> FeatureMatrix:
    """Feature rows, shape (rows, features), as the model of the target level should see them; missing stays missing."""
    out = x.copy()
    place = (np.log1p(x[:, _COLUMNS].astype(np.float64)) - source.middle) / source.spread
    out[:, _COLUMNS] = np.expm1(np.clip(place * target.spread + target.middle, 0.0, _LARGEST))
    return out
