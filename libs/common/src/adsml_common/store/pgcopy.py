"""PostgreSQL's binary COPY format for rows of fixed width, as one numpy array.

Every field of such a row has the same size in every row, so a whole table is one structured array, and a million rows
are read or written without a Python object per value. Format: PostgreSQL documentation, COPY, "Binary Format": an
11-byte signature, two int32 of flags and extension, then per row an int16 number of fields and per field an int32
length and its bytes, all big-endian; an int16 of -1 ends it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = np.datetime64("2000-01-01", "D")
_WIDTHS: Final[dict[str, str]] = {"bigint": ">i8", "date": ">i4", "double": ">f8"}

Column = npt.NDArray[Any]


def _row_type(kinds: Mapping[str, str]) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in kinds.items():
        fields += [(f"len_{name}", ">i4"), (name, _WIDTHS[kind])]
    return np.dtype(fields)


def encode(columns: Mapping[str, Column], kinds: Mapping[str, str]) -> bytes:
    """The whole COPY stream of some columns of shape (rows,): integers, datetime64 or floats; NaN stays NaN.

    `kinds` says ``"bigint"``, ``"date"`` or ``"double"`` per column, in the order of the COPY command.
    """
    row_type = _row_type(kinds)
    rows = np.empty(len(next(iter(columns.values()))), dtype=row_type)
    rows["fields"] = len(kinds)
    for name, kind in kinds.items():
        values = columns[name]
        if kind == "date":
            values = (values.astype("datetime64[D]") - _EPOCH).astype(np.int32)
        rows[f"len_{name}"] = row_type[name].itemsize
        rows[name] = values
    return _HEADER + rows.tobytes() + _TRAILER


def decode(chunks: Iterable[bytes | bytearray | memoryview], kinds: Mapping[str, str]) -> dict[str, Column]:
    """Columns of a COPY stream that is cut anywhere, in native byte order; no NULL.

    Raises `ValueError` where the stream is not of these columns.
    """
    stream = bytearray()
    for chunk in chunks:
        stream += chunk
    row_type = _row_type(kinds)
    size = len(stream) - len(_HEADER) - len(_TRAILER)
    if stream[: len(_HEADER)] != _HEADER or stream[-2:] != _TRAILER or size % row_type.itemsize:
        raise ValueError(f"not a COPY stream of {', '.join(kinds)} without NULL")
    rows = np.frombuffer(stream, dtype=row_type, count=size // row_type.itemsize, offset=len(_HEADER))
    whole = rows["fields"] == len(kinds)
    for name in kinds:
        whole &= rows[f"len_{name}"] == row_type[name].itemsize
    if not whole.all():
        raise ValueError(f"not a COPY stream of {', '.join(kinds)} without NULL")
    out: dict[str, Column] = {}
    for name, kind in kinds.items():
        values = rows[name].astype(row_type[name].newbyteorder("="))
        out[name] = _EPOCH + values.astype("timedelta64[D]") if kind == "date" else values
    return out
