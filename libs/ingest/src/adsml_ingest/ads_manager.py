"""CSV exports of Ads Manager: headers in the user's language, currency in the header, totals rows.

What an export says is up to whoever set up its columns, so much is found out from the file: the language from
the headers, decimal sign and order of dates from the first cells. What can't be found out is asked for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from adsml_ingest import days, headers, numerals
from adsml_ingest.batch import LEVELS, Batch, Table
from adsml_ingest.headers import Recognised
from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import Cells, Sheet
from adsml_ingest.source import Advance

ZERO: Final = frozenset({"spend", "impressions", "clicks", "leads"})
_CLICKS: Final = {Clicks.ALL: "clicks_all", Clicks.LINK: "clicks_link"}
_LEAD_WORDS: Final = ("lead", "prospect", "cliente potencial", "clientes potenciales", "cadastro", "contatt")


def open_ads_manager(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind an export of Ads Manager.

    Raises
    ------
    Refusal
        If a column is missing, or neither the file nor the caller says how to read its numbers or dates.
    """
    found = headers.recognise(sheet.names)
    if found is None:
        what = "has no headers of Ads Manager (amount spent, and a name or id of a campaign, ad set or ad)"
        raise Refusal(
            Problem(str(sheet.path), "missing_column", what, "check --format", line=sheet.header_line)
        )
    notes: list[str] = []
    fields = _entity_fields(found)
    level = max(
        index for index, name in enumerate(LEVELS) if f"{name}_id" in fields or f"{name}_name" in fields
    )
    named = [
        f"{name}s" for name in LEVELS[: level + 1] if f"{name}_name" in fields and f"{name}_id" not in fields
    ]
    if named:
        notes.append(
            f"no ids of {' and '.join(named)}: their names are used as ids, so a new name is a new entity"
        )
    Refusal.all_of(
        lambda: fields.update(_date_fields(sheet, found)),
        lambda: fields.update(spend=_needed(sheet, found, "spend")),
        lambda: fields.update(impressions=_needed(sheet, found, "impressions")),
        lambda: _add_clicks(sheet, found, fields, options, notes),
        lambda: _add_leads(sheet, found, fields, options, notes),
    )
    by_indicator = "indicator" in fields
    fields |= {
        field: at
        for field in ("reach", "account", "objective", "currency")
        if (at := found.first(field)) is not None
    }
    breakdowns = tuple(sheet.names[position] for position in found.fields.get("breakdown", ()))
    parts = {f"part{index}": position for index, position in enumerate(found.fields.get("breakdown", ()))}
    if breakdowns:
        notes.append(
            f"broken down by {', '.join(breakdowns)}: summed over them; reach can't be summed and is left out"
        )
    decimal, order = _styles(sheet, found, fields, options)
    if decimal == ",":
        notes.append("numbers have decimal commas")
    if order is not None:
        notes.append(f"dates are written {_SAID[order]}")
    read = {**fields, **parts}

    def batches(advance: Advance) -> Iterator[Batch]:
        for batch in sheet.read(read, advance):
            if parts:
                columns = [batch.cells.pop(part) for part in parts]
                batch.cells["breakdown"] = ["\x1f".join(map(str, row)) for row in zip(*columns, strict=True)]
            if by_indicator:
                _count_leads(batch.cells)
            yield batch

    labels = {field: sheet.names[position] for field, position in fields.items()}
    if by_indicator:
        labels["leads"] = labels["results"]
    return Table(
        file=str(sheet.path),
        format=Format.ADS_MANAGER,
        labels=labels,
        batches=batches,
        by_name=bool(named),
        level=level,
        blank_is_zero=ZERO,
        blanks=numerals.PLACEHOLDERS,
        decimal=decimal,
        date_order=order,
        totals=True,
        breakdowns=breakdowns,
        place=sheet.place,
        header=sheet.header,
        delimiter=sheet.delimiter,
        currency=headers.currency_of(sheet.names[fields["spend"]]),
        notes=tuple(notes),
    )


_SAID: Final = {
    DateOrder.DMY: "day/month/year",
    DateOrder.MDY: "month/day/year",
    DateOrder.YMD: "year/month/day",
}


def _entity_fields(found: Recognised) -> dict[str, int]:
    names = [f"{level}_{part}" for level in LEVELS for part in ("id", "name", "status")]
    return {name: at for name in names if (at := found.first(name)) is not None}


def _needed(sheet: Sheet, found: Recognised, field: str) -> int:
    position = found.first(field)
    if position is None:
        name = headers.LANGUAGES["English"][field].split("|")[0]
        raise sheet.missing(field, f"add the column {name} to the report")
    return position


def _date_fields(sheet: Sheet, found: Recognised) -> dict[str, int]:
    """The day, or else the ends of the report, which must be one day in every row."""
    day, starts, ends = found.first("date"), found.first("starts"), found.first("ends")
    if day is not None:
        return {"date": day}
    if starts is None or ends is None:
        cure = "export it by day: Breakdown > By time > Day adds the column Day"
        raise sheet.missing("the day", cure)
    return {"date": starts, "date_stop": ends}


def _add_clicks(
    sheet: Sheet, found: Recognised, fields: dict[str, int], options: ImportOptions, notes: list[str]
) -> None:
    wanted = [_CLICKS[options.clicks]] if options.clicks else [_CLICKS[Clicks.ALL], _CLICKS[Clicks.LINK]]
    for name in wanted:
        position = found.first(name)
        if position is not None:
            fields["clicks"] = position
            if name == _CLICKS[Clicks.LINK]:
                notes.append(f"clicks are link clicks ({sheet.names[position]})")
            return
    if "clicks" not in options.assume_zero:
        cure = "add the column Clicks (all) or Link clicks to the report, or pass --assume-zero clicks"
        raise sheet.missing("clicks", cure)
    notes.append("no column of clicks: taken as 0, as asked")


def _add_leads(
    sheet: Sheet, found: Recognised, fields: dict[str, int], options: ImportOptions, notes: list[str]
) -> None:
    """Settle where leads come from: their own column, or results whose indicator says that they are leads."""
    if options.leads_column is not None:
        position = sheet.position(options.leads_column)
        if position is None:
            raise sheet.missing(f"leads called '{options.leads_column}'", "check --leads-column")
        fields["leads"] = position
        return
    position = found.first("leads")
    if position is not None:
        fields["leads"] = position
        return
    results, indicator = found.first("results"), found.first("indicator")
    if results is not None and indicator is not None:
        fields["results"], fields["indicator"] = results, indicator
        notes.append(f"leads are {sheet.names[results]} where {sheet.names[indicator]} says lead, else 0")
        return
    if "leads" not in options.assume_zero:
        cure = (
            "add the column Leads to the report, name the one that holds them with --leads-column, "
            "or pass --assume-zero leads"
        )
        raise sheet.missing("leads", cure)
    notes.append("no column of leads: taken as 0, as asked")


def _count_leads(cells: Cells) -> None:
    results, indicators = cells.pop("results"), cells.pop("indicator")
    cells["leads"] = [
        result if any(word in str(indicator).casefold() for word in _LEAD_WORDS) else ""
        for result, indicator in zip(results, indicators, strict=True)
    ]


def _styles(
    sheet: Sheet, found: Recognised, fields: dict[str, int], options: ImportOptions
) -> tuple[str, DateOrder | None]:
    """How numbers and dates are written."""
    counts = [name for name in ("impressions", "reach", "clicks") if name in fields]
    sample = sheet.sample({name: fields[name] for name in ("date", "spend", *counts)})
    decimal = options.decimal or numerals.infer_decimal(
        _texts(sample["spend"]), [cell for name in counts for cell in _texts(sample[name])]
    )
    if decimal is None and found.language == "English":
        decimal = "."
    if decimal is None:
        what = "can be read two ways: 1.250 may be one and a quarter or twelve hundred and fifty"
        cure = "pass --decimal , or --decimal ."
        raise _unclear(sheet, "unclear_decimal", fields["spend"], what, cure)
    order = options.date_order
    if order is None:
        written = _texts(sample["date"])
        order = days.infer_order(written)
        parts = [cell for cell in written if days.needs_order(cell)]
        if order is None and parts:
            if found.language == "English":
                what = f"holds dates such as {parts[0]} that can be read two ways"
                cure = "pass --date-order dmy (day/month/year) or mdy (month/day/year)"
                raise _unclear(sheet, "unclear_dates", fields["date"], what, cure)
            order = DateOrder.DMY
    return decimal, order


def _unclear(sheet: Sheet, kind: str, position: int, what: str, cure: str) -> Refusal:
    return Refusal(
        Problem(str(sheet.path), kind, what, cure, line=sheet.header_line, column=sheet.names[position])
    )


def _texts(cells: Sequence[Any] | np.ndarray[Any, np.dtype[Any]]) -> list[str]:
    return [cell for cell in cells if isinstance(cell, str)]
