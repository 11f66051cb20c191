"""Which kind of export a file is, by what is in it."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from adsml_ingest import fivetran, headers, profiles
from adsml_ingest.ads_manager import open_ads_manager
from adsml_ingest.airbyte import is_airbyte, open_airbyte_json, open_airbyte_sheet
from adsml_ingest.batch import Table
from adsml_ingest.delimited import DELIMITERS
from adsml_ingest.insights import open_flat, open_json
from adsml_ingest.jsonstream import Pages, read_objects
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Sheet, key, open_delimited, with_partitions
from adsml_ingest.source import SourceFile, TextSource, sniff
from adsml_ingest.tidy import is_tidy, open_tidy

PARQUET_MAGIC: Final = b"PAR1"
ZIP_MAGIC: Final = b"PK\x03\x04"
_PREAMBLE: Final = 10
_EXPECTED: Final = (
    "say which column is which (--column spend=Header, repeated, or --profile), or export it with English headers; "
    "expected Insights API JSON, an Ads Manager report, Airbyte ads_insights, Fivetran basic_ad tables, or a tidy "
    "table with entity_type, entity_id, parent_id, date, spend, impressions, clicks, leads"
)


_JSON: Final = {Format.INSIGHTS: open_json, Format.AIRBYTE: open_airbyte_json}
_SHEETS: Final = {
    Format.TIDY: open_tidy,
    Format.ADS_MANAGER: open_ads_manager,
    Format.AIRBYTE: open_airbyte_sheet,
}


@dataclass(slots=True)
class Export:
    """A file whose kind is known."""

    source: SourceFile
    format: Format
    inside: Sheet | TextSource  # its text if it is JSON
    pages: Pages = field(default_factory=Pages)  # what its JSON pages say of others

    @property
    def fivetran_table(self) -> str | None:
        """Which of Fivetran's tables it is, if it is one."""
        if self.format is not Format.FIVETRAN or not isinstance(self.inside, Sheet):
            return None
        return fivetran.table_of(self.inside)

    @property
    def is_child(self) -> bool:
        """Whether it holds the actions of another table's rows, as dlt parts nested lists from them."""
        names = {name.strip().casefold() for name in getattr(self.inside, "names", ())}
        return {"_dlt_parent_id", "action_type", "value"} <= names


def detect(file: SourceFile, options: ImportOptions) -> Export:
    """The kind of a file: as the caller says, or by its content; its name matters only to Fivetran's tables.

    Raises `Refusal` if it can't be read or is none of the kinds known.
    """
    head = file.head(4)
    # Slow to import, and seldom needed:
    if head == PARQUET_MAGIC:
        from adsml_ingest.parquet import open_parquet  # noqa: PLC0415

        sheet = with_partitions(open_parquet(file))
        return Export(file, _need_kind(sheet, options, None), sheet)
    if head == ZIP_MAGIC:
        from adsml_ingest.workbook import open_workbook  # noqa: PLC0415

        sheet = open_workbook(file, is_export=lambda names: headers.recognise(names) is not None)
        return Export(file, _need_kind(sheet, options, None), sheet)
    source = sniff(file, options.encoding)
    if next(source.blocks(), "").lstrip()[:1] in ("{", "["):
        return Export(file, options.format or _json_kind(source), source)
    sheet = with_partitions(open_delimited(source))
    return Export(file, _need_kind(sheet, options, source), sheet)


def open_export(
    export: Export, options: ImportOptions, *, with_actions: bool, actions_of: Mapping[str, float] | None
) -> Table:
    """The table of a file; raises `Refusal` if it lacks what its kind needs.

    Other files of the import may hold a table of Fivetran's actions, or leads by key of a row, out of a child table.
    """
    if isinstance(export.inside, TextSource):
        if export.format not in _JSON:
            what, cure = f"is JSON, and {export.format} exports are not", "pass the right --format, or none"
            raise export.source.refusal("wrong_format", what, cure)
        return _JSON[export.format](export.inside, options, pages=export.pages)
    if export.format is Format.FIVETRAN:
        return fivetran.open_fivetran(export.inside, options, with_actions=with_actions)
    if export.format is Format.INSIGHTS:
        return open_flat(export.inside, options, actions_of=actions_of)
    return _SHEETS[export.format](export.inside, options)


def _json_kind(source: TextSource) -> Format:
    first = next((row.value for row in read_objects(source) if row.value is not None), None)
    return Format.AIRBYTE if first is not None and is_airbyte(first) else Format.INSIGHTS


def _need_kind(sheet: Sheet, options: ImportOptions, source: TextSource | None) -> Format:
    kind = options.format or _kind_of(sheet, options)
    if kind is None:
        raise _unknown(sheet, _header_below(source) if source else None)
    return kind


def _kind_of(sheet: Sheet, options: ImportOptions) -> Format | None:
    """Kind of a table by its columns."""
    if is_tidy(sheet):
        return Format.TIDY
    if any(name.strip().casefold().startswith("_airbyte_") for name in sheet.names):
        return Format.AIRBYTE
    if sheet.position("date_start") is not None or sheet.position("_dlt_parent_id") is not None:
        return Format.INSIGHTS
    if options.mapping:
        return Format.ADS_MANAGER
    if fivetran.table_of(sheet) is not None:
        return Format.FIVETRAN
    return None if headers.recognise(sheet.names) is None else Format.ADS_MANAGER


def _header_below(source: TextSource) -> int | None:
    """Line of the first rows at which a header does stand, if one does."""
    lines = io.StringIO(next(source.blocks(), ""))
    for number, line in enumerate(islice(lines, _PREAMBLE), start=1):
        for delimiter in DELIMITERS:
            try:
                names = next(csv.reader([line], delimiter=delimiter), [])
            except csv.Error:  # a line that is none, as a carriage return in its middle makes it
                continue
            if headers.recognise(names) or {"entity_type", "entity_id"} <= {key(name) for name in names}:
                return number
    return None


def _unknown(sheet: Sheet, below: int | None) -> Refusal:
    what = f"is of no kind that is known: its header is '{', '.join(sheet.names)[:300]}'"
    cure = _EXPECTED
    if below is not None:
        cure = f"line {below} looks like a header: remove the lines before it"
    elif (profile := profiles.matching(sheet.names)) is not None:
        cure = (
            f"it looks like an export of {profile.title}: pass --profile {profile.name}, or map its columns with "
            "--column field=Header"
        )
    return sheet.refusal("unknown_format", what, cure)
