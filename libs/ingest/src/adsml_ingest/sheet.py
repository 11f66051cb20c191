"""Tables with named columns, delimited or (see `parquet`) not, as one thing to the readers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import Batch, Fault
from adsml_ingest.delimited import Header, Records, read_header, read_records
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.source import Advance, TextSource, ignore

SAMPLE: Final = 2_000
"""Rows looked at to find out how numbers and dates are written."""

Cells = dict[str, Sequence[Any] | npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a file.

    Attributes
    ----------
    path
        As the caller gave it.
    names
        Column names as written.
    read
        Rows of some columns (field to column position), batch by batch, from the start.
    place
        What the batches' `lines` count.
    header
        The header as written, or None for Parquet.
    header_line
        Where it is.
    delimiter
        What parts the cells of a delimited file.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[Mapping[str, int], Advance], Iterator[Batch]]
    place: str = "line"
    header: str | None = None
    header_line: int | None = None
    delimiter: str = ","

    def position(self, *names: str) -> int | None:
        """Position of the first of some columns that is there, whatever its case, spaces and underscores."""
        keys = [key(name) for name in self.names]
        for name in names:
            if key(name) in keys:
                return keys.index(key(name))
        return None

    def sample(self, fields: Mapping[str, int], rows: int = SAMPLE) -> Cells:
        """The first rows of some columns; a file that can't be read that far gives what there is."""
        batches = self.read(fields, ignore)
        try:
            first = next(islice(batches, 1), None)
        except Refusal:
            first = None
        if first is None:
            return {field: [] for field in fields}
        return {field: first.cells[field][:rows] for field in fields}

    def missing(self, name: str, cure: str) -> Refusal:
        """That a column is needed and isn't there."""
        what = f"has no column for {name}; it has {', '.join(self.names)[:300] or 'none'}"
        return Refusal(Problem(str(self.path), "missing_column", what, cure, line=self.header_line))


def key(name: str) -> str:
    """A column name without case, spaces and underscores, to compare by."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def open_delimited(source: TextSource) -> Sheet:
    """The table of a delimited text file."""
    header = read_header(source)

    def read(fields: Mapping[str, int], advance: Advance) -> Iterator[Batch]:
        for records in read_records(source, header, advance):
            yield _batch(records, header, fields)

    return Sheet(
        path=source.path,
        names=header.names,
        read=read,
        header=header.delimiter.join(_quoted(name, header.delimiter) for name in header.names),
        header_line=header.line,
        delimiter=header.delimiter,
    )


def _quoted(cell: str, delimiter: str) -> str:
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if delimiter in cell or '"' in cell else cell


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
