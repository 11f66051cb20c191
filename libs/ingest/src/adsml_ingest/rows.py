"""From cells as written to staged rows: every cell looked at, every bad one named."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import dates, headers
from adsml_ingest.batch import LEVELS, METRICS, Column, factorize, look_up
from adsml_ingest.leads import is_null
from adsml_ingest.numerals import BoolArray, FloatArray
from adsml_ingest.sheet import key
from adsml_ingest.staging import Rows
from adsml_ingest.state import BatchReader, UnnamedRow
from adsml_ingest.tree import BAD, BLANK, Codes, clean_id

_TYPES: Final = {"campaign": 0, "adset": 1, "ad": 2}
PIVOT_CURE: Final = (
    "repeat ids and names in every row: a pivot prints them once a group; export the raw table instead"
)
OWN_ID_CURE: Final = "every row needs the id of its entity"
_ID_CURE: Final = "export with the ids of campaigns, ad sets or ads"
_DAILY_CURE: Final = "export it by day: time_increment=1 in the API, Breakdown > By time > Day in Ads Manager"
_STAMP_CURE: Final = "write the time of the sync in ISO 8601, such as 2026-10-08T03:00:00Z"
_CREDIT_CURE: Final = (
    "a credit that corrects earlier days: pass --allow-negative to load it, or --on-error skip to "
    "leave it out"
)


@dataclass(frozen=True, slots=True)
class Refs:
    """Entities of the rows of a reader, each of shape (rows,), `BLANK` where none is named."""

    own: Codes  # the one that the row is about
    by_level: tuple[Codes, Codes, Codes]  # the campaign, ad set and ad that it names


def read_refs(reader: BatchReader) -> Refs:
    """The entities of a reader; ids that can't be ids are noted as faults."""
    return _tidy(reader) if reader.table.tidy else _wide(reader)


def link(reader: BatchReader, refs: Refs) -> None:
    """Note who belongs to whom; a row that says otherwise than an earlier one is at fault."""
    tree, good = reader.state.tree, reader.good
    for level in (1, 2):
        children = np.where(good, refs.by_level[level], BLANK).astype(np.int32)
        parents = np.where(good, refs.by_level[level - 1], BLANK).astype(np.int32)
        for row in reader.where(tree.link(children, parents)):
            _moved(reader, level, row, int(children[row]), int(parents[row]))
    lone = good & (refs.by_level[1] == BLANK)
    tree.root(refs.by_level[2][lone], refs.by_level[0][lone])


def _moved(reader: BatchReader, level: int, row: int, child: int, parent: int) -> None:
    tree, above = reader.state.tree, LEVELS[level - 1]
    name, known = tree.id_of(child), tree.id_of(int(tree.parents[child]))
    what = f"is the {above} of {LEVELS[level]} {name}, which belonged to {known} in an earlier row"
    cure = "an id names one entity of its level, with one parent: correct the ids"
    if name.endswith("000") and len(name) > 15:
        cure = f"{name} looks like two ids that lost their last digits in a spreadsheet: export again"
    field = "parent_id" if reader.table.tidy else f"{above}_id"
    reader.fault(row, field, "two_parents", what, cure, value=tree.id_of(parent))


def _wide(reader: BatchReader) -> Refs:
    """Levels side by side: the lowest that is named is what the row is about."""
    table, cells = reader.table, reader.cells
    by_level: list[Codes] = []
    names: list[Column] = []
    naming: dict[int, str] = {}
    for level, name in enumerate(LEVELS):
        if f"{name}_name" in cells:
            names.append(cells[f"{name}_name"])
        codes = blank_codes(reader)
        if f"{name}_id" in cells:
            naming[level] = f"{name}_id"
            codes = read_ids(reader, level, naming[level])
            _note_lost_ids(reader, name, codes)
        elif table.by_name and f"{name}_name" in cells:
            naming[level] = f"{name}_name"
            codes = reader.state.tree.named(level, names, blanks=table.blanks)
        by_level.append(codes)
    campaign, adset, ad = map(or_blank, by_level)
    if table.level is None:
        own = np.where(ad >= 0, ad, np.where(adset >= 0, adset, campaign))
    else:
        own = (campaign, adset, ad)[table.level]
    if not table.totals:
        what = "names no campaign, ad set or ad"
        reader.mark((own == BLANK) & reader.good, None, "no_entity", what, _ID_CURE)
    elif table.level is not None:
        for level in [level for level in naming if level < table.level]:
            lost = (own >= 0) & (by_level[level] == BLANK)
            reader.mark(lost, naming[level], "no_parent", "is empty", PIVOT_CURE)
    return Refs(own.astype(np.int32), (campaign, adset, ad))


def blank_codes(reader: BatchReader) -> Codes:
    """Rows that name nothing."""
    return np.full(reader.batch.size, BLANK, dtype=np.int32)


def read_ids(reader: BatchReader, level: int, field: str) -> Codes:
    """The entities that the platform's ids in a column name; what can't be an id is noted as a fault."""
    codes = reader.state.tree.codes(level, reader.cells[field], digits=True, blanks=reader.table.blanks)
    reader.explain(field, codes == BAD, lambda cell: clean_id(cell, digits=True))
    return codes


def _note_lost_ids(reader: BatchReader, level: str, codes: Codes) -> None:
    """Note as faults the rows that name an entity but lack its id."""
    if f"{level}_name" not in reader.cells:
        return
    names, days, blanks = reader.cells[f"{level}_name"], reader.cells["date"], reader.table.blanks
    for row in reader.where(codes == BLANK):
        name, day = str(names[row]).strip(), days[row]
        is_sum = headers.is_total(name) or headers.is_table_total(name)
        is_sum = is_sum or (headers.is_sum_of(name) and (day is None or str(day).strip() in blanks))
        if not is_sum and not is_null(names[row]) and name not in blanks:
            what = f"is empty beside the {level} name '{names[row]}'"
            cure = "fill in the id, or export again with the column of ids kept as text"
            reader.fault(row, f"{level}_id", "blank_id", what, cure)


def _tidy(reader: BatchReader) -> Refs:
    """One column says the level, one the id, one the parent's id."""
    cells, levels = reader.cells, _levels(reader)
    by_level = tuple(blank_codes(reader) for _ in LEVELS)

    def read(level: int, field: str, rows: npt.NDArray[np.intp]) -> None:
        some = _take(cells[field], rows)
        by_level[level][rows] = reader.state.tree.codes(level, some, digits=False, blanks=reader.table.blanks)

    own = blank_codes(reader)
    for level in range(len(LEVELS)):
        rows = np.flatnonzero(levels == level)
        if len(rows):
            read(level, "entity_id", rows)
            own[rows] = by_level[level][rows]
            if level and "parent_id" in cells:
                read(level - 1, "parent_id", rows)
    reader.explain("entity_id", own == BAD, lambda cell: clean_id(cell, digits=False))
    for level in (0, 1):
        bad_parent = (levels == level + 1) & (by_level[level] == BAD)
        reader.explain("parent_id", bad_parent, lambda cell: clean_id(cell, digits=False))
    lost = (own == BLANK) & (levels >= 0)
    reader.mark(lost, "entity_id", "no_entity", "is empty", OWN_ID_CURE)
    campaign, adset, ad = map(or_blank, by_level)
    return Refs(or_blank(own), (campaign, adset, ad))


def or_blank(codes: Codes) -> Codes:
    """What can't be an id names nothing."""
    return np.where(codes == BAD, BLANK, codes).astype(np.int32)


def _levels(reader: BatchReader) -> npt.NDArray[np.int8]:
    def level_of(cell: object) -> int:
        return _TYPES.get(key(str(cell)).replace("_", ""), -1)

    levels: npt.NDArray[np.int8] = look_up(reader.cells["entity_type"], level_of, nothing=-1, dtype=np.int8)
    cure = f"expected {', '.join(LEVELS)}"
    reader.mark(levels < 0, "entity_type", "bad_entity_type", "is no level of an account", cure)
    return levels


def _take(cells: Column, rows: npt.NDArray[np.intp]) -> Column:
    if isinstance(cells, np.ndarray):
        return cells[rows]
    return cells if len(rows) == len(cells) else [cells[row] for row in rows]


class RowReader(BatchReader):
    """Reads a batch of daily rows."""

    _refs: Refs
    _when: dates.IntArray  # the day of each row
    _metrics: dict[str, FloatArray]
    _fetched: FloatArray | None  # when each row was, where the file says
    _free: BoolArray  # rows whose spend is blank

    def read(self) -> Rows:
        """The good rows; bad ones are reported, and written to the file of rejected rows."""
        self.keep_account()
        self._refs = read_refs(self)
        unnamed = self._read_days()
        self._free = np.zeros(self.batch.size, dtype=np.bool_)
        self._metrics = {name: self._metric(name) for name in METRICS}
        self._fetched = None
        if "stamp" in self.cells:
            self._fetched, unknown = dates.parse_moments(self.cells["stamp"])
            self.mark(unknown, "stamp", "bad_stamp", "is no time that can be told from another", _STAMP_CURE)
        link(self, self._refs)
        self.file.rows += self.size
        self.report()
        self._note_facts()
        good = self.good
        self._warn(good)
        self.file.unnamed += [self._unnamed(row) for row in np.flatnonzero(unnamed & good).tolist()]
        chosen = np.flatnonzero(good & ~unnamed)
        self._describe(chosen)
        return self._staged(chosen)

    def _staged(self, chosen: npt.NDArray[np.intp]) -> Rows:
        rows = self.staged(chosen, self._refs.own, self._when)
        for name, values in self._metrics.items():
            rows[name] = values[chosen]
        rows["stamp"] = self.file.source.fetched_at if self._fetched is None else self._fetched[chosen]
        if "cut" in self.cells:
            number = partial(self.state.cut_number, self.table)
            rows["cut"] = look_up(self.cells["cut"], number, nothing=0, dtype=np.int16)[chosen]
            joined = np.empty(self.batch.size, dtype=object)
            joined[:] = self.cells["cell"]
            rows["cell"] = np.where(rows["cut"] > 0, pd.util.hash_array(joined)[chosen], 0)
        return rows

    def _read_days(self) -> BoolArray:
        """Read the day of each row, which must be one day that is not in the future; rows that name nothing."""
        when = self._when = until = dates.parse_days(self.cells["date"], self.table.date_order)
        if "date_stop" in self.cells:
            until = dates.parse_days(self.cells["date_stop"], self.table.date_order)
        unnamed = np.zeros(self.batch.size, dtype=np.bool_)
        if self.table.totals:
            totals, unnamed = self._totals(until)
            self.file.totals += self.leave_out(totals)
        known = when != dates.BAD
        self.explain("date", ~known & ~unnamed, self.day_of)
        if until is not when:
            self.explain("date_stop", (until == dates.BAD) & ~unnamed, self.day_of)
            for row in self.where(known & (until != dates.BAD) & (when != until)):
                what = f"to {dates.to_date(int(until[row]))} is more than one day"
                begun = dates.to_date(int(when[row]))
                self.fault(row, "date", "not_daily", what, _DAILY_CURE, value=begun)
        options = self.state.options
        if options.window is not None:
            first, last = (dates.from_date(one) for one in options.window)
            self.file.other_days += self.leave_out(known & ((when < first) | (when > last)))
        what = f"lies in the future: the last day that can have begun anywhere is {options.last_day}"
        future = (when > dates.from_date(options.last_day)) & (until == when)
        self.mark(future, "date", "future_date", what, "correct the date")
        what = f"is before {dates.FIRST_DAY}, when there were no such ads"
        ancient = known & (when < dates.from_date(dates.FIRST_DAY))
        self.mark(ancient, "date", "ancient_date", what, "correct the date")
        return unnamed

    def _totals(self, until: dates.IntArray) -> tuple[BoolArray, BoolArray]:
        """Rows that sum up others: those that say so, and those that may, naming a day but no entity.

        A row is a total if it has no entity and no single day, or says so. One that names an entity and leaves the day
        blank is one if it is the sum of the entity's days, which only the whole file shows.
        """
        cells, when = self.cells, self._when
        level = LEVELS[self.table.level or 0]
        names = cells.get(f"{level}_name")
        blank = self._refs.own == BLANK
        single = (when != dates.BAD) & (when == until)
        totals = np.zeros(self.batch.size, dtype=np.bool_)
        unnamed = blank & single & self.good
        for row in self.where(self.good & ~single):
            text = "" if cells["date"][row] is None else str(cells["date"][row]).strip()
            called = names is not None and headers.is_sum_of(str(names[row]))
            totals[row] = blank[row] or headers.is_every(text) or called
            unnamed[row] = not totals[row] and text in self.table.blanks
        if names is not None:
            nameless = self.alive & (blank | (f"{level}_id" not in cells))
            called_so = partial(look_up, names, nothing=False, dtype=np.bool_)
            totals |= nameless & called_so(lambda name: headers.is_table_total(str(name)))
            unnamed |= nameless & single & called_so(lambda name: headers.is_total(str(name)))
        return totals, unnamed & ~totals

    def _unnamed(self, row: int) -> UnnamedRow:
        level = self.table.level or 0
        staged = self._staged(np.array([row]))
        if staged["day"][0] == dates.BAD:
            what = "is empty, and the row is not the total of the days of what it names"
            cure = "repeat the day in every row: a pivot prints it once a group; or remove a row that sums up others"
            problem = self.problem(row, "date", "no_date", what, cure, None)
            return UnnamedRow(int(self._refs.own[row]), staged, self.batch.raw(row), problem)
        above = [int(codes[row]) for codes in self._refs.by_level[:level][::-1] if codes[row] >= 0]
        name = LEVELS[level]
        field = f"{name}_name" if f"{name}_name" in self.cells else f"{name}_id"
        what = "names nothing, and the row is not the total of its day's other rows"
        cure = (
            "repeat ids and names in every row: a pivot prints them once a group; export the raw table instead, or "
            "remove a row that sums up others"
        )
        problem = self.problem(row, field, "no_entity", what, cure, str(self.cells[field][row]))
        return UnnamedRow(above[0] if above else BLANK, staged, self.batch.raw(row), problem)

    def _metric(self, name: str) -> FloatArray:
        """A metric of each row; 0 where the export leaves out what there is none of."""
        if name not in self.cells:
            return np.full(self.batch.size, np.nan if name == "reach" else 0.0)
        values, blank = self.numbers(name)
        if name == "spend":
            self._free = blank
        if name in self.table.blank_is_zero:
            values[blank] = 0.0
        elif name != "reach":
            self.mark(blank, name, "empty", "is empty", "write 0 for a day without any")
        if name != "spend":
            self.mark(values < 0, name, "negative", "is negative", "expected 0 or more")
        elif not self.state.options.allow_negative:
            self.mark(values < 0, name, "negative", "is negative", _CREDIT_CURE)
        return values

    def _warn(self, good: BoolArray) -> None:
        impressions, clicks = self._metrics["impressions"], self._metrics["clicks"]
        warnings = self.state.warnings
        for row in self.where(good & (clicks > impressions)):
            what = f"are more than the {impressions[row]:g} impressions; loaded as they are"
            shown = f"{clicks[row]:g}"
            warnings.add(self.problem(row, "clicks", "clicks_above_impressions", what, "", shown))
        for row in self.where(good & self._free & (impressions > 0)):
            what = f"is blank beside {impressions[row]:g} impressions; loaded as 0"
            warnings.add(self.problem(row, "spend", "blank_spend", what, "", None))

    def _note_facts(self) -> None:
        """Note what the file says of its account."""
        state, table = self.state, self.table
        if table.currency is not None:
            state.currencies.setdefault(table.currency, table.file)
        for field, into in (
            ("currency", state.currencies), ("time_zone", state.time_zones), ("account_name", state.account_names),
        ):  # fmt: skip
            if field not in self.cells:
                continue
            alive = [self.cells[field][row] for row in np.flatnonzero(self.alive).tolist()]
            for cell in factorize(alive)[1]:
                text = str(cell).strip()
                if text not in table.blanks:
                    into.setdefault(text.upper() if field == "currency" else text, table.file)
        if not table.tidy:
            state.id_kinds.setdefault("name" if table.by_name else "id", table.file)

    def _describe(self, chosen: npt.NDArray[np.intp]) -> None:
        """Note names, status and objective, as of the day of each row."""
        when, refs, tree = self._when[chosen], self._refs, self.state.tree
        for codes in refs.by_level:
            tree.use(codes[chosen], when)
        said = [(name, name, refs.own) for name in ("name", "status", "objective")]
        if not self.table.tidy:
            levels = zip(LEVELS, refs.by_level, strict=True)
            said = [
                (f"{level}_{name}", name, codes) for level, codes in levels for name in ("name", "status")
            ]
            said.append(("objective", "objective", refs.by_level[0]))
        for field, attribute, codes in said:
            if field in self.cells:
                cells = [self.cells[field][row] for row in chosen.tolist()]
                tree.describe(codes[chosen], when, attribute, cells, self.table.blanks)
