"""From cells as written to staged rows: every cell looked at, every bad one named."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import days, headers, numerals
from adsml_ingest.batch import LEVELS, METRICS, Batch, Table
from adsml_ingest.check import Mask, RowCheck
from adsml_ingest.counts import FileCounts, Findings
from adsml_ingest.distinct import factorize
from adsml_ingest.numerals import FloatArray
from adsml_ingest.options import ImportOptions
from adsml_ingest.problems import Problem
from adsml_ingest.refs import Refs, link, read_refs
from adsml_ingest.rejects import Rejects
from adsml_ingest.staging import Rows, empty_rows
from adsml_ingest.tree import BLANK, Tree

Cells = Sequence[Any] | npt.NDArray[Any]

_ALL_DAYS: Final = frozenset({"all", "tous", "alle", "todos", "tutti"})
_DAILY_CURE: Final = "export it by day: time_increment=1 in the API, Breakdown > By time > Day in Ads Manager"


class RowReader:
    """Reads the batches of one table of daily rows into staged rows.

    Parameters
    ----------
    table
        The opened file.
    file
        Its number, kept in each staged row.
    cut
        Number of the way its breakdowns part a day; 0 without.
    tree, findings, rejects
        Shared by all files of an import.
    options
        What the caller wants.
    """

    def __init__(
        self, table: Table, *, file: int, cut: int, tree: Tree, findings: Findings, rejects: Rejects,
        options: ImportOptions,
    ) -> None:  # fmt: skip
        self.table = table
        self.counts = FileCounts()
        self._file, self._cut = file, cut
        self._tree, self._findings, self._rejects, self._options = tree, findings, rejects, options
        self._known_days: dict[Any, int] = {}
        self._last_day = days.from_date(options.last_day)

    def read(self, batch: Batch) -> Rows:
        """The good rows of a batch; bad ones are reported, and written to the file of rejected rows."""
        check = RowCheck(self.table, batch)
        self.counts.other_accounts += keep_account(check, self._options, self._findings)
        refs = read_refs(check, self._tree)
        when = self._days(check, refs)
        metrics = {name: self._metric(check, name) for name in METRICS}
        link(check, refs, self._tree)
        self.counts.rows += int(np.count_nonzero(check.alive))
        check.report(self.counts, self._findings, self._rejects)
        good = check.good
        self._note_currencies(check)
        self._warn(check, good, metrics)
        self._describe(batch, refs, when, good)
        return self._staged(batch, refs, when, metrics, np.flatnonzero(good))

    def _staged(
        self, batch: Batch, refs: Refs, when: days.IntArray, metrics: dict[str, FloatArray],
        chosen: npt.NDArray[np.intp],
    ) -> Rows:  # fmt: skip
        rows = empty_rows(len(chosen))
        rows["entity"], rows["day"] = refs.own[chosen], when[chosen]
        for name, values in metrics.items():
            rows[name] = values[chosen]
        if "stamp" in batch.cells:
            rows["stamp"] = stamps(batch.cells["stamp"])[chosen]
        if "breakdown" in batch.cells:
            joined = np.empty(batch.size, dtype=object)
            joined[:] = batch.cells["breakdown"]
            rows["cut"], rows["cell"] = self._cut, pd.util.hash_array(joined)[chosen]
        rows["file"], rows["line"] = self._file, batch.lines[chosen]
        return rows

    def _days(self, check: RowCheck, refs: Refs) -> days.IntArray:
        """The day of each row, which must be one day that is not in the future."""
        cells = check.batch.cells
        when = days.parse(cells["date"], self.table.date_order, self._known_days)
        until = when
        if "date_stop" in cells:
            until = days.parse(cells["date_stop"], self.table.date_order, self._known_days)
        if self.table.totals:
            self.counts.totals += check.leave_out(self._totals(check, refs, when, until))
        note_bad_days(check, "date", when)
        if until is not when:
            note_bad_days(check, "date_stop", until)
            for row in check.where((when != days.BAD) & (until != days.BAD) & (when != until)):
                what = f"to {days.to_date(int(until[row]))} is more than one day"
                begun = days.to_date(int(when[row]))
                check.fault(row, "date", "not_daily", what, _DAILY_CURE, value=begun)
        for row in check.where((when > self._last_day) & (until == when)):
            what = (
                f"lies in the future: the last day that can have begun anywhere is {self._options.last_day}"
            )
            check.fault(row, "date", "future_date", what, "correct the date")
        for row in check.where((when != days.BAD) & (when < days.from_date(days.FIRST_DAY))):
            what = f"is before {days.FIRST_DAY}, when there were no such ads"
            check.fault(row, "date", "ancient_date", what, "correct the date")
        return when

    def _totals(self, check: RowCheck, refs: Refs, when: days.IntArray, until: days.IntArray) -> Mask:
        """Rows that sum up others: without an entity, without a day, or called total over several days."""
        cells = check.batch.cells
        found: Mask = refs.own == BLANK
        name = cells.get(f"{LEVELS[self.table.level or 0]}_name")
        for row in check.where((when == days.BAD) | (when != until)):
            text = str(cells["date"][row]).strip()
            called = name is not None and headers.normal(str(name[row])) in headers.TOTALS
            found[row] |= called or text in self.table.blanks or text.casefold() in _ALL_DAYS
        return found

    def _metric(self, check: RowCheck, name: str) -> FloatArray:
        """A metric of each row; 0 where the export leaves out what there is none of."""
        cells = check.batch.cells.get(name)
        if cells is None:
            return np.full(check.batch.size, np.nan if name == "reach" else 0.0)
        values, blank = numerals.parse(cells, decimal=self.table.decimal, blanks=self.table.blanks)
        wrong = np.isnan(values) & ~blank
        if name in self.table.blank_is_zero:
            values[blank] = 0.0
        elif name != "reach":
            for row in check.where(blank):
                check.fault(row, name, "empty", "is empty", "write 0 for a day without any")
        for row in check.where(wrong):
            check.fault(row, name, *numerals.explain(cells[row], decimal=self.table.decimal))
        for row in check.where(values < 0):
            check.fault(row, name, "negative", "is negative", "expected 0 or more")
        return values

    def _warn(self, check: RowCheck, good: Mask, metrics: dict[str, FloatArray]) -> None:
        for row in check.where(good & (metrics["clicks"] > metrics["impressions"])):
            what = f"are more than the {metrics['impressions'][row]:g} impressions; loaded as they are"
            self._findings.warn(
                Problem(
                    self.table.file, "clicks_above_impressions", what, "", line=int(check.batch.lines[row]),
                    column=self.table.labels.get("clicks", "clicks"), value=f"{metrics['clicks'][row]:g}",
                    place=self.table.place,
                )
            )  # fmt: skip

    def _note_currencies(self, check: RowCheck) -> None:
        if self.table.currency is not None:
            self._findings.currencies.setdefault(self.table.currency, self.table.file)
        if "currency" in check.batch.cells:
            _, distinct = factorize(check.batch.cells["currency"])
            for cell in distinct:
                if str(cell).strip() not in self.table.blanks:
                    self._findings.currencies.setdefault(str(cell).strip().upper(), self.table.file)

    def _describe(self, batch: Batch, refs: Refs, when: days.IntArray, good: Mask) -> None:
        """Note names, status and objective, as of the day of each row."""
        chosen = np.flatnonzero(good)
        for codes in refs.by_level:
            self._tree.use(codes[chosen])
        said: list[tuple[str, str, npt.NDArray[np.int32]]] = []
        if self.table.tidy:
            said += [(name, name, refs.own) for name in ("name", "status", "objective")]
        else:
            for level, codes in zip(LEVELS, refs.by_level, strict=True):
                said += [(f"{level}_name", "name", codes), (f"{level}_status", "status", codes)]
            said.append(("objective", "objective", refs.by_level[0]))
        for field, attribute, codes in said:
            if field in batch.cells:
                cells = [batch.cells[field][row] for row in chosen.tolist()]
                self._tree.describe(codes[chosen], when[chosen], attribute, cells, blanks=self.table.blanks)


def note_bad_days(check: RowCheck, field: str, found: days.IntArray) -> None:
    """Note as faults the cells that are no days."""
    for row in check.where(found == days.BAD):
        try:
            days.day(check.batch.cells[field][row], check.table.date_order)
        except days.NotADay as error:
            check.fault(row, field, error.kind, error.what, error.cure)


def keep_account(check: RowCheck, options: ImportOptions, findings: Findings) -> int:
    """Leave out rows of accounts that were not asked for; how many. Accounts met are noted."""
    if "account" not in check.batch.cells:
        return 0
    codes, distinct = factorize(check.batch.cells["account"])
    names = [str(cell).strip().removeprefix("act_").removesuffix(".0") for cell in distinct]
    for code, rows in zip(*np.unique(codes[check.alive], return_counts=True), strict=True):
        if code >= 0 and names[code] not in check.table.blanks:
            findings.accounts[names[code]] += int(rows)
    if options.account_id is None:
        return 0
    wanted = options.account_id.strip().removeprefix("act_")
    other = np.array([name not in check.table.blanks and name != wanted for name in names] + [False])
    return check.leave_out(other[codes])


def stamps(cells: Cells) -> FloatArray:
    """Moments as seconds since 1970: Unix times in seconds or milliseconds, or ISO; 0 where unknown."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        seconds = cells.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(cells), 0.0, seconds)
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    numbers = pd.to_numeric(pd.Series(column), errors="coerce").to_numpy(dtype=np.float64)
    numbers = np.where(numbers > 1e11, numbers / 1e3, numbers)
    text = np.isnan(numbers)
    if text.any():
        parsed = pd.to_datetime(pd.Series(column[text]), format="ISO8601", utc=True, errors="coerce")
        moments = parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
        numbers[text] = np.where(np.isnat(moments), 0.0, moments.astype(np.int64) / 1e6)
    return numbers
