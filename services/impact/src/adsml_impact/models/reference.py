"""The distribution of a studentised effect when nothing happened: p-value, critical value, power.

P-value and interval come from the same object, so that they cannot contradict each other.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import stdtr, stdtrit

from adsml_impact.models.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Empirical:
    """Placebo effects themselves: ``p = (1 + #{|placebo| >= |s|}) / (1 + M)``."""

    sizes: FloatArray  # absolute values of M studentised placebo effects, rising

    @property
    def smallest(self) -> float:
        """``1 / (1 + M)``."""
        return 1.0 / (1.0 + self.sizes.size)

    def p_value(self, s: float) -> float:
        """Share of placebos at least as far from 0, the effect itself counted among them."""
        above = self.sizes.size - int(np.searchsorted(self.sizes, abs(s), side="left"))
        return (1.0 + above) / (1.0 + self.sizes.size)

    def critical(self, alpha: float) -> float:
        """The largest placebo that still leaves ``p >= alpha``."""
        M = self.sizes.size
        # p < alpha needs fewer than alpha (M + 1) - 1 placebos at or above: the one of that rank is critical.
        above = int(np.ceil(alpha * (M + 1) - 1 - 1e-9))
        return float(self.sizes[M - above]) if above >= 1 else float("inf")

    def power(self, shift: float, alpha: float) -> float:
        """Share of the placebos, taken with either sign, that the shift carries beyond the critical value."""
        signed = np.concatenate([self.sizes, -self.sizes])
        return float((np.abs(signed + shift) > self.critical(alpha)).mean())


@dataclass(frozen=True, slots=True)
class Student:
    """Student's t with a scale, for where placebos are too few to rank."""

    scale: float  # root mean square of the studentised placebo effects, pooled with what a model expects
    df: float  # independent pieces of evidence behind it

    @property
    def smallest(self) -> float:
        """0: there is no step."""
        return 0.0

    def p_value(self, s: float) -> float:
        """Two-sided tail."""
        return 2.0 * float(stdtr(self.df, -abs(s) / self.scale))

    def critical(self, alpha: float) -> float:
        """Two-sided quantile."""
        return -self.scale * float(stdtrit(self.df, alpha / 2))

    def power(self, shift: float, alpha: float) -> float:
        """Both tails of the shifted distribution."""
        c = self.critical(alpha)
        return float(stdtr(self.df, (shift - c) / self.scale) + stdtr(self.df, (-shift - c) / self.scale))


Reference: TypeAlias = Empirical | Student
"""What an effect, divided by its size under chance, is compared with."""
