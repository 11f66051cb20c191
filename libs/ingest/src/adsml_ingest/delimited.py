"""Delimited text in blocks of whole records, each record with the line at which it starts.

One parser for good and bad files alike: a record that spans lines, a stray quote and a missing cell are
seen by the same code that reads everything else, so that line numbers are right by construction.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.source import Advance, SourceFile, TextSource, ignore

DELIMITERS: Final = (",", ";", "\t", "|")
MAX_RECORD: Final = 1 << 20
"""Characters. A record that is longer is a quote that was never closed."""


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
    start = 0
    while start < len(texts) and not texts[start].strip():
        start += 1
    if start == len(texts):
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


def read_records(source: TextSource, header: Header, advance: Advance = ignore) -> Iterator[Records]:
    """The records after the header, block by block.

    Raises `Refusal` at a quote that is never closed, with the line at which it opens; all records before it were
    yielded.
    """
    carry, first, skip = "", 1, header.lines_after
    blocks = source.blocks(advance)
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
    # A blank line after it is a record of its own, unless a quote swallows it.
    return (
        any('"' in text for text in texts)
        and sum(1 for _ in csv.reader([*texts, "\n"], delimiter=delimiter)) == 1
    )
