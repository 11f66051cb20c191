"""One entity's daily rows on a calendar, as every question about it sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import InsufficientHistory

from adsml_forecasting.models.series import Vector


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

    def since(self, day: int) -> "EntityHistory":
        """From a day on."""
        start = max(day - self.first_day, 0)
        return EntityHistory(
            self.first_day + start,
            {name: values[start:] for name, values in self.columns.items()},
            self.name,
            self.last_row,
        )
