"""Parquet files as sheets. Needs pyarrow, which ``adsml-common[ingest]`` brings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from adsml_ingest.batch import Batch
from adsml_ingest.distinct import Column
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Cells, Sheet
from adsml_ingest.source import Advance, SourceFile

_ROWS: Final = 1 << 15


def open_parquet(source: SourceFile) -> Sheet:
    """The table of a Parquet file; raises `Refusal` if it is damaged."""
    try:
        with pq.ParquetFile(source.real) as file:
            names = tuple(file.schema_arrow.names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(source, error) from None

    def read(fields: Mapping[str, int], advance: Advance) -> Iterator[Batch]:
        columns = [names[position] for position in fields.values()]
        size, told = source.real.stat().st_size, 0
        try:
            with pq.ParquetFile(source.real) as file:
                total, seen = max(file.metadata.num_rows, 1), 0
                for chunk in file.iter_batches(batch_size=_ROWS, columns=columns):
                    yield _batch(chunk, fields, names, first=seen + 1)
                    seen += chunk.num_rows
                    advance(size * seen // total - told)
                    told = size * seen // total
                advance(size - told)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            # Arrow decodes text where it is asked for: damaged bytes show there, and as Python's own error.
            raise _damaged(source, error) from None

    return Sheet(source, names, read, place="row")


def _damaged(source: SourceFile, error: Exception) -> Refusal:
    what = f"is a damaged Parquet file ({str(error).splitlines()[0][:120]})"
    return source.refusal("bad_parquet", what, "export it again")


def _batch(chunk: pa.RecordBatch, fields: Mapping[str, int], names: Sequence[str], *, first: int) -> Batch:
    columns = {name: chunk.column(name) for name in chunk.schema.names}

    def raw(row: int) -> str:
        return json.dumps({name: column[row].as_py() for name, column in columns.items()}, default=str)

    lines = np.arange(first, first + chunk.num_rows, dtype=np.int64)
    cells: Cells = {field: _cells(columns[names[position]]) for field, position in fields.items()}
    return Batch(lines, cells, raw)


def _cells(column: pa.Array) -> Column:
    """Typed where the type says what a cell is; else a list."""
    kind = column.type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = column.cast(pa.string(), safe=False)
    if pa.types.is_floating(kind):
        numbers: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
        return numbers
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments: npt.NDArray[Any] = column.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
        return moments
    cells: list[Any] = column.to_pylist()
    return cells
