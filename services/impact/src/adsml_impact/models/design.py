"""When the change was and what is compared; which earlier days serve as placebo dates, with how much baseline."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_impact.models.arrays import IntArray
from adsml_impact.models.estimators import Estimator

LOOKBACK: Final = 112
"""Placebo dates lie at most this many days before the change: longer ago the account was another one."""
_WANTED_DATES = 21
_SHORTEST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """When the change was and what is compared."""

    change: int  # day index of the change, that is the number of days before it
    # days compared after the change, and left out before those
    horizon: int = 7
    washout: int = 0
    # days before the change that a person compares with; also the shortest past the estimator weighs
    before: int = 7
    # days before the change that levels, weekdays and weights are fitted on, where there are so many
    baseline: int = 56
    estimator: Estimator | None = None  # None: the pooled regression
    alpha: float = 0.05  # level of the test
    most_placebos: int = 1000  # dates times entities
    observed: bool = True  # whether the days after the change are there
    weekly: bool = True  # whether periods are days, so that weekdays are adjusted for

    @property
    def base(self) -> slice:
        """The days of the baseline."""
        return slice(max(0, self.change - self.baseline), self.change)

    @property
    def before_window(self) -> slice:
        """The days compared before the change."""
        return slice(max(0, self.change - self.before), self.change)

    @property
    def after(self) -> slice:
        """The days compared after the change."""
        return slice(self.change + self.washout, self.change + self.washout + self.horizon)

    @property
    def ahead(self) -> int:
        """Days from the change on that there are data for and that are used."""
        return self.washout + self.horizon if self.observed else 0

    @property
    def end(self) -> int:
        """The first day that is not looked at."""
        return self.change + self.ahead


@dataclass(frozen=True, slots=True)
class Dates:
    """Placebo dates and, last, the change's own."""

    origins: IntArray  # (O,) day indices, rising
    lengths: IntArray  # (O,) days of baseline before each


def whole_weeks(days: int, *, weekly: bool = True) -> int:
    """The most days of a baseline that are whole weeks; all of them where there are fewer than two weeks."""
    return days - days % 7 if weekly and days >= 14 else days


def choose_dates(design: Design, *, units: int = 1) -> Dates:
    """Placebo dates whose window after ends before the change.

    Where history is short, earlier dates make do with a shorter baseline than the change's own, down to about
    half of it; their effects are noisier for it, which errs on the side of not finding an effect. Beyond the most
    placebos that are wanted, dates times units, dates are thinned evenly, the latest kept.
    """
    change, baseline, weekly = design.change, design.baseline, design.weekly
    own = whole_weeks(min(baseline, change), weekly=weekly)
    last = change - design.washout - design.horizon
    dates: list[int] = []
    if last >= _SHORTEST:
        floor = 14 if last >= 14 else _SHORTEST
        first = min(max(last - _WANTED_DATES, floor), whole_weeks(baseline, weekly=weekly))
        first = max(first, last - LOOKBACK)
        step = -(-(last - first + 1) // max(1, design.most_placebos // units))
        dates = list(range(last, first - 1, -step))[::-1]
    lengths = [whole_weeks(min(baseline, day), weekly=weekly) for day in dates]
    return Dates(
        origins=np.array([*dates, change], dtype=np.int64), lengths=np.array([*lengths, own], dtype=np.int64)
    )
