"""Tables with named columns, delimited or not (see `parquet`, `workbook`), as one thing to the readers."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from adsml_ingest import breakdowns
from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.delimited import Header, Records, read_header, read_records
from adsml_ingest.distinct import Column, factorize
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import Clicks, Format, ImportOptions
from adsml_ingest.problems import Refusal
from adsml_ingest.source import Advance, SourceFile, TextSource, ignore

Cells = dict[str, Column]
_PARTITION: Final = re.compile(r"(date_start|date_stop|date|date_day|day|account_id)=(.+)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a file."""

    file: SourceFile
    names: tuple[str, ...]  # of its columns, as written
    read: Callable[[Mapping[str, int], Advance], Iterator[Batch]]
    """Rows of some columns (field to column position), batch by batch, from the start."""
    place: str = "line"  # what the batches' `lines` count
    header: str | None = None  # as written; None where there are no lines
    header_line: int | None = None
    delimiter: str = ","

    def position(self, *names: str) -> int | None:
        """Position of the first of some columns that is there, whatever its case, spaces and underscores."""
        keys = [key(name) for name in self.names]
        return next((keys.index(key(name)) for name in names if key(name) in keys), None)

    def positions(self, columns: Mapping[str, str]) -> dict[str, int]:
        """Field to position, of those columns (field to name) that are there."""
        return {field: at for field, name in columns.items() if (at := self.position(name)) is not None}

    def read_all(self, advance: Advance) -> Iterator[Batch]:
        """Rows with all their columns, under the names that the file gives them."""
        return self.read({name: position for position, name in enumerate(self.names) if name}, advance)

    def read_parted(
        self,
        fields: Mapping[str, int],
        parts: Mapping[str, int],
        is_none: Callable[[Any], bool],
        advance: Advance,
    ) -> Iterator[Batch]:
        """As `read`, with ``cut`` and ``cell`` by the columns that part a day."""
        for batch in self.read({**fields, **{f"part:{name}": at for name, at in parts.items()}}, advance):
            if parts:
                rows = zip(*(batch.cells.pop(f"part:{name}") for name in parts), strict=True)
                cells = [tuple("" if is_none(cell) else cell for cell in row) for row in rows]
                batch.cells["cut"], batch.cells["cell"] = breakdowns.cuts_of(parts, cells)
            yield batch

    def clicks(
        self, columns: Mapping[Clicks, int | None], options: ImportOptions, notes: list[str], cure: str
    ) -> tuple[dict[str, int], Literal["all", "link"] | None]:
        """The column of clicks, as the field ``clicks``, and of which kind; raises `Refusal` if one is needed.

        `columns` are the positions of those that the table may have.
        """
        for kind in [options.clicks] if options.clicks else [Clicks.ALL, Clicks.LINK]:
            position = columns[kind]
            if position is not None:
                if kind is Clicks.LINK:
                    notes.append(f"clicks are link clicks ({self.names[position]})")
                return {"clicks": position}, kind.value
        if "clicks" not in options.assume_zero:
            raise self.missing("clicks", f"{cure}, or pass --assume-zero clicks")
        notes.append("no column of clicks: taken as 0, as asked")
        return {}, None

    def texts(self, fields: Mapping[str, int]) -> Iterator[dict[str, list[str]]]:
        """The distinct cells of some columns that are text, batch by batch, as far as the file can be read."""
        try:
            for batch in self.read(fields, ignore):
                yield {
                    field: [cell for cell in factorize(cells)[1] if isinstance(cell, str)]
                    for field, cells in batch.cells.items()
                }
        except Refusal:
            return  # said when its rows are read

    def table(self, format_: Format, options: ImportOptions, fields: Mapping[str, int], **more: Any) -> Table:
        """The table of its rows; `fields` as in `read`, `more` are further attributes of the table."""
        given: dict[str, Any] = {
            "labels": {field: self.names[position] for field, position in fields.items()},
            "batches": lambda advance: self.read(fields, advance),
            "decimal": options.decimal,
            "date_order": options.date_order,
        } | more
        return Table(
            str(self.file.path), format_, place=self.place, header=self.header, delimiter=self.delimiter,
            whole=self.read_all, **given,
        )  # fmt: skip

    def check_decimal(self, fields: Mapping[str, int], options: ImportOptions) -> None:
        """Refuse a table with semicolons whose numbers have, or may have, decimal commas."""
        if self.delimiter != ";" or options.decimal is not None or "spend" not in fields:
            return
        evidence = DecimalEvidence()
        for cells in self.texts(fields):
            evidence.add(cells["spend"], [cell for name in fields if name != "spend" for cell in cells[name]])
        if evidence.decimal != ".":
            raise self.unclear_decimal(fields["spend"], comma=evidence.comma)

    def unclear_decimal(self, position: int, *, comma: bool) -> Refusal:
        """That its numbers can be read two ways."""
        what = "can be read two ways: 1.250 may be one and a quarter or twelve hundred and fifty"
        if comma:
            what = "has decimal commas, it seems"
        return self.refusal("unclear_decimal", what, "pass --decimal , or --decimal .", position)

    def refusal(self, kind: str, what: str, cure: str, position: int | None = None) -> Refusal:
        """That it, or one of its columns, can't be read."""
        column = None if position is None else self.names[position]
        return self.file.refusal(kind, what, cure, line=self.header_line, column=column)

    def missing(self, name: str, cure: str) -> Refusal:
        """That a column is needed and isn't there."""
        what = f"has no column for {name}; it has {', '.join(self.names)[:300] or 'none'}"
        return self.refusal("missing_column", what, cure)


def with_partitions(sheet: Sheet) -> Sheet:
    """A sheet with the columns that only its path tells, as in ``date=2026-10-08/part-0.parquet``."""
    matches = map(_PARTITION.fullmatch, sheet.file.path.parts)
    found = {match[1]: match[2] for match in matches if match}
    found = {name: value for name, value in found.items() if sheet.position(name) is None}
    if "date_start" in found and sheet.position("date_stop") is None:
        found["date_stop"] = found["date_start"]
    if not found:
        return sheet
    width, values = len(sheet.names), list(found.values())

    def read(fields: Mapping[str, int], advance: Advance) -> Iterator[Batch]:
        for batch in sheet.read({field: at for field, at in fields.items() if at < width}, advance):
            told = {field: [values[at - width]] * batch.size for field, at in fields.items() if at >= width}
            batch.cells |= told
            yield batch

    return replace(sheet, names=(*sheet.names, *found), read=read)


def key(name: str) -> str:
    """A column name without case, spaces and underscores, to compare by."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def open_delimited(source: TextSource) -> Sheet:
    """The table of a delimited text file."""
    header = read_header(source)
    sign = header.delimiter

    def read(fields: Mapping[str, int], advance: Advance) -> Iterator[Batch]:
        for records in read_records(source, header, advance):
            yield _batch(records, header, fields)

    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' if sign in name or '"' in name else name
              for name in header.names]  # fmt: skip
    return Sheet(
        source.file, header.names, read, header=sign.join(quoted), header_line=header.line, delimiter=sign
    )


def _batch(records: Records, header: Header, fields: Mapping[str, int]) -> Batch:
    rows, width = records.rows, len(header.names)
    left_out = np.zeros(len(rows), dtype=np.bool_)
    left_out[[index for index, row in enumerate(rows) if not (row and row[0]) and not any(row)]] = True
    faults: list[Fault] = []
    if set(map(len, rows)) != {width}:
        faults = _mend(rows, left_out, header)
    cells: Cells = {field: [row[position] for row in rows] for field, position in fields.items()}
    return Batch(records.lines, cells, records.raw, faults, left_out)


def _mend(rows: list[list[str]], left_out: npt.NDArray[np.bool_], header: Header) -> list[Fault]:
    """Give every row as many cells as the header has; faults of those that had others."""
    width = len(header.names)
    faults: list[Fault] = []
    for index, row in enumerate(rows):
        if len(row) == width:
            continue
        # A delimiter too many at the end says nothing.
        if not left_out[index] and (len(row) < width or any(row[width:])):
            what = f"has {len(row)} cells where the header has {width}"
            quote = f"quote cells that contain '{header.delimiter}'"
            cure = quote if len(row) > width else "write the missing cells"
            faults.append(Fault(index, None, None, "ragged_row", what, cure))
        rows[index] = row + [""] * (width - len(row))
    return faults
