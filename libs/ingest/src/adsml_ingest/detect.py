"""Which kind of export a file is, by what is in it."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from adsml_ingest import connectors, headers
from adsml_ingest.ads_manager import open_ads_manager
from adsml_ingest.batch import Table
from adsml_ingest.connectors import is_airbyte, open_airbyte_json, open_airbyte_sheet
from adsml_ingest.files import PREAMBLE, ZIP_MAGIC, SourceFile, TextSource, sniff
from adsml_ingest.insights import open_flat, open_json
from adsml_ingest.jsonstream import read_objects
from adsml_ingest.options import ZEROABLE, Format, ImportOptions, profile_hint
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import DELIMITERS, Sheet, key, open_delimited, with_partitions
from adsml_ingest.state import ReadFile

REQUIRED: Final = ("entity_type", "entity_id", "date", "spend", "impressions", "clicks", "leads")
OPTIONAL: Final = ("parent_id", "reach", "name", "status", "objective", "account_id", "currency")
_FIELD: Final = {"account_id": "account"}
_CURE: Final = f"a tidy table needs {', '.join(REQUIRED)}"
PARQUET_MAGIC: Final = b"PAR1"
_EXPECTED: Final = (
    "say which column is which (--column spend=Header, repeated, or --profile), or export it with English headers; "
    "expected Insights API JSON, an Ads Manager report, Airbyte ads_insights, Fivetran basic_ad tables, or a tidy "
    "table with entity_type, entity_id, parent_id, date, spend, impressions, clicks, leads"
)
_JSON: Final = {Format.INSIGHTS: open_json, Format.AIRBYTE: open_airbyte_json}


def open_tidy(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a sheet with tidy columns; raises `Refusal` if one is missing."""
    fields: dict[str, int] = {}
    notes: list[str] = []
    absent: list[Problem] = []
    for name in (*REQUIRED, *OPTIONAL):
        position = sheet.position(name)
        if position is not None:
            fields[_FIELD.get(name, name)] = position
        elif name in ZEROABLE and name in options.assume_zero:
            notes.append(f"no column {name}: taken as 0, as asked")
        elif name in REQUIRED:
            cure = f"{_CURE}; pass --assume-zero {name} if there are none" if name in ZEROABLE else _CURE
            absent += sheet.missing(name, cure).problems
    if absent:
        raise Refusal(*absent)
    if "parent_id" not in fields:
        notes.append("no column parent_id: the tree of campaigns, ad sets and ads stays as it is known")
    if options.leads_columns:
        notes.append("the tidy table counts leads itself: --leads-column is not needed, and not used")
    money = {name: at for name, at in fields.items() if name in ("spend", "impressions", "clicks")}
    sheet.check_decimal(money, options)
    used = set(fields.values())
    unused = [name for position, name in enumerate(sheet.names) if position not in used and name]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    return sheet.table(options, fields, tidy=True, notes=notes)


_SHEETS: Final = {Format.TIDY: open_tidy, Format.AIRBYTE: open_airbyte_sheet}


def detect(file: ReadFile, options: ImportOptions) -> None:
    """Note the kind of a file: as the caller says, or by its content; its name matters only to Fivetran's tables.

    Raises `Refusal` if it can't be read or is none of the kinds known.
    """
    inside = open_inside(file.source, options, is_export=lambda names: headers.recognise(names) is not None)
    if isinstance(inside, TextSource):
        first = next((row.value for row in read_objects(inside) if row.value is not None), {})
        file.format = options.format or (Format.AIRBYTE if is_airbyte(first) else Format.INSIGHTS)
    else:
        inside = with_partitions(inside)
        file.format = options.format or _kind_of(inside, options)
        if file.format is None:
            raise _unknown(inside, options)
    file.inside = inside


def open_inside(
    file: SourceFile, options: ImportOptions, *, is_export: Callable[[Sequence[str]], bool]
) -> Sheet | TextSource:
    """The table in a file, or its text if it is JSON; of a workbook the sheet whose header `is_export` knows.

    Raises `Refusal` if it can't be read.
    """
    head = file.head(4)
    # Slow to import, and seldom needed:
    if head == PARQUET_MAGIC:
        from adsml_ingest.parquet import open_parquet  # noqa: PLC0415

        return open_parquet(file)
    if head == ZIP_MAGIC:
        from adsml_ingest.workbook import open_workbook  # noqa: PLC0415

        return open_workbook(file, is_export=is_export)
    source = sniff(file, options.encoding)
    is_json = next(source.blocks(), "").lstrip()[:1] in ("{", "[")
    return source if is_json else open_delimited(source)


def open_table(
    file: ReadFile, inside: Sheet | TextSource, options: ImportOptions, *, with_actions: bool,
    actions_of: Mapping[str, float] | None,
) -> Table:  # fmt: skip
    """The table of a file; raises `Refusal` if it lacks what its kind needs.

    Other files of the import may hold a table of Fivetran's actions, or leads by key of a row, out of a child table.
    """
    kind = file.format or Format.INSIGHTS
    if isinstance(inside, TextSource):
        if kind not in _JSON:
            what, cure = f"is JSON, and {kind} exports are not", "pass the right --format, or none"
            raise file.source.refusal("wrong_format", what, cure)
        return _JSON[kind](inside, options, pages=file.pages)
    if kind is Format.FIVETRAN:
        return connectors.open_fivetran(inside, options, with_actions=with_actions)
    if kind is Format.INSIGHTS:
        return open_flat(inside, options, actions_of=actions_of)
    return _SHEETS.get(kind, open_ads_manager)(inside, options)


def _kind_of(sheet: Sheet, options: ImportOptions) -> Format | None:
    """Kind of a table by its columns."""
    if sheet.position("entity_type") is not None and sheet.position("entity_id") is not None:
        return Format.TIDY  # or all of one but a few columns
    if any(name.strip().casefold().startswith("_airbyte_") for name in sheet.names):
        return Format.AIRBYTE
    if sheet.position("date_start") is not None or sheet.position("_dlt_parent_id") is not None:
        return Format.INSIGHTS
    if options.mapping:
        return Format.ADS_MANAGER
    if connectors.fivetran_table_of(sheet) is not None:
        return Format.FIVETRAN
    return None if headers.recognise(sheet.names) is None else Format.ADS_MANAGER


def _header_below(file: SourceFile, encoding: str | None) -> int | None:
    """Line of the first rows at which a header does stand, if one does."""
    lines = io.StringIO(next(sniff(file, encoding).blocks(), ""))
    for number, line in enumerate(islice(lines, PREAMBLE), start=1):
        for delimiter in DELIMITERS:
            try:
                names = next(csv.reader([line], delimiter=delimiter), [])
            except csv.Error:  # a line that is none, as a carriage return in its middle makes it
                continue
            if headers.recognise(names) or {"entity_type", "entity_id"} <= {key(name) for name in names}:
                return number
    return None


def _unknown(sheet: Sheet, options: ImportOptions) -> Refusal:
    what = f"is of no kind that is known: its header is '{', '.join(sheet.names)[:300]}'"
    cure = _EXPECTED
    below = None if sheet.header is None else _header_below(sheet.file, options.encoding)
    if below is not None:
        cure = f"line {below} looks like a header: remove the lines before it"
    elif hint := profile_hint(sheet.names):
        cure = f"{hint}, or map its columns with --column field=Header"
    return sheet.refusal("unknown_format", what, cure)
