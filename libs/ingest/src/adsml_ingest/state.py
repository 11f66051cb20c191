"""What one import knows while it reads, its file of rejected rows, and the base of what reads a batch."""

import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.sums import SumReport

from adsml_ingest import dates, numerals
from adsml_ingest.batch import Batch, CutLeads, Table, factorize
from adsml_ingest.files import SourceFile, TextSource
from adsml_ingest.jsonstream import Pages
from adsml_ingest.leads import SEPARATOR
from adsml_ingest.numerals import BoolArray, FloatArray
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.problems import BadCell, Problem, Problems, Refusal
from adsml_ingest.sheet import Sheet
from adsml_ingest.staging import Rows, Staging, empty_rows
from adsml_ingest.tree import Tree

REASON = "reject_reason"


class Rejects(ExitStack):
    """Writes one file per imported file that has bad rows, at the first of them; nowhere without a directory.

    A delimited file's rejects keep its header and its lines, with the reason as one more column at the end;
    all others are JSON lines with the reason as one more member.
    """

    def __init__(self, directory: Path | None) -> None:
        super().__init__()
        self._directory = directory
        self._streams: dict[Path, IO[str]] = {}
        self.paths: list[Path] = []

    def write(self, path: Path, sheet: Sheet | None, row: str, reason: str) -> None:
        """Write one row of a file (of a sheet, if it is none of JSON) and why it was rejected."""
        if self._directory is None:
            return
        header = sheet.header + sheet.delimiter if sheet is not None and sheet.header is not None else ""
        stream = self._streams.get(path)
        if stream is None:
            stream = self._streams[path] = self._open(path.name, header, self._directory)
        if sheet is not None and header:
            quoted = reason.replace('"', '""')
            stream.write(f'{row}{sheet.delimiter}"{quoted}"\n')
            return
        value: Any = row
        with suppress(ValueError, RecursionError):
            value = json.loads(row)
        known = value if isinstance(value, dict) else {"row": value}
        stream.write(json.dumps({**known, REASON: reason}, ensure_ascii=False) + "\n")

    def _open(self, name: str, header: str, directory: Path) -> IO[str]:
        others = sum(one.name == name for one in self._streams)  # of that name from other directories
        number = f"-{others + 1}" if others else ""
        path = directory / f"{name}.rejected{number}{'.csv' if header else '.jsonl'}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stream = self.enter_context(path.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise FailedPrecondition(
                f"can't write rejected rows to {path}: {error.strerror or error}; "
                "pass --rejects another directory"
            ) from None
        self.paths.append(path)
        if header:
            stream.write(f"{header}{REASON}\n")
        return stream


class Cut(NamedTuple):
    """A way in which rows part an entity's day."""

    columns: str  # by which, for messages; empty for not at all
    leads: CutLeads  # what its rows say of them


@dataclass(frozen=True, slots=True)
class UnnamedRow:
    """A row of one day that names no entity, or one called Total: a total if it is the sum of the others."""

    parent: int  # code of the lowest entity above that it names; `tree.BLANK` for none
    rows: Rows  # as it would be staged
    raw: str
    problem: Problem  # what is wrong with it if it is no total


@dataclass(slots=True)
class ReadFile:
    """One file of an import, as far as it was read."""

    number: int
    source: SourceFile
    format: Format | None = None  # these three: once it is known what it is
    inside: Sheet | TextSource | None = None  # its text if it is JSON
    pages: Pages = field(default_factory=Pages)  # what its JSON pages say of others
    table: Table | None = None
    rows: int = 0  # read, blank lines aside
    rejected: int = 0
    totals: int = 0  # these three: rows that were left out
    other_accounts: int = 0
    other_days: int = 0
    refused: str = ""  # why it was not read, or not to its end
    dropped: bool = False  # nothing of it is loaded, whatever was read
    unused: str = ""  # why nothing of it is needed
    unnamed: list[UnnamedRow] = field(default_factory=list)
    total_names: list[int] = field(default_factory=list)  # entities that are none: names of totals

    @property
    def path(self) -> Path:
        """What messages call it."""
        return self.source.path

    @property
    def sheet(self) -> Sheet | None:
        """The table that it is, unless it is JSON."""
        return self.inside if isinstance(self.inside, Sheet) else None

    @property
    def place(self) -> str:
        """What lines count: lines, or rows of a file without lines."""
        return self.sheet.place if self.sheet is not None else "line"

    def problem(
        self, kind: str, what: str, cure: str, line: int, column: str | None = None, value: str | None = None
    ) -> Problem:
        """Something wrong with a row."""
        return Problem(str(self.path), kind, what, cure, line, column, value, self.place)


@dataclass(slots=True)
class ImportState:
    """All of one import, shared by its steps."""

    options: ImportOptions
    staging: Staging
    rejects: Rejects
    files: list[ReadFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    problems: Problems = field(default_factory=Problems)
    warnings: Problems = field(default_factory=Problems)
    accounts: Counter[str] = field(default_factory=Counter)  # ad accounts, with their number of rows
    account_names: dict[str, str] = field(default_factory=dict)  # these four: each with a file that says so
    currencies: dict[str, str] = field(default_factory=dict)
    time_zones: dict[str, str] = field(default_factory=dict)
    id_kinds: dict[str, str] = field(default_factory=dict)  # id, name: how entities are named
    account_facts: dict[str, tuple[float, dict[str, str], str]] = field(default_factory=dict)
    """By ad account: when a table of accounts was last updated, what it says, and its file."""
    cuts: list[Cut] = field(default_factory=lambda: [Cut("", CutLeads.TOLD)])  # the first: not at all
    counts: Counter[str] = field(default_factory=Counter)  # as `resolve.Resolved.counts`, and rows untold
    stray_leads: float = 0.0
    rows: Counter[int] = field(default_factory=Counter)  # daily rows by level
    days: tuple[int, int] | None = None  # first and last, since 1970; None without rows
    loaded: UpsertCounts = field(default_factory=UpsertCounts)  # these three: what the store says of a load
    entities: UpsertCounts = field(default_factory=UpsertCounts)
    sums: SumReport = field(default_factory=SumReport)
    _cut_numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def refuse(self, file: ReadFile, refusal: Refusal) -> None:
        """Note that a file can't be read any further."""
        file.refused = "; ".join(problem.text for problem in refusal.problems)
        file.dropped = file.dropped or refusal.whole
        self.problems.add(*refusal.problems)

    def reject(self, file: ReadFile, raw: str, *problems: Problem) -> None:
        """Note a bad row, and all that is wrong with it."""
        file.rejected += 1
        self.problems.add(*problems)
        reasons = "; ".join(problem.text for problem in problems)
        self.rejects.write(file.path, file.sheet, raw, f"{file.place} {problems[0].line}: {reasons}")

    def warn(self, kind: str, what: str, cure: str = "") -> None:
        """Note something odd about all files together."""
        self.warnings.add(Problem("", kind, what, cure))

    def cut_number(self, table: Table, cut: str) -> int:
        """Number of a way to part a day, given out at first sight."""
        number = self._cut_numbers.get(cut)
        if number is None:
            number = self._cut_numbers[cut] = len(self.cuts)
            columns = [table.labels.get(name, name) for name in cut.split(SEPARATOR)]
            self.cuts.append(Cut(", ".join(columns), table.leads_of_cut(cut)))
        return number


class BatchReader(ABC):
    """Reads one batch of a file's table; `alive` are those of its rows that are rows at all, and wanted."""

    def __init__(self, file: ReadFile, table: Table, state: ImportState, batch: Batch) -> None:
        self.file, self.table, self.state, self.batch, self.cells = file, table, state, batch, batch.cells
        self.alive: BoolArray = ~batch.left_out
        self._faults: dict[int, list[Problem]] = defaultdict(list)
        for one in batch.faults:
            problem = self.problem(one.row, one.field, one.kind, one.what, one.cure, one.value)
            self._faults[one.row].append(problem)

    @abstractmethod
    def read(self) -> Rows:
        """The good rows; bad ones are reported, and written to the file of rejected rows."""

    @property
    def good(self) -> BoolArray:
        """Rows that are wanted and have no fault."""
        good = self.alive.copy()
        good[list(self._faults)] = False
        return good

    @property
    def size(self) -> int:
        """How many rows are wanted."""
        return int(np.count_nonzero(self.alive))

    def leave_out(self, rows: BoolArray) -> int:
        """Take rows out of account, whatever is wrong with them; how many."""
        number = int(np.count_nonzero(rows & self.alive))
        self.alive &= ~rows
        return number

    def keep_account(self) -> None:
        """Leave out rows of accounts that were not asked for. Accounts met are noted."""
        if "account" not in self.cells:
            return
        codes, distinct = factorize(self.cells["account"])
        names = [str(cell).strip().removeprefix("act_").removesuffix(".0") for cell in distinct]
        for code, rows in zip(*np.unique(codes[self.alive], return_counts=True), strict=True):
            if code >= 0 and names[code] not in self.table.blanks:
                self.state.accounts[names[code]] += int(rows)
        wanted = self.state.options.account_id
        if wanted is not None:
            known = [name not in self.table.blanks and name != wanted for name in names]
            self.file.other_accounts += self.leave_out(np.array([*known, False])[codes])

    def where(self, rows: BoolArray) -> list[int]:
        """Those of some rows that are wanted."""
        found: list[int] = np.flatnonzero(rows & self.alive).tolist()
        return found

    def fault(
        self, row: int, field: str | None, kind: str, what: str, cure: str, *, value: Any = None
    ) -> None:
        """Note something wrong with a row, showing its cell unless another value says more."""
        if value is None and field in self.cells:
            value = self.cells[field][row]
        shown = None if value is None or value == "" else str(value)
        self._faults[row].append(self.problem(row, field, kind, what, cure, shown))

    def mark(self, rows: BoolArray, field: str | None, kind: str, what: str, cure: str) -> None:
        """Note the same fault of every one of some rows."""
        for row in self.where(rows):
            self.fault(row, field, kind, what, cure)

    def explain(self, field: str, rows: BoolArray, parse: Callable[[Any], object]) -> None:
        """Note as faults the cells of some rows, by what is raised for them."""
        for row in self.where(rows):
            try:
                parse(self.cells[field][row])
            except BadCell as error:
                self.fault(row, field, error.kind, error.what, error.cure)

    def day_of(self, cell: Any) -> int:
        """One cell as a day, as the table writes it."""
        return dates.day(cell, self.table.date_order)

    def numbers(self, field: str) -> tuple[FloatArray, BoolArray]:
        """The numbers of a field, and where there is nothing; faults where a cell is none."""
        cells, decimal = self.cells[field], self.table.decimal
        values, blank = numerals.parse(cells, decimal=decimal, blanks=self.table.blanks)
        for row in self.where(np.isnan(values) & ~blank):
            self.fault(row, field, *numerals.explain(cells[row], decimal=decimal))
        return values, blank

    def staged(
        self, chosen: npt.NDArray[np.intp], entities: npt.NDArray[np.int32], when: dates.IntArray
    ) -> Rows:
        """Some rows as they are staged: entity, day and place."""
        rows = empty_rows(len(chosen))
        rows["entity"], rows["day"] = entities[chosen], when[chosen]
        rows["file"], rows["line"] = self.file.number, self.batch.lines[chosen]
        return rows

    def problem(
        self, row: int, field: str | None, kind: str, what: str, cure: str, value: str | None
    ) -> Problem:
        """Something wrong with a row, with its place in the file."""
        column = None if field is None else self.table.labels.get(field, field)
        return self.file.problem(kind, what, cure, int(self.batch.lines[row]), column, value)

    def report(self) -> None:
        """Hand over every fault of the rows that are wanted."""
        for row in sorted(self._faults):
            if self.alive[row]:
                problems = self._faults[row]
                # A row that could not be cut into cells is nonsense in every cell: say so once.
                problems = [one for one in problems if one.column is None] or problems
                self.state.reject(self.file, self.batch.raw(row), *problems)
