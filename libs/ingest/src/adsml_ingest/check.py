"""Keeps book of what is wrong with the rows of one batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.problems import BadCell, Problem
from adsml_ingest.state import ImportState, ReadFile

Mask = npt.NDArray[np.bool_]


class RowCheck:
    """What is known of the rows of a batch so far; `alive` are those that are rows at all, and wanted."""

    def __init__(self, table: Table, batch: Batch) -> None:
        self.table, self.batch = table, batch
        self.alive: Mask = np.ones(batch.size, dtype=np.bool_) if batch.left_out is None else ~batch.left_out
        self._faults: dict[int, list[Fault]] = {}
        for fault in batch.faults:
            self._faults.setdefault(fault.row, []).append(fault)

    @property
    def good(self) -> Mask:
        """Rows that are wanted and have no fault."""
        good = self.alive.copy()
        good[list(self._faults)] = False
        return good

    @property
    def size(self) -> int:
        """How many rows are wanted."""
        return int(np.count_nonzero(self.alive))

    def leave_out(self, rows: Mask) -> int:
        """Take rows out of account, whatever is wrong with them; how many."""
        number = int(np.count_nonzero(rows & self.alive))
        self.alive &= ~rows
        return number

    def where(self, rows: Mask) -> list[int]:
        """Those of some rows that are wanted."""
        found: list[int] = np.flatnonzero(rows & self.alive).tolist()
        return found

    def fault(
        self, row: int, field: str | None, kind: str, what: str, cure: str, *, value: Any = None
    ) -> None:
        """Note something wrong with a row, showing its cell unless another value says more."""
        if value is None and field in self.batch.cells:
            value = self.batch.cells[field][row]
        shown = None if value is None or value == "" else str(value)
        self._faults.setdefault(row, []).append(Fault(row, field, shown, kind, what, cure))

    def explain(self, field: str, rows: Mask, parse: Callable[[Any], object]) -> None:
        """Note as faults the cells of some rows, by what is raised for them."""
        for row in self.where(rows):
            try:
                parse(self.batch.cells[field][row])
            except BadCell as error:
                self.fault(row, field, error.kind, error.what, error.cure)

    def problem(
        self, row: int, field: str | None, kind: str, what: str, cure: str, value: str | None
    ) -> Problem:
        """Something wrong with a row, with its place in the file."""
        column = None if field is None else self.table.labels.get(field, field)
        line, place = int(self.batch.lines[row]), self.table.place
        return Problem(self.table.file, kind, what, cure, line, column, value, place)

    def report(self, file: ReadFile, state: ImportState) -> None:
        """Hand over every fault of the rows that are wanted."""
        for row in sorted(self._faults):
            if not self.alive[row]:
                continue
            file.rejected += 1
            problems = [
                self.problem(row, one.field, one.kind, one.what, one.cure, one.value)
                for one in self._faults[row]
            ]
            # A row that could not be cut into cells is nonsense in every cell: say so once.
            problems = [one for one in problems if one.column is None] or problems
            state.problems.add(*problems)
            reason = "; ".join(problem.text for problem in problems)
            place = f"{self.table.place} {int(self.batch.lines[row])}"
            state.rejects.write(self.table, self.batch.raw(row), f"{place}: {reason}")
