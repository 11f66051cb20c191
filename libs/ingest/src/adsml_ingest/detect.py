"""Which kind of export a file is, by what is in it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from adsml_common.domain.errors import FailedPrecondition

from adsml_ingest import fivetran, headers
from adsml_ingest.ads_manager import open_ads_manager
from adsml_ingest.airbyte import is_airbyte, open_airbyte_json, open_airbyte_sheet
from adsml_ingest.batch import Table
from adsml_ingest.delimited import DELIMITERS
from adsml_ingest.insights import open_flat, open_json
from adsml_ingest.jsonstream import read_objects
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import Sheet, key, open_delimited
from adsml_ingest.source import TextSource, sniff, unreadable
from adsml_ingest.tidy import is_tidy, open_tidy

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
"""Of the files that are taken from a directory."""
PARQUET_MAGIC: Final = b"PAR1"
_PREAMBLE: Final = 10
_EXPECTED: Final = (
    "expected Insights API JSON, an Ads Manager CSV, Airbyte ads_insights, Fivetran basic_ad tables, or a "
    "tidy table with entity_type, entity_id, parent_id, date, spend, impressions, clicks, leads"
)


_JSON: Final = {Format.INSIGHTS: open_json, Format.AIRBYTE: open_airbyte_json}
_SHEETS: Final = {
    Format.TIDY: open_tidy,
    Format.ADS_MANAGER: open_ads_manager,
    Format.AIRBYTE: open_airbyte_sheet,
    Format.INSIGHTS: open_flat,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file whose kind is known.

    Attributes
    ----------
    path
        As the caller gave it.
    format
        Its kind.
    inside
        Its table, or its text if it is JSON.
    """

    path: Path
    format: Format
    inside: Sheet | TextSource

    @property
    def fivetran_table(self) -> str | None:
        """Which of Fivetran's tables it is, if it is one."""
        if self.format is not Format.FIVETRAN or not isinstance(self.inside, Sheet):
            return None
        return fivetran.table_of(self.inside)


def expand(paths: Sequence[Path]) -> list[Path]:
    """The files behind some paths: a directory stands for the exports in it, by name.

    Raises
    ------
    Refusal
        If a directory holds none.
    """
    files: list[Path] = []
    for path in paths:
        try:
            if not path.is_dir():
                files.append(path)
                continue
            inside = sorted(file for file in path.iterdir() if file.is_file() and _is_export(file))
        except OSError as error:
            raise unreadable(path, error) from None
        if not inside:
            what = f"is a directory without exports ({', '.join(SUFFIXES)})"
            raise Refusal(Problem(str(path), "no_file", what, "check the path"))
        files += inside
    return list(dict.fromkeys(files))


def _is_export(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.endswith((".rejected.csv", ".rejected.jsonl"))


def detect(path: Path, options: ImportOptions) -> Found:
    """The kind of a file: as the caller says, or by its content; its name matters only to Fivetran's tables.

    Raises
    ------
    Refusal
        If it can't be read or is none of the kinds known.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(PARQUET_MAGIC))
    except OSError:
        magic = b""
    if magic == PARQUET_MAGIC:
        sheet = _open_parquet(path)
        kind = options.format or _kind_of(sheet)
        if kind is None:
            raise _unknown(sheet, None)
        return Found(path, kind, sheet)
    source = sniff(path, options.encoding)
    if next(source.blocks(), "").lstrip()[:1] in ("{", "["):
        return Found(path, options.format or _json_kind(source), source)
    sheet = open_delimited(source)
    kind = options.format or _kind_of(sheet)
    if kind is None:
        raise _unknown(sheet, _header_below(source))
    return Found(path, kind, sheet)


def open_found(found: Found, options: ImportOptions, *, with_actions: bool) -> Table:
    """The table of a file.

    Parameters
    ----------
    found
        The file.
    options
        What the caller wants.
    with_actions
        Whether an actions table of Fivetran's is among the files.

    Raises
    ------
    Refusal
        If it lacks what its kind needs.
    """
    if isinstance(found.inside, TextSource):
        if found.format not in _JSON:
            what = f"is JSON, and {found.format} exports are not"
            raise Refusal(Problem(str(found.path), "wrong_format", what, "pass the right --format, or none"))
        return _JSON[found.format](found.inside, options)
    if found.format is Format.FIVETRAN:
        return fivetran.open_fivetran(found.inside, options, with_actions=with_actions)
    return _SHEETS[found.format](found.inside, options)


def _json_kind(source: TextSource) -> Format:
    first = next((row.value for row in read_objects(source) if row.value is not None), None)
    return Format.AIRBYTE if first is not None and is_airbyte(first) else Format.INSIGHTS


def _open_parquet(path: Path) -> Sheet:
    try:
        # An extra: most installations import text.
        from adsml_ingest.parquet import open_parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise FailedPrecondition(
            "Parquet files need pyarrow: install adsml-common[ingest], or import a CSV file"
        ) from None
    return open_parquet(path)


def _kind_of(sheet: Sheet) -> Format | None:
    """Kind of a table by its columns."""
    if is_tidy(sheet):
        return Format.TIDY
    if any(name.strip().casefold().startswith("_airbyte_") for name in sheet.names):
        return Format.AIRBYTE
    if sheet.position("date_start") is not None:
        return Format.INSIGHTS
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
    what = f"is of no kind that is known: its header is '{', '.join(sheet.names)[:160]}'"
    cure = _EXPECTED if below is None else f"line {below} looks like a header: remove the lines before it"
    return Refusal(Problem(str(sheet.path), "unknown_format", what, cure, line=sheet.header_line))
