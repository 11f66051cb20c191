"""Tables with named columns, delimited or not (see `parquet`, `workbook`), as one thing to the readers.

Good and bad delimited files alike go through one parser, in blocks of whole records, each with the line at which it
starts: a record that spans lines, a stray quote and a missing cell are seen by the code that reads everything else.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import Batch, Column, Fault, Table, factorize
from adsml_ingest.dates import OrderEvidence
from adsml_ingest.files import SourceFile, TextSource
from adsml_ingest.leads import cuts_of
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import Clicks, ImportOptions
from adsml_ingest.problems import Refusal

DELIMITERS: Final = (",", ";", "\t", "|")
MAX_RECORD: Final = 1 << 20  # characters; a record that is longer is a quote that was never closed
Cells = dict[str, Column]
_PARTITION: Final = re.compile(r"(date_start|date_stop|date|date_day|day|account_id)=(.+)")


@dataclass(slots=True)
class Records:
    """Whole records of one block."""

    rows: list[list[str]]  # cells of each; a blank line is a record without cells
    lines: npt.NDArray[np.int64]  # shape (rows,); line of the file, from 1, at which each starts
    _texts: list[str]
    _first: int

    def raw(self, row: int) -> str:
        """The record as it is in the file, without the line end after it."""
        start = int(self.lines[row]) - self._first
        end = int(self.lines[row + 1]) - self._first if row + 1 < len(self.rows) else len(self._texts)
        return "".join(self._texts[start:end]).rstrip("\r\n")


@dataclass(frozen=True, slots=True)
class Header:
    """First record of a delimited file."""

    names: tuple[str, ...]  # stripped
    delimiter: str
    line: int  # at which it starts
    lines_after: int  # number of lines up to its end


def read_header(source: TextSource, delimiter: str | None = None) -> Header:
    """The header: the first record that is not blank, after an optional ``sep=;`` line of Excel's.

    The delimiter is the candidate that cuts the header into most cells.

    Raises `Refusal` if the file holds nothing but blank lines, or two columns have one name.
    """
    text = next(source.blocks(), "")
    texts = list(io.StringIO(text, newline=""))
    start = next((index for index, line in enumerate(texts) if line.strip()), None)
    if start is None:
        raise source.file.refusal("empty_file", "holds nothing but blank lines", "export it again")
    told = texts[start].strip().lower()
    if told.startswith("sep=") and len(told) == 5:
        delimiter, start = texts[start].strip()[4], start + 1
    best: tuple[list[str], str, int] = ([], ",", start)
    for candidate in [delimiter] if delimiter else DELIMITERS:
        reader = csv.reader(texts[start:], delimiter=candidate)
        try:
            cells = next(reader, [])
        except csv.Error:
            continue
        if len(cells) > len(best[0]):
            best = (cells, candidate, start + reader.line_num)
    names = tuple(cell.strip() for cell in best[0])
    refuse_twins(source.file, names, start + 1)
    return Header(names, best[1], start + 1, best[2])


def refuse_twins(file: SourceFile, names: Sequence[str], line: int) -> None:
    """Refuse a table of which two columns have one name."""
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        key = name.casefold()
        if name and key in seen:
            what, cure = f"is the name of columns {seen[key]} and {position}", "rename or remove one of them"
            raise file.refusal("duplicate_column", what, cure, line=line, column=f"'{name}'")
        seen.setdefault(key, position)


def read_records(source: TextSource, header: Header) -> Iterator[Records]:
    """The records after the header, block by block.

    Raises `Refusal` at a quote that is never closed, with the line at which it opens; all records before it were
    yielded.
    """
    carry, first, skip = "", 1, header.lines_after
    blocks = source.blocks()
    done = False
    while not done:
        block = next(blocks, None)
        done = block is None
        text, rest = carry + (block or ""), ""
        if not done:
            cut = text.rfind("\n") + 1
            if not cut:  # lone carriage returns; the last one may be half of a pair
                cut = text.rfind("\r", 0, len(text) - 1) + 1
            text, rest = text[:cut], text[cut:]
        texts = list(io.StringIO(text, newline=""))
        if skip:
            dropped = min(skip, len(texts))
            texts, skip, first = texts[dropped:], skip - dropped, first + dropped
        records, open_at = _parse(texts, header.delimiter, first)
        if open_at is not None:
            tail = "".join(texts[open_at:])
            if done or len(tail) > MAX_RECORD:
                if records.rows:
                    yield records
                what = "opens a quote that is never closed; nothing from here on can be read"
                cure = "close it, or double a quote that is meant"
                raise source.file.refusal("unclosed_quote", what, cure, line=first + open_at)
            texts, rest = texts[:open_at], tail + rest
        if len(rest) > 2 * MAX_RECORD:
            if records.rows:
                yield records
            what = "is longer than 2 MiB, so this is no table of daily rows"
            line = first + len(texts)
            raise source.file.refusal("endless_line", what, "export it again", line=line)
        if records.rows:
            yield records
        first += len(texts)
        carry = rest


def _parse(texts: list[str], delimiter: str, first: int) -> tuple[Records, int | None]:
    """Records of some lines, and the index of the line at which an unfinished last record starts."""
    try:
        rows = list(csv.reader(texts, delimiter=delimiter))
        whole = True
    except csv.Error:  # a cell of more than 128 KiB: a quote swallowed everything since the last whole record
        rows, whole = [], False
    if whole and len(rows) == len(texts):
        ends = list(range(len(rows) + 1))
    else:
        rows, ends = _along(texts, delimiter)
    open_at = None if whole else ends[-1]
    if whole and rows and _is_open(texts[ends[-2] :], delimiter):
        open_at = ends[-2]
        rows.pop()
        ends.pop()
    starts = np.array(ends[:-1], dtype=np.int64) + first
    return Records(rows, starts, texts[: ends[-1]], first), open_at


def _along(texts: list[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Records that may span lines, up to one that can't be parsed, and the number of lines before each."""
    reader = csv.reader(texts, delimiter=delimiter)
    rows: list[list[str]] = []
    ends = [0]
    with suppress(csv.Error):
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    return rows, ends


def _is_open(texts: list[str], delimiter: str) -> bool:
    """Whether the lines of one record end inside a quote."""
    if not any('"' in text for text in texts):
        return False
    # A blank line after it is a record of its own, unless a quote swallows it.
    return sum(1 for _ in csv.reader([*texts, "\n"], delimiter=delimiter)) == 1


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a file."""

    file: SourceFile
    names: tuple[str, ...]  # of its columns, as written
    read: Callable[[Mapping[str, int]], Iterator[Batch]]
    """Rows of some columns (field to column position), batch by batch, from the start."""
    place: str = "line"  # what the batches' `lines` count
    header: str | None = None  # as written; None where there are no lines
    header_line: int | None = None
    delimiter: str = ","

    def position(self, *names: str) -> int | None:
        """Position of the first of some columns that is there, whatever its case, spaces and underscores."""
        keys = [key(name) for name in self.names]
        return next((keys.index(key(name)) for name in names if key(name) in keys), None)

    def positions(self, *names: str, **columns: str) -> dict[str, int]:
        """Field to position, of those columns that are there: `names` are called as their fields."""
        wanted = dict(zip(names, names, strict=True)) | columns
        return {field: at for field, name in wanted.items() if (at := self.position(name)) is not None}

    def read_all(self) -> Iterator[Batch]:
        """Rows with all their columns, under the names that the file gives them."""
        return self.read({name: position for position, name in enumerate(self.names) if name})

    def read_parted(
        self, fields: Mapping[str, int], parts: Mapping[str, int], is_none: Callable[[Any], bool]
    ) -> Iterator[Batch]:
        """As `read`, with ``cut`` and ``cell`` by the columns that part a day."""
        for batch in self.read({**fields, **{f"part:{name}": at for name, at in parts.items()}}):
            if parts:
                rows = zip(*(batch.cells.pop(f"part:{name}") for name in parts), strict=True)
                cells = [tuple("" if is_none(cell) else cell for cell in row) for row in rows]
                batch.cells["cut"], batch.cells["cell"] = cuts_of(parts, cells)
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

    def evidence(
        self, fields: Mapping[str, int], money: Sequence[str], counts: Sequence[str] = ()
    ) -> tuple[DecimalEvidence, OrderEvidence]:
        """What all cells of some fields give away of decimal sign and order of dates, as far as it can be read."""
        numbers, dates, days = DecimalEvidence(), OrderEvidence(), [name for name in fields if name == "date"]
        with suppress(Refusal):  # said when its rows are read
            for batch in self.read({name: fields[name] for name in (*money, *counts, *days)}):
                texts = {
                    name: [cell for cell in factorize(cells)[1] if isinstance(cell, str)]
                    for name, cells in batch.cells.items()
                }
                some, others, written = (
                    [cell for name in names for cell in texts[name]] for names in (money, counts, days)
                )
                numbers.add(some, others)
                dates.add(written)
        return numbers, dates

    def table(self, options: ImportOptions, fields: Mapping[str, int], **more: Any) -> Table:
        """The table of its rows; `fields` as in `read`, `more` are further attributes of the table."""
        given: dict[str, Any] = {
            "labels": {field: self.names[position] for field, position in fields.items()},
            "batches": partial(self.read, fields),
            "decimal": options.decimal,
            "date_order": options.date_order,
        } | more
        return Table(str(self.file.path), whole=self.read_all, **given)

    def check_decimal(self, fields: Mapping[str, int], options: ImportOptions) -> None:
        """Refuse a table with semicolons whose numbers have, or may have, decimal commas."""
        if self.delimiter != ";" or options.decimal is not None or "spend" not in fields:
            return
        evidence, _ = self.evidence(fields, ["spend"], [name for name in fields if name != "spend"])
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

    def read(fields: Mapping[str, int]) -> Iterator[Batch]:
        for batch in sheet.read({field: at for field, at in fields.items() if at < width}):
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

    def read(fields: Mapping[str, int]) -> Iterator[Batch]:
        for records in read_records(source, header):
            yield _batch(records, header, fields)

    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' if sign in name or '"' in name else name
              for name in header.names]  # fmt: skip
    return Sheet(source.file, header.names, read, "line", sign.join(quoted), header.line, sign)


def _batch(records: Records, header: Header, fields: Mapping[str, int]) -> Batch:
    rows, width = records.rows, len(header.names)
    left_out = np.zeros(len(rows), dtype=np.bool_)
    left_out[[index for index, row in enumerate(rows) if not (row and row[0]) and not any(row)]] = True
    faults: list[Fault] = []
    if set(map(len, rows)) != {width}:
        faults = _mend(rows, left_out, header)
    cells: Cells = {field: [row[position] for row in rows] for field, position in fields.items()}
    return Batch(records.lines, cells, records.raw, left_out, faults)


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
