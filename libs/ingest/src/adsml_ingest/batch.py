"""What every reader hands on: rows in the words of the import, each with its place in the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.entities import EntityType

from adsml_ingest.options import DateOrder
from adsml_ingest.problems import Problem

Column = Sequence[Any] | npt.NDArray[Any]
LEVELS: Final[tuple[EntityType, ...]] = (EntityType.CAMPAIGN, EntityType.ADSET, EntityType.AD)
"""Levels by their number: 0, 1, 2."""
METRICS: Final = ("spend", "impressions", "clicks", "leads", "reach")
ZERO: Final = frozenset(METRICS) - {"reach"}  # what exports leave out where there is none


class CutLeads(IntEnum):
    """What the rows of a breakdown say of leads.

    ``TOLD``: they add up. ``MAYBE``: only those on Meta are in them, so that 0 says nothing. ``UNTOLD``: nothing.
    ``PARTIAL``: nothing, and not all that was delivered is in them either.
    """

    TOLD = 0
    MAYBE = 1
    UNTOLD = 2
    PARTIAL = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of a batch that is bad; `kind`, `what` and `cure` as in `problems.Problem`."""

    row: int  # its index in the batch
    field: str | None  # of the import; None for the whole row
    value: str | None
    kind: str
    what: str
    cure: str


@dataclass(slots=True)
class Batch:
    """Rows of one file, still as written.

    Fields are ``entity_type, entity_id, parent_id`` (tidy) or ``<level>_id, <level>_name, <level>_status`` (others),
    ``date, date_stop, spend, impressions, clicks, leads, reach, account, account_name, time_zone, objective, stamp``,
    and ``cut, cell``: by which columns the row's day is parted (text, empty for none), and which part it is.
    """

    lines: npt.NDArray[np.int64]  # shape (rows,); where each row starts
    cells: dict[str, Column]  # by field, each of length rows: text, numbers, None, or a typed array
    raw: Callable[[int], str]  # the row as it is in the file, for the file of rejected rows
    left_out: npt.NDArray[np.bool_]  # shape (rows,); rows that are none, such as blank lines
    faults: list[Fault] = field(default_factory=list)  # rows that are bad whatever their cells say

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.lines)


@dataclass(slots=True)
class Table:
    """One file, opened: what its columns mean and how its cells are written."""

    file: str  # as messages call it
    labels: Mapping[str, str]  # field to the name that the file gives it
    batches: Callable[[], Iterator[Batch]]  # reads the rows, from the start, at every call
    reader: Callable[..., Any] | None = None  # a `BatchReader`; None: rows are daily rows
    tidy: bool = False  # rows name their entity by entity_type and entity_id
    by_name: bool = False  # levels without an id column are named by the path of their names
    level: int | None = None  # lowest level of every row; None if each row says
    blank_is_zero: frozenset[str] = frozenset()  # metrics
    blanks: frozenset[str] = frozenset({""})
    decimal: str | None = None
    date_order: DateOrder | None = None
    totals: bool = False  # rows without entity or day are totals, to be left out
    leads_of_cut: Callable[[str], CutLeads] = lambda _: CutLeads.TOLD  # by columns joined as in `Batch.cells`
    currency: str | None = None
    click_kind: Literal["all", "link"] | None = None  # None where it is not known
    notes: list[str] = field(default_factory=list)  # these two grow while rows are read
    warnings: list[Problem] = field(default_factory=list)
    source: str = ""  # which table, where a format has several
    whole: Callable[[], Iterator[Batch]] | None = None
    """As `batches`, all columns, by the file's names."""
    conclude: Callable[["Table"], None] | None = None
    """After all rows: what only the whole file shows is noted or refused."""

    def warn(self, kind: str, what: str, cure: str = "") -> None:
        """Note something odd about the file."""
        self.warnings.append(Problem(self.file, kind, what, cure))


def factorize(cells: Column) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Code of each cell, and the distinct cells; None and NaN have code -1.

    Cells that can't be compared, such as lists, count as their text.
    """
    if isinstance(cells, np.ndarray):
        codes, distinct = pd.factorize(cells)
        return codes, distinct.tolist()
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:
        column[:] = [cell if isinstance(cell, str | int | float | None) else str(cell) for cell in cells]
        codes, distinct = pd.factorize(column)
    return codes, list(distinct)


def look_up(cells: Column, value_of: Callable[[Any], Any], *, nothing: Any, dtype: Any) -> npt.NDArray[Any]:
    """The value of each cell, worked out once for each distinct one; `nothing` for None and NaN."""
    codes, distinct = factorize(cells)
    values = np.full(len(distinct) + 1, nothing, dtype=dtype)
    for index, cell in enumerate(distinct):
        values[index] = value_of(cell)
    return values[codes]
