"""What is tuned of a Prophet model, the grid, and what can be set beside."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, Literal

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
    """Which there are; None: as Prophet decides (yearly from two years of history, weekly from two weeks)."""

    yearly: bool | None = None
    weekly: bool | None = None


AUTOMATIC: Final = Seasons()
