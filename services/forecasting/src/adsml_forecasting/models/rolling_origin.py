"""Cutoffs of a rolling-origin evaluation: the one splitter.

The origin moves forward by ``period`` days; at each cutoff a model sees the days up to it and forecasts the
``horizon`` days after (Hyndman & Athanasopoulos, "Forecasting: principles and practice", 3rd ed., section
5.10). Cutoffs are counted back from the end, as `prophet.diagnostics.generate_cutoffs` does, so that the
newest days are always among those forecast.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import InvalidInput

_LEAST_HISTORY: Final = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingOrigin:
    """Days, at least 1: `initial` from the first day to the oldest cutoff, `period` between cutoffs, `horizon` ahead.

    At most the `newest` cutoffs are used; None for all.
    """

    initial: int = 30
    period: int = 7
    horizon: int = 7
    newest: int | None = None

    def __post_init__(self) -> None:
        for name in ("initial", "period", "horizon", "newest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput.at(name, f"is {value}; expected at least 1")

    def cutoffs(self, days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The last day that each model sees, ascending; empty where there are too few days.

        `days` are those with a value, since an epoch, ascending, at least one.
        """
        first, last = int(days[0]), int(days[-1])
        cutoff = last - self.horizon
        if cutoff < first:
            return np.empty(0, np.int64)
        counted = [cutoff]
        while counted[-1] >= first + self.initial:
            cutoff -= self.period
            ahead = np.searchsorted(days, cutoff, "right")
            unseen = ahead == len(days) or days[ahead] > cutoff + self.horizon
            if unseen and cutoff > first:
                # Nothing to compare with: go on to the gap's other end.
                cutoff = int(days[ahead - 1]) - self.horizon
            counted.append(cutoff)
        ascending = np.array(counted[:-1][::-1], np.int64)
        return ascending if self.newest is None else ascending[-self.newest :]

    def rows(self, days: int) -> list[int]:
        """How many of so many consecutive days each model sees, ascending."""
        return [int(cutoff) for cutoff in self.cutoffs(np.arange(1, days + 1))] if days else []


def newest_rows(days: int, *, horizon: int, count: int) -> list[int]:
    """Days seen at each of the `count` newest cutoffs of so many consecutive days, ascending.

    Cutoffs are as far apart as the horizon, so that no day is forecast twice; closer where the history is
    short, so that the oldest keeps two thirds of it, at least three weeks. Empty with less than that.
    """
    room = days - horizon - max(_LEAST_HISTORY, 2 * days // 3)
    period = max(1, min(horizon, room // max(count - 1, 1)))
    return RollingOrigin(initial=_LEAST_HISTORY - 1, period=period, horizon=horizon, newest=count).rows(days)
