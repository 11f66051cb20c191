"""What every reader hands on: rows in the words of the import, each with its place in the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from adsml_common.domain.entities import EntityType

from adsml_ingest.breakdowns import CutLeads
from adsml_ingest.options import DateOrder, Format
from adsml_ingest.problems import Problem
from adsml_ingest.source import Advance

LEVELS: Final[tuple[EntityType, ...]] = (EntityType.CAMPAIGN, EntityType.ADSET, EntityType.AD)
"""Levels by their number: 0, 1, 2."""
METRICS: Final = ("spend", "impressions", "clicks", "leads", "reach")


class Kind(Enum):
    """What the rows of a table are."""

    DAILY = "daily rows"
    ACTIONS = "actions of ads and days"
    HISTORY = "history of entities"


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that a reader already knows to be bad.

    Attributes
    ----------
    row
        Its index in the batch.
    field
        Field of the import, or None for the whole row.
    value
        What is there.
    kind, what, cure
        As in `problems.Problem`.
    """

    row: int
    field: str | None
    value: str | None
    kind: str
    what: str
    cure: str


@dataclass(slots=True)
class Batch:
    """Rows of one file, still as written.

    Attributes
    ----------
    lines
        shape (rows,); where each row starts.
    cells
        Field to cells, each of length rows: text, numbers, None, or a typed array. Fields are ``entity_type,
        entity_id, parent_id`` (tidy) or ``<level>_id, <level>_name, <level>_status`` (all others), ``date,
        date_stop, spend, impressions, clicks, leads, reach, account, account_name, time_zone, objective, stamp``,
        and ``cut, cell``: by which columns the row's day is parted (text, empty for none), and which part it is.
    raw
        The row as it is in the file, for the file of rejected rows.
    faults
        Rows that are bad whatever their cells say.
    left_out
        shape (rows,); rows that are none, such as blank lines.
    """

    lines: npt.NDArray[np.int64]
    cells: dict[str, Sequence[Any] | npt.NDArray[Any]]
    raw: Callable[[int], str]
    faults: list[Fault] = field(default_factory=list)
    left_out: npt.NDArray[np.bool_] | None = None

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.lines)


@dataclass(slots=True)
class Table:
    """One file, opened: what its columns mean and how its cells are written.

    Attributes
    ----------
    file
        Path as the caller gave it.
    format
        Kind of export.
    labels
        Field to the name that the file gives it.
    batches
        Reads the rows, from the start, at every call.
    kind
        What the rows are.
    tidy
        Whether rows name their entity by ``entity_type`` and ``entity_id``.
    by_name
        Whether levels without an id column are named by the path of their names.
    level
        Lowest level of every row, or None if each row says.
    blank_is_zero
        Metrics for which a blank cell means 0.
    blanks
        Texts that count as a blank cell.
    decimal, date_order
        How numbers and dates are written.
    totals
        Whether rows without entity or day are totals, to be left out.
    leads_of_cut
        Whether the rows of a breakdown tell leads, by its columns joined as in `Batch.cells`.
    place
        What `Batch.lines` counts.
    header
        First line of the file of rejected rows; None if it is JSON.
    currency
        Of money, where the file says.
    click_kind
        Whether its clicks are all clicks or link clicks; None where that is not known.
    notes, warnings
        What the reader decided or met that the caller should know; they grow while rows are read.
    source
        The table, where a format has several.
    whole
        Reads the rows with all their columns, under the names that the file gives them.
    conclude
        Called when all rows were read: what only the whole file shows is noted, or refused.
    """

    file: str
    format: Format
    labels: Mapping[str, str]
    batches: Callable[[Advance], Iterator[Batch]]
    kind: Kind = Kind.DAILY
    tidy: bool = False
    by_name: bool = False
    level: int | None = None
    blank_is_zero: frozenset[str] = frozenset()
    blanks: frozenset[str] = frozenset({""})
    decimal: str | None = None
    date_order: DateOrder | None = None
    totals: bool = False
    leads_of_cut: Callable[[str], CutLeads] = lambda _: CutLeads.TOLD
    place: str = "line"
    header: str | None = None
    delimiter: str = ","
    currency: str | None = None
    click_kind: Literal["all", "link"] | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    source: str = ""
    whole: Callable[[Advance], Iterator[Batch]] | None = None
    conclude: Callable[[], None] | None = None

    def warn(self, kind: str, what: str, cure: str = "") -> None:
        """Note something odd about the file."""
        self.warnings.append(Problem(self.file, kind, what, cure))
