"""Pivots: tables that print a name or a day once a group. It is carried on to the rows below where that is evident.

What gives a pivot away: leading cells are blank below a row that has them, while no such column ever repeats what it
said in the row before; and within a group the days go on, or the names differ. Anything else stays as it is written,
so that its rows are refused or told to be totals as those of any table.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from adsml_ingest import days
from adsml_ingest.batch import Batch
from adsml_ingest.headers import is_sum_of
from adsml_ingest.options import DateOrder
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import Advance, ignore

DAY: Final = "day"
_FEWEST: Final = 2
"""Rows to carry on to: a single blank cell is rather a lost one."""


def carry_on(
    sheet: Sheet, groups: Mapping[int, str], is_none: Callable[[Any], bool], order: DateOrder | None
) -> tuple[Sheet, int]:
    """A sheet with the cells filled in that a pivot leaves out, and how many rows that concerns.

    Parameters
    ----------
    groups
        Positions of the columns that may be printed once a group, each with what it is about: `DAY`, or a level or
        breakdown.
    is_none
        Whether a cell is blank.
    order
        Of the days.
    """
    places = sorted(groups)
    units = [groups[place] for place in places]
    fields = {f"group:{place}": place for place in places}

    def rows(batch: Batch) -> Iterator[tuple[int, tuple[Any, ...]]]:
        columns = zip(*(batch.cells[field] for field in fields), strict=True)
        for row, cells in enumerate(columns):
            if batch.left_out is None or not batch.left_out[row]:
                yield row, tuple(None if is_none(cell) else cell for cell in cells)

    carrier = _Carrier(units, order)
    for batch in sheet.read(fields, ignore):
        some = False
        for _, cells in rows(batch):
            some = some or (cells[0] is None and cells[-1] is not None)
            carrier.filled(cells)
        if carrier.is_ruled_out or not (some or carrier.carried):
            return sheet, 0  # the usual table: not read to its end
    if not carrier.is_evident:
        return sheet, 0

    def read(wanted: Mapping[str, int], advance: Advance) -> Iterator[Batch]:
        carrier = _Carrier(units, order)
        for batch in sheet.read({**wanted, **fields}, advance):
            columns = {place: list(batch.cells[field]) for field, place in fields.items()}
            for row, cells in rows(batch):
                for place, cell in zip(places, carrier.filled(cells), strict=True):
                    if cell is not None:
                        columns[place][row] = cell
            for field in fields:
                del batch.cells[field]
            batch.cells |= {field: columns[place] for field, place in wanted.items() if place in columns}
            yield batch

    return replace(sheet, read=read), carrier.carried


class _Carrier:
    """Fills in row after row, and keeps count of what speaks for a pivot, and against it."""

    def __init__(self, units: Sequence[str], order: DateOrder | None) -> None:
        self._units, self._order = units, order
        self._inner = units.index(units[-1])  # the first of the columns that differ within a group
        self._above: tuple[Any, ...] | None = None
        self._seen: set[Any] = set()
        self._direction = 0
        self._blanks, self._repeats = Counter[int](), Counter[int]()
        self.carried = 0

    @property
    def is_evident(self) -> bool:
        """Whether enough is carried on, and no column does both: leave out and repeat."""
        return self.carried >= _FEWEST and not any(self._repeats[column] for column in self._blanks)

    @property
    def is_ruled_out(self) -> bool:
        """Whether the first column repeats what it said: all that is left out begins there."""
        return self._repeats[0] > 0

    def filled(self, cells: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row with what is carried on to it; as it is if nothing is."""
        first = next((index for index, cell in enumerate(cells) if cell is not None), len(cells))
        is_split = 0 < first < len(cells) and self._units[first - 1] == self._units[first]
        if None in cells[first:] or first == len(cells) or is_split or is_sum_of(str(cells[first])):
            self._above = None  # a sum of others, or no pivot
            return cells
        above = self._above
        if above is None:
            if not first:
                self._begin(cells)
            return cells
        whole = above[:first] + cells[first:]
        same = next(
            (index for index, (one, other) in enumerate(zip(whole, above, strict=True)) if one != other),
            len(cells),
        )
        for column in range(first, min(same, self._inner)):
            self._repeats[column] += 1
        if same < self._inner:
            self._seen = set()
        elif not self._goes_on(above, whole):
            self._above = None
            return cells
        self._begin(whole, anew=False)
        if first:
            self.carried += 1
            self._blanks.update(range(first))
        return whole

    def _begin(self, cells: tuple[Any, ...], *, anew: bool = True) -> None:
        if anew:
            self._seen = set()
        self._above = cells
        self._seen.add(cells[self._inner :])

    def _goes_on(self, above: tuple[Any, ...], cells: tuple[Any, ...]) -> bool:
        """Whether a row can belong to the group of the one above it: its day is the next, its name a new one."""
        if cells[self._inner :] in self._seen:
            return False
        if self._units[-1] != DAY:
            return True
        try:
            step = days.day(cells[-1], self._order) - days.day(above[-1], self._order)
        except days.NotADay:
            return False
        direction = (step > 0) - (step < 0)
        self._direction = self._direction or direction
        return direction == self._direction
