"""What a window could have shown: the smallest detectable effect, and the days a given effect would need."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import brentq

from adsml_impact.models.comparison import Comparison
from adsml_impact.models.reference import Reference

LONGEST: Final = 90
"""Days after the change beyond which nobody waits."""
CURVE_DAYS: Final = (7, 14, 28, 56)
CURVE_EFFECTS: Final = (-0.5, -0.35, -0.2, -0.1, 0.1, 0.2, 0.35, 0.5)
"""Days and effects of a power curve."""
_LARGEST: Final = 10.0
"""Effects above eleven times the level are not called detectable."""


@dataclass(frozen=True, slots=True)
class PowerPoint:
    """Chance that an effect shows."""

    after_days: int  # days compared after the change
    relative: float  # the effect, as a share of the level before
    power: float  # between 0 and 1


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest effects that a window shows with the given power."""

    # as shares of the level before the change: the smallest rise, above 0, and fall, from -1 to 0; NaN where none
    # would show
    relative_up: float
    relative_down: float
    # what was asked for
    power: float
    alpha: float
    after_days: int
    # days after the change that show `target`; None: none was asked for, or more than `LONGEST`
    days_needed: int | None
    target_relative: float | None  # as a share of the level before; None: none
    power_curve: tuple[PowerPoint, ...]  # how power grows with effect and days


def _standardised(reference: Reference, *, power: float, alpha: float) -> float:
    """The shift of a studentised effect that is found with the given power; infinite where none is."""
    critical = reference.critical(alpha)
    if not np.isfinite(critical):
        return np.inf
    upper = 2.0 * critical + 1.0
    while reference.power(upper, alpha) < power:
        upper *= 2.0
        if upper > 1e9:
            return np.inf
    return float(brentq(lambda shift: reference.power(shift, alpha) - power, 0.0, upper, xtol=1e-4))


def to_shift(relative: float, *, ratio: bool) -> float:
    """An effect as a share of the level on the scale of comparisons: logarithms for ratios."""
    if not ratio:
        return relative
    return float(np.log1p(relative)) if relative > -1.0 else -np.inf


def days_for(comparison: Comparison, goal: float, factor: float) -> int | None:
    """Fewest days after the change whose size times a factor is within a goal; None above `LONGEST`."""
    if not np.isfinite(factor) or factor * comparison.size_for(LONGEST) > goal:
        return None
    low, high = 2, LONGEST
    while high - low > 1:
        middle = (low + high) // 2
        if factor * comparison.size_for(middle) <= goal:
            high = middle
        else:
            low = middle
    return high


def detectable(
    comparison: Comparison,
    *,
    horizon: int,
    ratio: bool,
    power: float = 0.8,
    alpha: float = 0.05,
    target: float | None = None,
) -> Detectable:
    """The smallest effects, the days that a target effect needs, and the power curve.

    Other windows are reached by the size of a mean over more days, from the gap's own memory
    (`adsml_impact.models.comparison.variance_of_means`) or the structural model; the reference stays.

    Parameters
    ----------
    ratio
        Whether effects are in logarithms; a rise and a fall that are as easy to see then differ as shares.
    target
        An effect to find the days for, as a share of the level.
    """
    reference = comparison.reference
    factor = _standardised(reference, power=power, alpha=alpha)
    shift = factor * comparison.size
    up = float(np.expm1(min(shift, 700.0))) if ratio else shift
    down = float(np.expm1(-shift)) if ratio else -shift
    goal = None if target is None else abs(to_shift(target, ratio=ratio))
    return Detectable(
        relative_up=up if up <= _LARGEST else np.nan,
        relative_down=down if down >= -1.0 and shift <= _LARGEST else np.nan,
        power=power,
        alpha=alpha,
        after_days=horizon,
        days_needed=None if goal is None else days_for(comparison, goal, factor),
        target_relative=target,
        power_curve=tuple(
            PowerPoint(days, relative, reference.power(to_shift(relative, ratio=ratio) / size, alpha))
            for days, size in ((days, comparison.size_for(days)) for days in CURVE_DAYS)
            for relative in CURVE_EFFECTS
        ),
    )
