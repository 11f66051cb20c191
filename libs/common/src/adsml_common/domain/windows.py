"""Windows of days and sums over them."""

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from adsml_common.domain.metrics import STORED


@dataclass(frozen=True, slots=True)
class Window:
    """Days from `start` to `end`, both included; raises `ValueError` where it ends before it starts."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a window can't end ({self.end}) before it starts ({self.start})")

    @classmethod
    def last(cls, days: int, *, until: date) -> "Window":
        return cls(until - timedelta(days=days - 1), until)

    @classmethod
    def next(cls, days: int, *, after: date) -> "Window":
        return cls(after + timedelta(days=1), after + timedelta(days=days))

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.end


def within(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    return frame.loc[frame["date"].between(pd.Timestamp(window.start), pd.Timestamp(window.end))]


def sums(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Sums of the stored columns over a window, one row per (entity_type, entity_id); absent where there is no row.

    ``reach`` is NaN where it is unknown on every day.
    """
    return (
        within(frame, window).groupby(["entity_type", "entity_id"], sort=True)[list(STORED)].sum(min_count=1)
    )
