"""Reports of Ads Manager, and tables whose columns the caller names: localized headers, currency in the header, totals.

What an export says is up to whoever set up its columns, so much is found out from the file: the language from
the headers, decimal sign and order of dates from all of its cells. What can't be found out is asked for.
"""

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np

from adsml_ingest import headers, numerals, pivots, profiles
from adsml_ingest.batch import LEVELS, Batch, Table
from adsml_ingest.breakdowns import SEPARATOR, CutLeads
from adsml_ingest.days import OrderEvidence
from adsml_ingest.headers import HeaderMap
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Cells, Sheet
from adsml_ingest.source import Advance

ZERO: Final = frozenset({"spend", "impressions", "clicks", "leads"})
_CLICKS: Final = {Clicks.ALL: "clicks_all", Clicks.LINK: "clicks_link"}
_CLICKS_CURE: Final = "add the column Clicks (all) or Link clicks to the report"
_LEAD_WORDS: Final = (
    "lead", "prospect", "cliente potencial", "clientes potenciales", "cadastro", "contatt", "kontakt", "лид",
    "potansiyel", "リード", "潜在", "线索", "潛在", "khách hàng tiềm năng", "العملاء المحتمل",
)  # fmt: skip
_CUT_LEADS: Final = {"by_product": CutLeads.PARTIAL, "by_region": CutLeads.MAYBE, "by_hour": CutLeads.MAYBE}
_SAID: Final = {
    DateOrder.DMY: "day/month/year",
    DateOrder.MDY: "month/day/year",
    DateOrder.YMD: "year/month/day",
}


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
    named = [
        f"{name}s" for name in LEVELS[: lowest + 1] if f"{name}_name" in fields and f"{name}_id" not in fields
    ]
    if named:
        notes.append(
            f"no ids of {' and '.join(named)}: their names are used as ids, so a new name is a new entity"
        )
    leads: dict[str, int] = {}
    clicks: list[tuple[dict[str, int], Literal["all", "link"] | None]] = []
    positions = {kind: found.first(name) for kind, name in _CLICKS.items()}
    Refusal.all_of(
        lambda: fields.update(_date_fields(sheet, found)),
        lambda: fields.update(spend=_needed(sheet, found, "spend")),
        lambda: fields.update(impressions=_needed(sheet, found, "impressions")),
        lambda: clicks.append(sheet.clicks(positions, options, notes, _CLICKS_CURE)),
        lambda: leads.update(_lead_fields(sheet, found, options, notes)),
    )
    [(clicked, click_kind)] = clicks
    fields |= clicked | found.positions(("reach", "account", "account_name", "objective", "currency"))
    parts = {
        sheet.names[position]: (kind, position)
        for kind in headers.BREAKDOWNS
        for position in found.fields.get(kind, ())
        if position not in (*fields.values(), *leads.values())
    }
    if parts:
        notes.append(
            f"broken down by {', '.join(parts)}: summed over them; reach can't be summed and is left out"
        )
    decimal, order = _styles(sheet, found, {**fields, **leads}, options)
    if decimal == ",":
        notes.append("numbers have decimal commas")
    if order is not None:
        notes.append(f"dates are written {_SAID[order]}")
    groups = {at: field.partition("_")[0] for field, at in fields.items() if field.endswith(("_id", "_name"))}
    groups = {at: unit for at, unit in groups.items() if unit in LEVELS}
    groups |= {at: pivots.DAY for field, at in fields.items() if field in ("date", "date_stop")}
    sheet, carried = pivots.carry_on(
        sheet, groups | {at: name for name, (_, at) in parts.items()}, _is_blank, order
    )
    if carried:
        notes.append(f"a pivot, which prints names or days once a group: carried on to {carried:,} rows")
    reader = _Reader(fields, leads, parts, decimal)
    labels = {field: sheet.names[position] for field, position in {**leads, **fields}.items()}
    labels["leads"] = ", ".join(sheet.names[at] for field, at in leads.items() if field != "indicator")
    table = sheet.table(
        Format.ADS_MANAGER, options, fields, labels=labels, by_name=bool(named), level=lowest, blank_is_zero=ZERO,
        batches=lambda advance: reader.batches(sheet, advance), blanks=numerals.PLACEHOLDERS, decimal=decimal,
        date_order=order, totals=True, leads_of_cut=reader.leads_of_cut, notes=notes,
        currency=headers.currency_of(sheet.names[fields["spend"]]),
        click_kind=click_kind,
    )  # fmt: skip
    table.conclude = lambda: reader.conclude(table)
    return table


def _mapped(sheet: Sheet, options: ImportOptions) -> dict[str, int]:
    """Field to column, as the caller says."""
    mapped: dict[str, int] = {}
    for field, column in options.mapping.items():
        position = sheet.position(column)
        if position is not None:
            mapped["clicks_all" if field == "clicks" else "starts" if field == "date_start" else field] = (
                position
            )
        elif options.is_explicit(field):
            raise sheet.missing(f"{field} called '{column}'", "check --column")
    return mapped


def _needed(sheet: Sheet, found: HeaderMap, field: str) -> int:
    position = found.first(field)
    if position is None:
        name = headers.languages()["English"][field][0]
        raise sheet.missing(field, f"add the column {name} to the report, or pass --column {field}=Header")
    return position


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
        if (profile := profiles.matching(sheet.names)) is not None:
            cure = f"it looks like an export of {profile.title}: pass --profile {profile.name}; or {cure}"
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

    def batches(self, sheet: Sheet, advance: Advance) -> Iterator[Batch]:
        parts = {name: position for name, (_, position) in self._parts.items()}
        for batch in sheet.read_parted({**self._fields, **self._leads}, parts, _is_none, advance):
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
            numbers = [
                numerals.parse(one, decimal=self._decimal, blanks=numerals.PLACEHOLDERS) for one in columns
            ]
            total = np.sum([np.where(blank, 0.0, values) for values, blank in numbers], axis=0)
            # A cell that is no number is shown as it is, and refused further on.
            cells["leads"] = [
                float(value) if value == value else next(  # noqa: PLR0124
                    str(one[row]) for one, (values, blank) in zip(columns, numbers, strict=True)
                    if np.isnan(values[row]) and not blank[row]
                )
                for row, value in enumerate(total)
            ]  # fmt: skip
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
        for cells in sheet.texts({name: fields[name] for name in ("date", "spend", *counts)}):
            numbers.add(cells["spend"], [cell for name in counts for cell in cells[name]])
            dates.add(cells["date"])
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
