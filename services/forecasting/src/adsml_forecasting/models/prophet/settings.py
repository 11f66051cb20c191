"""What can be set of a Prophet model, and the grid that is tuned over."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

from adsml_common.domain.errors import Violations

if TYPE_CHECKING:
    import pandas as pd

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
CHANGEPOINT_PRIOR_SCALES: Final = (0.001, 0.01, 0.05, 0.1, 0.5)
SEASONALITY_PRIOR_SCALES: Final = (0.01, 0.1, 1.0, 10.0)
MODES: Final[tuple[Mode, ...]] = ("additive", "multiplicative")
GRID: Final[tuple[Combination, ...]] = tuple(
    Combination(
        changepoint_prior_scale=changepoint, seasonality_prior_scale=seasonality, seasonality_mode=mode
    )
    for mode, changepoint, seasonality in product(MODES, CHANGEPOINT_PRIOR_SCALES, SEASONALITY_PRIOR_SCALES)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressor:
    """An extra column of the model (`Prophet.add_regressor`); `mode` None follows the seasonality's.

    `standardize`: whether to centre and scale it by what is known at the cutoff; "auto" unless it is 0 or 1.
    """

    name: str
    prior_scale: float = 10.0
    standardize: bool | Literal["auto"] = "auto"
    mode: Mode | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProphetSettings:
    """What is not tuned: everything else that Prophet can be told, under its own names and with its own meanings.

    Growth is "linear" or "flat"; logistic is left to Stan. Seasons are "auto" (yearly from two years of
    history, weekly from two weeks), whether at all, or how many Fourier terms. `holidays` is a frame with
    ``holiday``, ``ds`` and optionally ``lower_window``, ``upper_window``, ``prior_scale``. `InvalidInput` names
    all that is out of its range.
    """

    growth: Literal["linear", "flat"] = "linear"
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    yearly_seasonality: Literal["auto"] | bool | int = "auto"
    weekly_seasonality: Literal["auto"] | bool | int = "auto"
    holidays: "pd.DataFrame | None" = None
    holidays_prior_scale: float = 10.0
    holidays_mode: Mode | None = None
    regressors: Sequence[Regressor] = ()
    scaling: Literal["absmax", "minmax"] = "absmax"

    def __post_init__(self) -> None:
        found = Violations()
        if self.growth not in ("linear", "flat"):
            found.add("growth", f"is {self.growth!r}; expected 'linear' or 'flat' (logistic needs Stan)")
        if self.n_changepoints < 0:
            found.add("n_changepoints", f"is {self.n_changepoints}; expected 0 or more")
        if not 0 <= self.changepoint_range <= 1:
            found.add("changepoint_range", f"is {self.changepoint_range}; expected 0 to 1")
        if self.scaling not in ("absmax", "minmax"):
            found.add("scaling", f"is {self.scaling!r}; expected 'absmax' or 'minmax'")
        for name in ("yearly_seasonality", "weekly_seasonality"):
            value = getattr(self, name)
            if value != "auto" and (isinstance(value, str) or value < 0):
                found.add(name, f"is {value!r}; expected 'auto', true, false or a number of terms")
        if not self.holidays_prior_scale > 0:
            found.add("holidays_prior_scale", f"is {self.holidays_prior_scale}; expected more than 0")
        if self.holidays is not None and not {"holiday", "ds"} <= set(self.holidays.columns):
            found.add("holidays", "lacks a column; expected at least 'holiday' and 'ds'")
        names = [regressor.name for regressor in self.regressors]
        for index, regressor in enumerate(self.regressors):
            if not regressor.prior_scale > 0:
                found.add(
                    f"regressors[{index}].prior_scale", f"is {regressor.prior_scale}; expected more than 0"
                )
            if names.index(regressor.name) != index:
                found.add(f"regressors[{index}].name", f"{regressor.name!r} is there twice")
        found.raise_if_any()
