"""A trained classifier: features in, calibrated probabilities of the four tiers out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xgboost

from adsml_classifier.models import features
from adsml_classifier.models.calibration import Calibration
from adsml_classifier.models.linear import Linear
from adsml_classifier.models.panel import FloatArray
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.trees import FEW_ROWS, Trees

FeatureMatrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TierModel:
    """A booster and a linear part, whose margins are averaged, with the map from margins to probabilities."""

    booster: xgboost.Booster  # `multi:softprob` over the tiers, from best to worst
    calibration: Calibration
    linear: Linear
    absent: tuple[int, ...] = ()  # tiers that training never saw: they can't be told from others and get 0

    def margins(self, x: FeatureMatrix) -> FloatArray:
        """Scores in log-odds up to a constant, shape (rows, 4); minus infinity for an absent tier."""
        if len(x) <= FEW_ROWS and self.arrays is not None:
            z = self.arrays.margins(x).astype(np.float64)
        else:
            # inplace_predict takes the array as it is: no DMatrix, whose making costs more than a row's prediction.
            z = np.asarray(self.booster.inplace_predict(x, predict_type="margin"), dtype=np.float64)
            z = z.reshape(len(x), len(TIERS))
        z = (z + self.linear.margins(x)) / 2
        if self.absent:
            z[:, list(self.absent)] = -np.inf
        return z

    def probabilities(self, x: FeatureMatrix) -> FloatArray:
        """Calibrated probabilities, shape (rows, 4), tiers from best to worst."""
        return self.calibration(self.margins(x))

    def contributions(self, x: FeatureMatrix) -> FloatArray:
        """Shapley values, shape (rows, 4, features + 1), the last the base value.

        Of the booster by exact TreeSHAP (Lundberg et al. 2020), of the linear part in closed form. In log-odds before
        calibration: they sum to the margin of each tier.
        """
        # One thread: to share a few rows out costs a hundred times what they do.
        matrix = xgboost.DMatrix(x, feature_names=list(features.NAMES), nthread=1)
        of_trees = np.asarray(self.booster.predict(matrix, pred_contribs=True), dtype=np.float64)
        return (of_trees + self.linear.contributions(x)) / 2

    def warm(self) -> None:
        """Do everything once that is slow the first time."""
        for rows in (1, FEW_ROWS + 1):
            x = np.zeros((rows, self.booster.num_features()), dtype=np.float32)
            self.probabilities(x)
            self.contributions(x)

    @cached_property
    def arrays(self) -> Trees | None:
        """The booster's trees for a few rows at a time; None where they can't be had as arrays."""
        return Trees.of(self.booster)
