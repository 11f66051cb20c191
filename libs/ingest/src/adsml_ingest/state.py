"""What one import knows while it reads: its files, the entities met, what was found wrong, and counts."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adsml_ingest.batch import Batch, Table
from adsml_ingest.breakdowns import SEPARATOR, CutLeads
from adsml_ingest.detect import Export
from adsml_ingest.options import ImportOptions
from adsml_ingest.problems import Problem, Problems, Refusal
from adsml_ingest.rejects import Rejects
from adsml_ingest.source import SourceFile
from adsml_ingest.staging import Rows, Staging
from adsml_ingest.tree import Tree


@dataclass(frozen=True, slots=True)
class Cut:
    """A way in which rows part an entity's day: by which columns, and what its rows say of leads."""

    columns: tuple[str, ...]
    leads: CutLeads

    @property
    def shown(self) -> str:
        """For messages."""
        return ", ".join(self.columns) or "nothing"


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

    source: SourceFile
    export: Export | None = None
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
    cuts: list[Cut] = field(default_factory=lambda: [Cut((), CutLeads.TOLD)])  # the first: not at all
    counts: Counter[str] = field(default_factory=Counter)  # as `resolve.Resolved.counts`, and rows untold
    stray_leads: float = 0.0
    rows: Counter[int] = field(default_factory=Counter)  # daily rows by level
    days: tuple[int, int] | None = None  # first and last, since 1970; None without rows
    _cut_numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def refuse(self, file: ReadFile, refusal: Refusal) -> None:
        """Note that a file can't be read any further."""
        file.refused = "; ".join(problem.text for problem in refusal.problems)
        file.dropped = file.dropped or refusal.whole
        self.problems.add(*refusal.problems)

    def reject(self, file: ReadFile, raw: str, problem: Problem) -> None:
        """Note a bad row."""
        file.rejected += 1
        self.problems.add(problem)
        if file.table is not None:
            self.rejects.write(file.table, raw, f"{problem.place} {problem.line}: {problem.text}")

    def cut_number(self, table: Table, cut: str) -> int:
        """Number of a way to part a day, given out at first sight."""
        number = self._cut_numbers.get(cut)
        if number is None:
            number = self._cut_numbers[cut] = len(self.cuts)
            columns = tuple(table.labels.get(name, name) for name in cut.split(SEPARATOR))
            self.cuts.append(Cut(columns, table.leads_of_cut(cut)))
        return number


class TableReader(ABC):
    """Reads the batches of one table into staged rows, each with the number of its file."""

    def __init__(self, file: ReadFile, table: Table, number: int, state: ImportState) -> None:
        self._file, self.table, self._number, self._state = file, table, number, state
        self._known_days: dict[Any, int] = {}

    @abstractmethod
    def read(self, batch: Batch) -> Rows:
        """The good rows of a batch; bad ones are reported, and written to the file of rejected rows."""
