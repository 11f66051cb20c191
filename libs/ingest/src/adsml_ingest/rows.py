"""From cells as written to staged rows: every cell looked at, every bad one named."""

from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import days, headers, numerals, stamps
from adsml_ingest.batch import LEVELS, METRICS, Batch
from adsml_ingest.check import Mask, RowCheck
from adsml_ingest.distinct import factorize, look_up
from adsml_ingest.numerals import FloatArray
from adsml_ingest.refs import Refs, link, read_refs
from adsml_ingest.staging import Rows, empty_rows
from adsml_ingest.state import ImportState, TableReader, UnnamedRow
from adsml_ingest.tree import BLANK

_DAILY_CURE: Final = "export it by day: time_increment=1 in the API, Breakdown > By time > Day in Ads Manager"
_STAMP_CURE: Final = "write the time of the sync in ISO 8601, such as 2026-10-08T03:00:00Z"


class RowReader(TableReader):
    """Reads the batches of one table of daily rows into staged rows."""

    _free: Mask
    """Rows of the batch whose spend is blank."""

    def read(self, batch: Batch) -> Rows:
        """The good rows of a batch; bad ones are reported, and written to the file of rejected rows."""
        check, state = RowCheck(self.table, batch), self._state
        self._file.other_accounts += keep_account(check, state)
        refs = read_refs(check, state.tree)
        when, unnamed = self._days(check, refs)
        self._free = np.zeros(batch.size, dtype=np.bool_)
        metrics = {name: self._metric(check, name) for name in METRICS}
        fetched = self._stamps(check)
        link(check, refs, state.tree)
        self._file.rows += check.size
        check.report(self._file, state)
        good = check.good
        self._note_facts(check)
        self._warn(check, good, metrics)
        for row in np.flatnonzero(unnamed & good).tolist():
            staged = self._staged(batch, refs, when, metrics, None, np.array([row]))
            self._file.unnamed.append(self._unnamed(check, refs, row, staged))
        good &= ~unnamed
        self._describe(batch, refs, when, good)
        return self._staged(batch, refs, when, metrics, fetched, np.flatnonzero(good))

    def _staged(
        self, batch: Batch, refs: Refs, when: days.IntArray, metrics: dict[str, FloatArray],
        fetched: FloatArray | None, chosen: npt.NDArray[np.intp],
    ) -> Rows:  # fmt: skip
        rows = empty_rows(len(chosen))
        rows["entity"], rows["day"] = refs.own[chosen], when[chosen]
        for name, values in metrics.items():
            rows[name] = values[chosen]
        rows["stamp"] = self._file.source.fetched_at if fetched is None else fetched[chosen]
        if "cut" in batch.cells:
            number = partial(self._state.cut_number, self.table)
            rows["cut"] = look_up(batch.cells["cut"], number, nothing=0, dtype=np.int16)[chosen]
            joined = np.empty(batch.size, dtype=object)
            joined[:] = batch.cells["cell"]
            rows["cell"] = np.where(rows["cut"] > 0, pd.util.hash_array(joined)[chosen], 0)
        rows["file"], rows["line"] = self._number, batch.lines[chosen]
        return rows

    def _days(self, check: RowCheck, refs: Refs) -> tuple[days.IntArray, Mask]:
        """The day of each row, which must be one day that is not in the future; and rows that name nothing."""
        cells = check.batch.cells
        when = days.parse(cells["date"], self.table.date_order, self._known_days)
        until = when
        if "date_stop" in cells:
            until = days.parse(cells["date_stop"], self.table.date_order, self._known_days)
        unnamed = np.zeros(check.batch.size, dtype=np.bool_)
        if self.table.totals:
            totals, unnamed = self._totals(check, refs, when, until)
            self._file.totals += check.leave_out(totals)
        check.explain("date", (when == days.BAD) & ~unnamed, self._day_of)
        if until is not when:
            check.explain("date_stop", (until == days.BAD) & ~unnamed, self._day_of)
            for row in check.where((when != days.BAD) & (until != days.BAD) & (when != until)):
                what = f"to {days.to_date(int(until[row]))} is more than one day"
                begun = days.to_date(int(when[row]))
                check.fault(row, "date", "not_daily", what, _DAILY_CURE, value=begun)
        options = self._state.options
        if options.window is not None:
            first, last = (days.from_date(one) for one in options.window)
            self._file.other_days += check.leave_out((when != days.BAD) & ((when < first) | (when > last)))
        for row in check.where((when > days.from_date(options.last_day)) & (until == when)):
            what = f"lies in the future: the last day that can have begun anywhere is {options.last_day}"
            check.fault(row, "date", "future_date", what, "correct the date")
        for row in check.where((when != days.BAD) & (when < days.from_date(days.FIRST_DAY))):
            what = f"is before {days.FIRST_DAY}, when there were no such ads"
            check.fault(row, "date", "ancient_date", what, "correct the date")
        return when, unnamed

    def _day_of(self, cell: Any) -> int:
        return days.day(cell, self.table.date_order)

    def _totals(
        self, check: RowCheck, refs: Refs, when: days.IntArray, until: days.IntArray
    ) -> tuple[Mask, Mask]:
        """Rows that sum up others: those that say so, and those that may, naming a day but no entity.

        A row is a total if it has no entity and no single day, or says so. One that names an entity and leaves the day
        blank is one if it is the sum of the entity's days, which only the whole file shows.
        """
        cells = check.batch.cells
        level = LEVELS[self.table.level or 0]
        names = cells.get(f"{level}_name")
        by_name = f"{level}_id" not in cells
        blank = refs.own == BLANK
        single = (when != days.BAD) & (when == until)
        totals = np.zeros(check.batch.size, dtype=np.bool_)
        unnamed = blank & single & check.good
        for row in check.where(check.good & ~single):
            text = "" if cells["date"][row] is None else str(cells["date"][row]).strip()
            called = names is not None and headers.is_sum_of(str(names[row]))
            totals[row] = blank[row] or headers.is_every(text) or called
            unnamed[row] = not totals[row] and text in self.table.blanks
        if names is not None:
            _, distinct = factorize(names)
            if any(headers.is_total(str(one)) or headers.is_table_total(str(one)) for one in distinct):
                for row in check.where(np.ones(check.batch.size, dtype=np.bool_)):
                    name = str(names[row])
                    if headers.is_table_total(name) and (by_name or blank[row]):
                        totals[row] = True
                    elif single[row] and headers.is_total(name) and (by_name or blank[row]):
                        unnamed[row] = True
        return totals, unnamed & ~totals

    def _unnamed(self, check: RowCheck, refs: Refs, row: int, staged: Rows) -> UnnamedRow:
        level = self.table.level or 0
        if staged["day"][0] == days.BAD:
            what = "is empty, and the row is not the total of the days of what it names"
            cure = "repeat the day in every row: a pivot prints it once a group; or remove a row that sums up others"
            problem = check.problem(row, "date", "no_date", what, cure, None)
            return UnnamedRow(int(refs.own[row]), staged, check.batch.raw(row), problem)
        above = [int(codes[row]) for codes in refs.by_level[:level][::-1] if codes[row] >= 0]
        name = LEVELS[level]
        field = f"{name}_name" if f"{name}_name" in check.batch.cells else f"{name}_id"
        what = "names nothing, and the row is not the total of its day's other rows"
        cure = (
            "repeat ids and names in every row: a pivot prints them once a group; export the raw table instead, or "
            "remove a row that sums up others"
        )
        problem = check.problem(row, field, "no_entity", what, cure, str(check.batch.cells[field][row]))
        return UnnamedRow(above[0] if above else BLANK, staged, check.batch.raw(row), problem)

    def _metric(self, check: RowCheck, name: str) -> FloatArray:
        """A metric of each row; 0 where the export leaves out what there is none of."""
        cells = check.batch.cells.get(name)
        if cells is None:
            return np.full(check.batch.size, np.nan if name == "reach" else 0.0)
        values, blank = numerals.parse(cells, decimal=self.table.decimal, blanks=self.table.blanks)
        if name == "spend":
            self._free = blank
        wrong = np.isnan(values) & ~blank
        if name in self.table.blank_is_zero:
            values[blank] = 0.0
        elif name != "reach":
            for row in check.where(blank):
                check.fault(row, name, "empty", "is empty", "write 0 for a day without any")
        for row in check.where(wrong):
            check.fault(row, name, *numerals.explain(cells[row], decimal=self.table.decimal))
        if name == "spend" and self._state.options.allow_negative:
            return values
        cure = "expected 0 or more"
        if name == "spend":
            cure = (
                "a credit that corrects earlier days: pass --allow-negative to load it, or --on-error skip to "
                "leave it out"
            )
        for row in check.where(values < 0):
            check.fault(row, name, "negative", "is negative", cure)
        return values

    def _stamps(self, check: RowCheck) -> FloatArray | None:
        """When each row was fetched, where the file says."""
        cells = check.batch.cells.get("stamp")
        if cells is None:
            return None
        fetched, unknown = stamps.parse(cells)
        for row in check.where(unknown):
            what = "is no time that can be told from another"
            check.fault(row, "stamp", "bad_stamp", what, _STAMP_CURE)
        return fetched

    def _warn(self, check: RowCheck, good: Mask, metrics: dict[str, FloatArray]) -> None:
        for row in check.where(good & (metrics["clicks"] > metrics["impressions"])):
            what = f"are more than the {metrics['impressions'][row]:g} impressions; loaded as they are"
            value = f"{metrics['clicks'][row]:g}"
            self._state.warnings.add(
                check.problem(row, "clicks", "clicks_above_impressions", what, "", value)
            )

        for row in check.where(good & self._free & (metrics["impressions"] > 0)):
            what = f"is blank beside {metrics['impressions'][row]:g} impressions; loaded as 0"
            self._state.warnings.add(check.problem(row, "spend", "blank_spend", what, "", None))

    def _note_facts(self, check: RowCheck) -> None:
        """Note what the file says of its account."""
        state, cells, table = self._state, check.batch.cells, self.table
        if table.currency is not None:
            state.currencies.setdefault(table.currency, table.file)
        for field, into in (
            ("currency", state.currencies),
            ("time_zone", state.time_zones),
            ("account_name", state.account_names),
        ):
            if field not in cells:
                continue
            alive = [cells[field][row] for row in np.flatnonzero(check.alive).tolist()]
            for cell in factorize(alive)[1]:
                text = str(cell).strip()
                if text not in table.blanks:
                    into.setdefault(text.upper() if field == "currency" else text, table.file)
        if not table.tidy:
            state.id_kinds.setdefault("name" if table.by_name else "id", table.file)

    def _describe(self, batch: Batch, refs: Refs, when: days.IntArray, good: Mask) -> None:
        """Note names, status and objective, as of the day of each row."""
        chosen = np.flatnonzero(good)
        for codes in refs.by_level:
            self._state.tree.use(codes[chosen], when[chosen])
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
                self._state.tree.describe(
                    codes[chosen], when[chosen], attribute, cells, blanks=self.table.blanks
                )


def keep_account(check: RowCheck, state: ImportState) -> int:
    """Leave out rows of accounts that were not asked for; how many. Accounts met are noted."""
    if "account" not in check.batch.cells:
        return 0
    codes, distinct = factorize(check.batch.cells["account"])
    names = [str(cell).strip().removeprefix("act_").removesuffix(".0") for cell in distinct]
    for code, rows in zip(*np.unique(codes[check.alive], return_counts=True), strict=True):
        if code >= 0 and names[code] not in check.table.blanks:
            state.accounts[names[code]] += int(rows)
    if state.options.account_id is None:
        return 0
    wanted = state.options.account_id.strip().removeprefix("act_")
    other = np.array([name not in check.table.blanks and name != wanted for name in names] + [False])
    return check.leave_out(other[codes])
