"""Parquet files as sheets. Needs pyarrow, which ``adsml-common[ingest]`` brings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from adsml_ingest.batch import Batch, Column
from adsml_ingest.files import SourceFile
from adsml_ingest.sheet import Cells, Sheet

_ROWS: Final = 1 << 15


def open_parquet(source: SourceFile) -> Sheet:
    """The table of a Parquet file; raises `Refusal` if it is damaged."""
    with _opened(source) as file:
        names = tuple(file.schema_arrow.names)

    def read(fields: Mapping[str, int]) -> Iterator[Batch]:
        columns = [names[position] for position in fields.values()]
        with _opened(source) as file:
            size, seen = source.real.stat().st_size, 0
            for chunk in file.iter_batches(batch_size=_ROWS, columns=columns):
                yield _batch(chunk, fields, names, first=seen + 1)
                seen += chunk.num_rows
                source.done = size * seen // file.metadata.num_rows

    return Sheet(source, names, read, place="row")


@contextmanager
def _opened(source: SourceFile) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(source.real) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow decodes text where it is asked for: damaged bytes show there, and as Python's own error.
        what = f"is a damaged Parquet file ({str(error).splitlines()[0][:120]})"
        raise source.refusal("bad_parquet", what, "export it again") from None


def _batch(chunk: pa.RecordBatch, fields: Mapping[str, int], names: Sequence[str], *, first: int) -> Batch:
    columns = {name: chunk.column(name) for name in chunk.schema.names}

    def raw(row: int) -> str:
        return json.dumps({name: column[row].as_py() for name, column in columns.items()}, default=str)

    lines = np.arange(first, first + chunk.num_rows, dtype=np.int64)
    cells: Cells = {field: _cells(columns[names[position]]) for field, position in fields.items()}
    return Batch(lines, cells, raw, left_out=np.zeros(len(lines), np.bool_))


def _cells(column: pa.Array) -> Column:
    """Typed where the type says what a cell is; else a list."""
    kind = column.type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = column.cast(pa.string(), safe=False)
    if pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False))
    return list(column.to_pylist())
