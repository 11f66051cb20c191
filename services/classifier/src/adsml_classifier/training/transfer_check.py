"""Whether rescaling by level statistics helps ad sets and ads, on samples that the campaigns' model never saw."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adsml_classifier.models import scores
from adsml_classifier.models.panel import LEVELS
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.transfer import TOP_LEVEL, LevelStatistics, LevelTransfer
from adsml_classifier.training.sampling import Samples


@dataclass(frozen=True, slots=True)
class TransferCheck:
    """How a campaigns' model does on the ad sets and ads of its account, which it never saw.

    Attributes
    ----------
    plain, rescaled
        Figures without and with rescaling.
    factor
        What an answer's confidence is multiplied by.
    ece_discounted
        Expected calibration error of the better one's confidences after the discount.
    """

    plain: scores.Scores
    rescaled: scores.Scores
    factor: float
    ece_discounted: float

    @property
    def rescales(self) -> bool:
        """Whether rescaling helps on this account, by log loss."""
        return self.rescaled.log_loss < self.plain.log_loss

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "plain": self.plain.as_dict(),
            "rescaled": self.rescaled.as_dict(),
            "rescales": self.rescales,
            "confidence_factor": self.factor,
            "ece_discounted": self.ece_discounted,
        }


def check(
    model: TierModel, samples: Samples, levels: Mapping[str, LevelStatistics], *, factor: float
) -> TransferCheck | None:
    """Judge a campaigns' model on samples of the other levels; None where there are none.

    Parameters
    ----------
    model
        Learnt on campaigns alone, on days before those of `samples`.
    samples
        Of every level; campaigns are left out.
    levels
        Statistics of the levels.
    factor
        What an answer's confidence is multiplied by.
    """
    others = samples.where(samples.level > 0)
    if not len(others) or TOP_LEVEL not in levels:
        return None
    carried = np.empty((len(others), len(TIERS)))
    for code in np.unique(others.level):
        mask = others.level == code
        scorer = LevelTransfer(model, levels[LEVELS[code]], levels[TOP_LEVEL])
        carried[mask] = scorer.probabilities(others.x[mask])
    plain = model.probabilities(others.x)
    both = [scores.of_probabilities(others.label, one) for one in (plain, carried)]
    better = carried if both[1].log_loss < both[0].log_loss else plain
    right = better.argmax(axis=1) == others.label
    ece = scores.expected_calibration_error(right, factor * better.max(axis=1))
    return TransferCheck(both[0], both[1], factor, ece)
