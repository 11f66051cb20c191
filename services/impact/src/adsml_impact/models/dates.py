"""Which earlier days serve as placebo dates, and how much baseline each one gets."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

LOOKBACK: Final = 112
"""Placebo dates lie at most this many days before the change: longer ago the account was another one."""
_WANTED_DATES = 21
_SHORTEST = 7


@dataclass(frozen=True, slots=True)
class Dates:
    """Placebo dates and the change's own, with their baselines.

    Attributes
    ----------
    origins
        (O,) day indices, rising; the last is the change's own.
    lengths
        (O,) days of baseline before each.
    """

    origins: IntArray
    lengths: IntArray

    @property
    def placebos(self) -> int:
        """Number of placebo dates."""
        return self.origins.size - 1


def whole_weeks(days: int, *, weekly: bool = True) -> int:
    """The most days of a baseline that are whole weeks; all of them where there are fewer than two weeks."""
    return days - days % 7 if weekly and days >= 14 else days


def choose_dates(
    change: int,
    *,
    baseline: int,
    horizon: int,
    washout: int = 0,
    units: int = 1,
    most: int = 1000,
    weekly: bool = True,
) -> Dates:
    """Placebo dates whose window after ends before the change.

    Where history is short, earlier dates make do with a shorter baseline than the change's own, down to about
    half of it; their effects are noisier for it, which errs on the side of not finding an effect.

    Parameters
    ----------
    change
        Day index of the change: the number of days before it.
    baseline
        Days of baseline that are wanted.
    horizon, washout
        Days compared after a date, and left out before those.
    units
        Units that get a placebo at every date.
    most
        Most placebos, dates times units; dates are thinned evenly, the latest kept.
    weekly
        Whether periods are days, so that baselines are whole weeks.
    """
    own = whole_weeks(min(baseline, change), weekly=weekly)
    last = change - washout - horizon
    dates: list[int] = []
    if last >= _SHORTEST:
        floor = 14 if last >= 14 else _SHORTEST
        first = min(max(last - _WANTED_DATES, floor), whole_weeks(baseline, weekly=weekly))
        first = max(first, last - LOOKBACK)
        step = -(-(last - first + 1) // max(1, most // units))
        dates = list(range(last, first - 1, -step))[::-1]
    lengths = [whole_weeks(min(baseline, day), weekly=weekly) for day in dates]
    return Dates(
        origins=np.array([*dates, change], dtype=np.int64), lengths=np.array([*lengths, own], dtype=np.int64)
    )
