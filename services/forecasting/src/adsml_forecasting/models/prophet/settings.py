"""What is tuned of a Prophet model, the grid, and what can be set beside."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

_WEEK, _TWO_WEEKS, _TWO_YEARS = 7, 14, 730
Mode = Literal["additive", "multiplicative"]


class Backend(StrEnum):
    """What fits Prophet; as in the contract."""

    KERNEL = "KERNEL"
    STAN = "STAN"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Combination:
    """One point of the grid, under Prophet's own names; scales of Laplace (changepoints) and normal (season) priors."""

    changepoint_prior_scale: float = 0.05
    seasonality_prior_scale: float = 10.0
    seasonality_mode: Mode = "additive"


DEFAULTS: Final = Combination()
MODES: Final[tuple[Mode, ...]] = ("additive", "multiplicative")
GRID: Final[tuple[Combination, ...]] = tuple(
    Combination(
        changepoint_prior_scale=changepoint, seasonality_prior_scale=seasonality, seasonality_mode=mode
    )
    for mode, changepoint, seasonality in product(
        MODES, (0.001, 0.01, 0.05, 0.1, 0.5), (0.01, 0.1, 1.0, 10.0)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons:
    """Which there are."""

    yearly: bool
    weekly: bool

    @classmethod
    def of(cls, days: npt.NDArray[np.int64]) -> "Seasons":
        """As Prophet decides by the days with a value: yearly from two years on, weekly from two weeks on."""
        span = int(days[-1] - days[0])
        return cls(yearly=span >= _TWO_YEARS, weekly=span >= _TWO_WEEKS and int(np.diff(days).min()) < _WEEK)
