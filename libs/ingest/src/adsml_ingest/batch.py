"""What every reader hands on: rows in the words of the import, each with its place in the file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from adsml_common.domain.entities import EntityType

from adsml_ingest.breakdowns import CutLeads
from adsml_ingest.distinct import Column
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
    ACCOUNTS = "history of ad accounts"


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
    faults: list[Fault] = field(default_factory=list)  # rows that are bad whatever their cells say
    left_out: npt.NDArray[np.bool_] | None = None  # shape (rows,); rows that are none, such as blank lines

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.lines)


@dataclass(slots=True)
class Table:
    """One file, opened: what its columns mean and how its cells are written."""

    file: str  # as messages call it
    format: Format
    labels: Mapping[str, str]  # field to the name that the file gives it
    batches: Callable[[Advance], Iterator[Batch]]  # reads the rows, from the start, at every call
    kind: Kind = Kind.DAILY
    tidy: bool = False  # rows name their entity by entity_type and entity_id
    by_name: bool = False  # levels without an id column are named by the path of their names
    level: int | None = None  # lowest level of every row; None if each row says
    blank_is_zero: frozenset[str] = frozenset()  # metrics
    blanks: frozenset[str] = frozenset({""})
    decimal: str | None = None
    date_order: DateOrder | None = None
    totals: bool = False  # rows without entity or day are totals, to be left out
    leads_of_cut: Callable[[str], CutLeads] = lambda _: CutLeads.TOLD  # by columns joined as in `Batch.cells`
    place: str = "line"  # what `Batch.lines` counts
    header: str | None = None  # first line of the file of rejected rows; None if it is JSON
    delimiter: str = ","
    currency: str | None = None
    click_kind: Literal["all", "link"] | None = None  # None where it is not known
    notes: list[str] = field(default_factory=list)  # these two grow while rows are read
    warnings: list[Problem] = field(default_factory=list)
    source: str = ""  # which table, where a format has several
    whole: Callable[[Advance], Iterator[Batch]] | None = (
        None  # as `batches`, all columns, by the file's names
    )
    conclude: Callable[[], None] | None = (
        None  # after all rows: what only the whole file shows is noted or refused
    )

    def warn(self, kind: str, what: str, cure: str = "") -> None:
        """Note something odd about the file."""
        self.warnings.append(Problem(self.file, kind, what, cure))
