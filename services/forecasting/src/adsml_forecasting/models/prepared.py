"""A column of an entity's history as methods fit it, with what is known beside it and of the days to come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_forecasting.models.events import Calendar, EventEffect
from adsml_forecasting.models.level_shifts import AppliedShift, Change
from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.spend_response import PRIOR, Elasticity


class CautionKind(StrEnum):
    """What a reader of a forecast should know; named as the contract's warnings."""

    SHORT_HISTORY = "SHORT_HISTORY"
    GAPS = "GAPS"
    OTHER_CHANGES = "OTHER_CHANGES"
    STALE_DATA = "STALE_DATA"
    STOPPED = "STOPPED"
    CHANGE_IGNORED = "CHANGE_IGNORED"
    UNRECORDED_STEP = "UNRECORDED_STEP"
    OUTLIERS = "OUTLIERS"
    BUDGET_OUTSIDE_HISTORY = "BUDGET_OUTSIDE_HISTORY"
    FEW_LEADS = "FEW_LEADS"
    NO_DELIVERY = "NO_DELIVERY"
    MISSING_FIGURE = "MISSING_FIGURE"
    OPTION_IGNORED = "OPTION_IGNORED"


@dataclass(frozen=True, slots=True)
class Caution:
    """One such thing, with its figures in words."""

    kind: CautionKind
    text: str


class MaskReason(StrEnum):
    """Why a day was left out; as in the contract."""

    ANOMALY = "ANOMALY"
    INCOMPLETE = "INCOMPLETE"
    MISSING = "MISSING"
    OUTLIER = "OUTLIER"
    PAUSED = "PAUSED"
    EVENT = "EVENT"


@dataclass(frozen=True, slots=True, eq=False)
class AccountProfile:
    """What entities of one level have in common.

    By column: the `elasticity` to spend, the `effects` of named days by name, the factors of `weekdays` (Monday
    first), lent to histories too short for their own. `rates` are events per exposure of each ratio in the newest
    eight weeks, where known; `budget_moves` is how many entities' spend has moved enough to tell.
    """

    elasticity: Mapping[str, Elasticity] = field(default_factory=dict)
    budget_moves: int = 0
    effects: Mapping[str, Mapping[str, EventEffect]] = field(default_factory=dict)
    rates: Mapping[Metric, float] = field(default_factory=dict)
    weekdays: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


NO_ACCOUNT: Final = AccountProfile()


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is known beside the entity's own rows; days are since 1970-01-01.

    `changes` are recorded ones by day, past and coming; `flagged` the days that the anomaly service calls anomalous;
    `plan` is the budget by day.
    """

    changes: tuple[Change, ...] = ()
    flagged: frozenset[int] = frozenset()
    calendar: Calendar = field(default_factory=dict)
    plan: Mapping[int, float] = field(default_factory=dict)
    account: AccountProfile = NO_ACCOUNT


ALONE: Final = Surroundings()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A column of an entity, ready to be forecast.

    `series` is what is fitted, at its newest level, ending on or before `as_of`; `levelled` the same before a
    plan took the moves of spend out of it. Of each day of the horizon: `factors` that multiply it, the
    `planned` budget (NaN without), `effects` of named days by name. `elasticity` is the entity's own response
    to spend, shrunk; `ignored` are recorded changes that were not used, and why; `stopped` says why nothing is
    delivered any more, empty where it runs. `profile` are weekday factors lent to a short history, Monday
    first. A column that `is_spend` follows a plan itself.
    """

    series: DailySeries
    levelled: DailySeries
    as_of: int
    factors: Vector
    planned: Vector
    elasticity: Elasticity = PRIOR
    masked: Mapping[int, MaskReason] = field(default_factory=dict)
    shifts: tuple[AppliedShift, ...] = ()
    notes: tuple[Caution, ...] = ()
    ignored: tuple[tuple[Change, str], ...] = ()
    effects: Mapping[str, tuple[int, EventEffect]] = field(default_factory=dict)
    highest_spend: float = float("nan")
    stopped: str = ""
    profile: tuple[float, ...] = ()
    is_spend: bool = False

    @classmethod
    def of_series(cls, series: DailySeries, *, horizon: int) -> Self:
        """A series as it is, with nothing known beside it."""
        return cls(series, series, series.last_day, np.ones(horizon), np.full(horizon, np.nan))

    @property
    def gap(self) -> int:
        """Days between the series' last one and the first forecast."""
        return self.as_of - self.series.last_day


def day_text(day: int) -> str:
    """As YYYY-MM-DD."""
    return str(np.datetime64(day, "D"))


def change_text(change: Change) -> str:
    """What to call a change in a note."""
    return f"the {change.change_type.value.replace('_', ' ')} of {day_text(change.day)}"
