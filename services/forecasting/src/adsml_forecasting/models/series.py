"""One daily series on a regular calendar, as every method sees it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput

Vector = npt.NDArray[np.float64]

_NEIGHBOUR_SEASONS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class DailySeries:
    """Consecutive days of one metric, from `first_day` (days since 1970-01-01) on.

    `values` are NaN where missing, shape (n,); the first and the last are known. `nonnegative`: a count or
    money (or a ratio of them), so that nothing below 0 is forecast. `name` is what to call it in errors.
    """

    first_day: int
    values: Vector
    nonnegative: bool = True
    name: str = "series"

    @classmethod
    def of(
        cls,
        days: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        nonnegative: bool | None = None,
        name: str = "series",
    ) -> Self:
        """From days (as pandas reads dates, without a time of day, in any order) and their values, NaN where missing.

        Days without a row are missing. `nonnegative` None: whether no known value is below 0. `InvalidInput`
        names a day that is there twice, a missing date, or an infinite value; `InsufficientHistory` where no
        value is known.
        """
        stamps = pd.to_datetime(pd.Series(np.asarray(days))).to_numpy(dtype="datetime64[ns]")
        known = np.asarray(values, dtype=np.float64)
        if np.isnat(stamps).any():
            raise InvalidInput.at(name, "has a missing date")
        if np.isinf(known).any():
            raise InvalidInput.at(name, "has an infinite value; leave the day out")
        calendar = stamps.astype("datetime64[D]").astype(np.int64)
        unique, counts = np.unique(calendar, return_counts=True)
        if (counts > 1).any():
            twice = unique[counts > 1][0].astype("datetime64[D]")
            raise InvalidInput.at(name, f"has {twice} twice; expected one value per day")
        kept = ~np.isnan(known)
        if not kept.any():
            raise InsufficientHistory(name, had=0, needed=1)
        first, last = int(calendar[kept].min()), int(calendar[kept].max())
        grid = np.full(last - first + 1, np.nan)
        grid[calendar[kept] - first] = known[kept]
        if nonnegative is None:
            nonnegative = bool(known[kept].min() >= 0)
        return cls(first, grid, nonnegative, name)

    @classmethod
    def read(cls, frame: pd.DataFrame, *, nonnegative: bool | None = None, name: str = "series") -> Self:
        """From a frame with columns ``ds`` and ``y``; see `of`."""
        absent = [column for column in ("ds", "y") if column not in frame.columns]
        if absent:
            raise InvalidInput.at(name, f"has no column {', '.join(absent)}")
        return cls.of(frame["ds"], frame["y"], nonnegative=nonnegative, name=name)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known(self) -> int:
        """How many days have a value."""
        return int(np.isfinite(self.values).sum())

    @property
    def last_day(self) -> int:
        """Day of the last value, days since 1970-01-01."""
        return self.first_day + len(self.values) - 1

    def trimmed(self) -> Self:
        """Without missing days at its ends; `InsufficientHistory` where nothing is left."""
        known = np.flatnonzero(np.isfinite(self.values))
        if not len(known):
            raise InsufficientHistory(self.name, had=0, needed=1)
        first, last = int(known[0]), int(known[-1])
        return replace(self, first_day=self.first_day + first, values=self.values[first : last + 1])

    def until(self, rows: int) -> Self:
        """The first `rows` days, less missing ones at their end; `InsufficientHistory` where none is known."""
        known = np.flatnonzero(np.isfinite(self.values[:rows]))
        if not len(known):
            raise InsufficientHistory(self.name, had=0, needed=1)
        return replace(self, values=self.values[: known[-1] + 1])

    def without(self, days: Iterable[int]) -> Self:
        """Without the values of some days (since 1970-01-01); `InsufficientHistory` where nothing is left."""
        values = self.values.copy()
        for day in days:
            if self.first_day <= day <= self.last_day:
                values[day - self.first_day] = np.nan
        return replace(self, values=values).trimmed()

    def filled(self, *, season_length: int = 7) -> Vector:
        """Values with each missing one estimated, for methods that can't do with gaps.

        A missing day becomes the mean of the known days one and two seasons before and after it; where there
        is none, it lies on the line between its known neighbours.
        """
        values = self.values
        missing = np.flatnonzero(np.isnan(values))
        if not len(missing):
            return values.copy()
        out = values.copy()
        offsets = season_length * np.array(
            [step for step in range(-_NEIGHBOUR_SEASONS, _NEIGHBOUR_SEASONS + 1) if step]
        )
        at = missing[:, None] + offsets
        inside = (at >= 0) & (at < len(values))
        near = np.where(inside, values[np.clip(at, 0, len(values) - 1)], np.nan)
        counts = np.isfinite(near).sum(axis=1)
        sums = np.nansum(near, axis=1)
        estimated = counts > 0
        out[missing[estimated]] = sums[estimated] / counts[estimated]
        known = np.flatnonzero(np.isfinite(out))
        return np.interp(np.arange(len(out)), known, out[known])
