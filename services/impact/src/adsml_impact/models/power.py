"""What a window could have shown: the smallest detectable effect, and the days a given effect would need."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import brentq

from adsml_impact.models.comparison import Comparison

LONGEST: Final = 90
"""Days after the change beyond which nobody waits."""
_LARGEST = 1.0
"""Relative effects above this are not called detectable: a doubling needs no test."""


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest effect that a window shows with the given power.

    Attributes
    ----------
    relative
        In units of the level before the change; NaN where even a doubling would not show.
    power, alpha, after_days
        The setting.
    days_needed
        Days after the change that show `target`; None: none was asked for, or more than `LONGEST`.
    target
        Relative, as `relative`; None: none.
    """

    relative: float
    power: float
    alpha: float
    after_days: int
    days_needed: int | None
    target: float | None


def _standardised(comparison: Comparison, *, power: float, alpha: float) -> float:
    """The shift of a studentised effect that is found with the given power; infinite where none is."""
    reference = comparison.reference
    critical = reference.critical(alpha)
    if not np.isfinite(critical):
        return np.inf
    upper = 2.0 * critical + 1.0
    while reference.power(upper, alpha) < power:
        upper *= 2.0
        if upper > 1e9:
            return np.inf
    return float(brentq(lambda shift: reference.power(shift, alpha) - power, 0.0, upper, xtol=1e-4))


def detectable(
    comparison: Comparison,
    *,
    horizon: int,
    power: float = 0.8,
    alpha: float = 0.05,
    target: float | None = None,
) -> Detectable:
    """The smallest effect, and the days that a target effect needs.

    Other windows are reached by the size of a mean over more days, from the gap's own memory
    (`adsml_impact.models.comparison.variance_of_means`) or the structural model; the reference stays.

    Parameters
    ----------
    comparison
        Of the metric.
    horizon
        Days compared.
    power, alpha
        Chance to find the effect, and level of the test.
    target
        A relative effect to find the days for.
    """
    shift = _standardised(comparison, power=power, alpha=alpha)
    smallest = shift * comparison.size
    days: int | None = None
    if target is not None and np.isfinite(shift):
        goal = abs(target)
        if shift * comparison.size_for(LONGEST) <= goal:
            low, high = 2, LONGEST
            while high - low > 1:
                middle = (low + high) // 2
                if shift * comparison.size_for(middle) <= goal:
                    high = middle
                else:
                    low = middle
            days = high
    return Detectable(
        relative=smallest if smallest <= _LARGEST else np.nan,
        power=power,
        alpha=alpha,
        after_days=horizon,
        days_needed=days,
        target=target,
    )
