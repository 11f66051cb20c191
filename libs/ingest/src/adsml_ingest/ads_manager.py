"""Reports of Ads Manager, pivots of them, and tables whose columns the caller names.

What an export says is up to whoever set up its columns, so much is found out from the file: the language from the
headers, decimal sign and order of dates from all of its cells. What can't be found out is asked for.

A pivot prints a name or a day once a group; it is carried on to the rows below where that is evident: leading cells are
blank below a row that has them, while no such column ever repeats what it said in the row before; and within a group
the days go on, or the names differ. Anything else stays as it is written, to be refused or told to be a total.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from adsml_ingest import dates, headers, numerals
from adsml_ingest.batch import LEVELS, ZERO, Batch, CutLeads, Table
from adsml_ingest.dates import OrderEvidence
from adsml_ingest.headers import HeaderMap, is_sum_of
from adsml_ingest.leads import SEPARATOR, add_up
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import Clicks, DateOrder, ImportOptions, profile_hint
from adsml_ingest.problems import BadCell, Refusal
from adsml_ingest.sheet import Cells, Sheet

DAY: Final = "day"
_FEWEST: Final = 2  # rows to carry on to: a single blank cell is rather a lost one
_CLICKS: Final = {Clicks.ALL: "clicks_all", Clicks.LINK: "clicks_link"}
_CLICKS_CURE: Final = "add the column Clicks (all) or Link clicks to the report"
_LEAD_WORDS: Final = (
    "lead", "prospect", "cliente potencial", "clientes potenciales", "cadastro", "contatt", "kontakt", "лид",
    "potansiyel", "リード", "潜在", "线索", "潛在", "khách hàng tiềm năng", "العملاء المحتمل",
)  # fmt: skip
_CUT_LEADS: Final = {"by_product": CutLeads.PARTIAL, "by_region": CutLeads.MAYBE, "by_hour": CutLeads.MAYBE}
_UNITS: Final = {"d": "day", "m": "month", "y": "year"}


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
            if not batch.left_out[row]:
                yield row, tuple(None if is_none(cell) else cell for cell in cells)

    carrier = _Carrier(units, order)
    for batch in sheet.read(fields):
        some = False
        for _, cells in rows(batch):
            some = some or (cells[0] is None and cells[-1] is not None)
            carrier.filled(cells)
        # All that is left out begins in the first column.
        if carrier.repeats[0] or not (some or carrier.carried):
            return sheet, 0  # the usual table: not read to its end
    if carrier.carried < _FEWEST or any(carrier.repeats[column] for column in carrier.blanks):
        return sheet, 0

    def read(wanted: Mapping[str, int]) -> Iterator[Batch]:
        carrier = _Carrier(units, order)
        for batch in sheet.read({**wanted, **fields}):
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
        self.blanks, self.repeats = Counter[int](), Counter[int]()  # columns: left out, and said again
        self.carried = 0

    def filled(self, cells: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row with what is carried on to it; as it is if nothing is."""
        first = next((index for index, cell in enumerate(cells) if cell is not None), len(cells))
        is_split = 0 < first < len(cells) and self._units[first - 1] == self._units[first]
        if None in cells[first:] or first == len(cells) or is_split or is_sum_of(str(cells[first])):
            self._above = None  # a sum of others, or no pivot
            return cells
        above = self._above
        if above is None and first:
            return cells
        whole, same = cells, 0
        if above is not None:
            whole = above[:first] + cells[first:]
            differing = (index for index, cell in enumerate(whole) if cell != above[index])
            same = next(differing, len(cells))
            self.repeats.update(range(first, min(same, self._inner)))
            if same >= self._inner and not self._goes_on(above, whole):
                self._above = None
                return cells
        if same < self._inner or above is None:
            self._seen = set()
        self._above = whole
        self._seen.add(whole[self._inner :])
        if first:
            self.carried += 1
            self.blanks.update(range(first))
        return whole

    def _goes_on(self, above: tuple[Any, ...], cells: tuple[Any, ...]) -> bool:
        """Whether a row can belong to the group of the one above it: its day is the next, its name a new one."""
        if cells[self._inner :] in self._seen:
            return False
        if self._units[-1] != DAY:
            return True
        try:
            step = dates.day(cells[-1], self._order) - dates.day(above[-1], self._order)
        except BadCell:
            return False
        direction = (step > 0) - (step < 0)
        self._direction = self._direction or direction
        return direction == self._direction


def open_ads_manager(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a report of Ads Manager, or one whose columns the caller maps.

    Raises `Refusal` if a column is missing, or neither the file nor the caller says how to read its numbers or
    dates.
    """
    found = headers.recognise(sheet.names, _mapped(sheet, options))
    if found is None:
        what = "has no headers of Ads Manager (amount spent, and a name or id of a campaign, ad set or ad)"
        raise sheet.refusal("missing_column", what, "say which column is which: --column spend=Header")
    notes: list[str] = []
    fields = found.positions(f"{level}_{part}" for level in LEVELS for part in ("id", "name", "status"))
    lowest = max(at for at, name in enumerate(LEVELS) if f"{name}_id" in fields or f"{name}_name" in fields)
    named = [name for name in LEVELS[: lowest + 1] if f"{name}_name" in fields and f"{name}_id" not in fields]
    if named:
        levels = " and ".join(f"{name}s" for name in named)
        notes.append(f"no ids of {levels}: their names are used as ids, so a new name is a new entity")
    positions = {kind: found.first(name) for kind, name in _CLICKS.items()}
    days, spend, impressions, (clicks, click_kind), leads = Refusal.all_of(
        lambda: _date_fields(sheet, found),
        lambda: _needed(sheet, found, "spend"),
        lambda: _needed(sheet, found, "impressions"),
        lambda: sheet.clicks(positions, options, notes, _CLICKS_CURE),
        lambda: _lead_fields(sheet, found, options, notes),
    )
    fields |= days | spend | impressions | clicks
    fields |= found.positions(("reach", "account", "account_name", "objective", "currency"))
    parts = {
        sheet.names[position]: (kind, position)
        for kind in headers.BREAKDOWNS
        for position in found.fields.get(kind, ())
        if position not in (*fields.values(), *leads.values())
    }
    if parts:
        columns = ", ".join(parts)
        notes.append(f"broken down by {columns}: summed over them; reach can't be summed and is left out")
    decimal, order = _styles(sheet, found, {**fields, **leads}, options)
    if decimal == ",":
        notes.append("numbers have decimal commas")
    if order is not None:
        notes.append(f"dates are written {'/'.join(_UNITS[unit] for unit in order)}")
    groups = {at: field.partition("_")[0] for field, at in fields.items() if field.endswith(("_id", "_name"))}
    groups = {at: unit for at, unit in groups.items() if unit in LEVELS}
    groups |= {at: DAY for field, at in fields.items() if field in ("date", "date_stop")}
    sheet, carried = carry_on(sheet, groups | {at: name for name, (_, at) in parts.items()}, _is_blank, order)
    if carried:
        notes.append(f"a pivot, which prints names or days once a group: carried on to {carried:,} rows")
    reader = _Reader(fields, leads, parts, decimal)
    labels = {field: sheet.names[position] for field, position in {**leads, **fields}.items()}
    labels["leads"] = ", ".join(sheet.names[at] for field, at in leads.items() if field != "indicator")
    return sheet.table(
        options, fields, labels=labels, by_name=bool(named), level=lowest, blank_is_zero=ZERO,
        batches=partial(reader.batches, sheet), blanks=numerals.PLACEHOLDERS, decimal=decimal,
        date_order=order, totals=True, leads_of_cut=reader.leads_of_cut, notes=notes,
        currency=headers.currency_of(sheet.names[fields["spend"]]), click_kind=click_kind,
        conclude=reader.conclude,
    )  # fmt: skip


def _mapped(sheet: Sheet, options: ImportOptions) -> dict[str, int]:
    """Field to column, as the caller says."""
    mapped: dict[str, int] = {}
    for field, column in options.mapping.items():
        position = sheet.position(column)
        if position is not None:
            mapped["clicks_all" if field == "clicks" else field] = position
        elif field in dict(options.columns):  # a profile's may be absent
            raise sheet.missing(f"{field} called '{column}'", "check --column")
    return mapped


def _needed(sheet: Sheet, found: HeaderMap, field: str) -> dict[str, int]:
    position = found.first(field)
    if position is None:
        name = headers.languages()["English"][field][0]
        raise sheet.missing(field, f"add the column {name} to the report, or pass --column {field}=Header")
    return {field: position}


def _date_fields(sheet: Sheet, found: HeaderMap) -> dict[str, int]:
    """The day, or else the ends of the report, which must be one day in every row."""
    day, starts, ends = found.first("date"), found.first("starts"), found.first("ends")
    if day is not None:
        return {"date": day}
    if starts is None or ends is None:
        cure = "export it by day: Breakdown > By time > Day adds the column Day"
        raise sheet.missing("the day", cure)
    return {"date": starts, "date_stop": ends}


def _lead_fields(sheet: Sheet, found: HeaderMap, options: ImportOptions, notes: list[str]) -> dict[str, int]:
    """Where leads come from: columns of their own, or results whose indicator says that they are leads."""
    fields: dict[str, int] = {}
    for number, name in enumerate(options.lead_columns):
        position = sheet.position(name)
        if position is None:
            raise sheet.missing(f"leads called '{name}'", "check --leads-column")
        fields[f"leads{number}"] = position
    if fields:
        return fields
    position = found.first("leads")
    if position is not None:
        return {"leads0": position}
    results, indicator = found.first("results"), found.first("indicator")
    if results is not None and indicator is not None:
        notes.append(f"leads are {sheet.names[results]} where {sheet.names[indicator]} says lead, else 0")
        return {"results": results, "indicator": indicator}
    if "leads" not in options.assume_zero:
        cure = (
            "add the column Leads to the report, name the ones that hold them with --leads-column, "
            "or pass --assume-zero leads"
        )
        if hint := profile_hint(sheet.names):
            cure = f"{hint}; or {cure}"
        raise sheet.missing("leads", cure)
    notes.append("no column of leads: taken as 0, as asked")
    return {}


class _Reader:
    """Turns columns into fields of the import; `parts` are breakdown columns, each with its kind and position."""

    def __init__(
        self, fields: dict[str, int], leads: dict[str, int], parts: dict[str, tuple[str, int]], decimal: str
    ) -> None:
        self._fields, self._leads, self._parts, self._decimal = fields, leads, parts, decimal
        self._indicators: set[str] = set()
        self._any_lead = not leads

    def batches(self, sheet: Sheet) -> Iterator[Batch]:
        parts = {name: position for name, (_, position) in self._parts.items()}
        for batch in sheet.read_parted({**self._fields, **self._leads}, parts, _is_none):
            self._count_leads(batch.cells)
            yield batch

    def _count_leads(self, cells: Cells) -> None:
        if "indicator" in self._leads:
            results, indicators = cells.pop("results"), cells.pop("indicator")
            self._indicators.update(str(one).strip() for one in set(indicators))
            cells["leads"] = [
                result if any(word in str(indicator).casefold() for word in _LEAD_WORDS) else ""
                for result, indicator in zip(results, indicators, strict=True)
            ]
        elif len(self._leads) == 1:
            cells["leads"] = cells.pop("leads0")
        elif self._leads:
            columns = [cells.pop(name) for name in self._leads]
            cells["leads"] = add_up(columns, decimal=self._decimal, blanks=numerals.PLACEHOLDERS)
        if not self._any_lead and "leads" in cells:
            blanks = (*numerals.PLACEHOLDERS, "0", 0, None)
            self._any_lead = any(cell not in blanks for cell in cells["leads"])

    def leads_of_cut(self, cut: str) -> CutLeads:
        """What a breakdown says of leads."""
        return max(_CUT_LEADS.get(self._parts[name][0], CutLeads.TOLD) for name in cut.split(SEPARATOR))

    def conclude(self, table: Table) -> None:
        """Say that there were no leads, and what there was instead."""
        if self._any_lead:
            return
        shown = sorted(one for one in self._indicators if one not in numerals.PLACEHOLDERS)
        results = f"; its results are {', '.join(shown[:8])}" if shown else ""
        table.warn("no_leads", f"has no lead in any row: leads are 0{results}")


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip() in numerals.PLACEHOLDERS)


def _is_none(cell: object) -> bool:
    return isinstance(cell, str) and (cell.strip() in numerals.PLACEHOLDERS or headers.is_every(cell))


def _styles(
    sheet: Sheet, found: HeaderMap, fields: dict[str, int], options: ImportOptions
) -> tuple[str, DateOrder | None]:
    """How numbers and dates are written, by all cells of the file."""
    numbers, dates = DecimalEvidence(), OrderEvidence()
    if options.decimal is None or options.date_order is None:
        counts = [name for name in ("impressions", "reach", "clicks") if name in fields]
        numbers, dates = sheet.evidence(fields, ["spend"], counts)
    decimal = options.decimal or numbers.decimal
    english = found.language == "English" and sheet.delimiter != ";" and "." not in dates.example
    if decimal is None and english and not (numbers.point and numbers.comma):
        decimal = "."
    if decimal is None:
        raise sheet.unclear_decimal(fields["spend"], comma=False)
    order = options.date_order or dates.order
    if order is None and dates.example:
        if found.language == "English" or dates.orders:
            what = f"holds dates such as {dates.example} that can be read two ways"
            cure = "pass --date-order dmy (day/month/year) or mdy (month/day/year)"
            raise sheet.refusal("unclear_dates", what, cure, fields["date"])
        order = DateOrder.DMY
    return decimal, order
