"""One entity's daily rows, and one daily series on a regular calendar, as every method sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_NEIGHBOUR_SEASONS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class DailySeries:
    """Consecutive days of one metric, from `first_day` (days since 1970-01-01) on.

    `values` are NaN where missing, shape (n,); the first and the last are known. `nonnegative`: a count or
    money (or a ratio of them), so that nothing below 0 is forecast. `name` is what to call it in errors;
    `season_length` the days after which its course is expected to repeat.
    """

    first_day: int
    values: Vector
    nonnegative: bool = True
    name: str = "series"
    season_length: int = 7

    @classmethod
    def of(
        cls, days: npt.ArrayLike, values: npt.ArrayLike, *, name: str = "series", season_length: int = 7
    ) -> Self:
        """From single days (as pandas reads dates, in any order) and their values, NaN where missing.

        Days without a row are missing. `InsufficientHistory` where no value is known.
        """
        stamps = pd.to_datetime(pd.Series(np.asarray(days))).to_numpy(dtype="datetime64[ns]")
        known, calendar = (
            np.asarray(values, dtype=np.float64),
            stamps.astype("datetime64[D]").astype(np.int64),
        )
        kept = ~np.isnan(known)
        if not kept.any():
            raise InsufficientHistory(name, had=0, needed=1)
        first, last = int(calendar[kept].min()), int(calendar[kept].max())
        grid = np.full(last - first + 1, np.nan)
        grid[calendar[kept] - first] = known[kept]
        return cls(first, grid, bool(known[kept].min() >= 0), name, season_length)

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
        return replace(self, values=self.values[:rows]).trimmed()

    def filled(self) -> Vector:
        """Values with each missing one estimated, for methods that can't do with gaps.

        A missing day becomes the mean of the known days one and two seasons before and after it; where there
        is none, it lies on the line between its known neighbours.
        """
        values = self.values
        missing = np.flatnonzero(np.isnan(values))
        if not len(missing):
            return values.copy()
        out = values.copy()
        offsets = self.season_length * np.array(
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


@dataclass(frozen=True, slots=True, eq=False)
class EntityHistory:
    """Consecutive days of every stored column, each shape (n,); days since 1970-01-01.

    A day without a row is a day without delivery, 0; NaN where a column is not known. `name` is what to call the
    entity in errors; after `last_row`, the last day with a row, nothing was delivered.
    """

    first_day: int
    columns: Mapping[str, Vector]
    name: str
    last_row: int

    @classmethod
    def of_rows(
        cls,
        days: npt.NDArray[np.int64],
        columns: Mapping[str, Vector],
        *,
        name: str,
        until: int | None = None,
    ) -> Self:
        """From rows in any order, each of a day (since 1970-01-01); `InsufficientHistory` without any.

        `until` is the last day that is known to be loaded: days between the last row and it had no delivery, rows
        after it are left out. None: the last row's.
        """
        last = int(days.max()) if until is None and len(days) else until
        kept = days <= last if last is not None else np.zeros(0, dtype=bool)
        if last is None or not kept.any():
            raise InsufficientHistory(name, had=0, needed=1)
        first = int(days[kept].min())
        grids: dict[str, Vector] = {}
        for column, values in columns.items():
            known = np.isfinite(values[kept])
            # A column that is known on no day is not known to be 0 on the days without a row.
            grid = np.zeros(last - first + 1) if known.any() else np.full(last - first + 1, np.nan)
            grid[days[kept] - first] = values[kept]
            grids[column] = grid
        return cls(first, grids, name, int(days[kept].max()))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def last_day(self) -> int:
        """Days since 1970-01-01."""
        return self.first_day + len(self) - 1

    @property
    def delivering(self) -> npt.NDArray[np.bool_]:
        """Days on which anything was delivered, shape (n,)."""
        out = np.zeros(len(self), dtype=bool)
        for values in self.columns.values():
            out |= np.nan_to_num(values) > 0
        return out

    def column(self, name: str) -> Vector:
        """A column's values; NaN where it is not known."""
        return self.columns.get(name, np.full(len(self), np.nan))
