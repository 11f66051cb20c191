"""Rows on disk between reading and loading, parted by entity so that each part fits in memory.

All of an entity's rows fall into one part, whatever their order in the files, so duplicates, breakdowns and
sums are settled part by part. Rows are fixed-width records of numbers; entities are those of `tree.Tree`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import FailedPrecondition

from adsml_ingest.batch import METRICS

PARTS: Final = 64
_HELD: Final = 1 << 17
"""Rows kept in memory before they are written: few large writes instead of many small ones."""
ROW: Final = np.dtype(
    [("entity", np.int32), ("day", np.int32)]
    + [(name, np.float64) for name in (*METRICS, "stamp")]
    + [("cell", np.uint64), ("cut", np.int16), ("kind", np.int8), ("file", np.int32), ("line", np.int64)]
)
"""One staged row.

``stamp``: when it was fetched (seconds since 1970; 0 unknown). ``cut``: by what its entity's day is parted
(0: not at all), ``cell``: which part it is. ``kind``: see below. ``file``, ``line``: where it is from.
"""
READ: Final = "read"
SETTLED: Final = "settled"  # names of the parts: rows as read, and one per entity and day
DAILY: Final = 0
LEAD_TOTAL: Final = 1
LEAD_PART: Final = 2

Rows = npt.NDArray[np.void]


def empty_rows(size: int) -> Rows:
    """Rows of zeros, reach unknown."""
    rows = np.zeros(size, dtype=ROW)
    rows["reach"] = np.nan
    return rows


class Staging:
    """A directory of parts; gone when closed."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="adsml-import-")
        self._held: dict[str, list[Rows]] = {}

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()

    @property
    def scratch(self) -> Path:
        """A directory for whatever else is needed meanwhile."""
        return Path(self._directory.name) / "unpacked"

    def _path(self, name: str, part: int) -> Path:
        return Path(self._directory.name) / f"{name}-{part:02d}"

    def add(self, name: str, rows: Rows) -> None:
        """Append rows to the parts of their entities."""
        held = self._held.setdefault(name, [])
        held.append(rows)
        if sum(map(len, held)) >= _HELD:
            self._flush(name)

    def _flush(self, name: str) -> None:
        held = self._held.pop(name, [])
        if not held:
            return
        rows = np.concatenate(held)
        part = rows["entity"] % PARTS
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(PARTS + 1))
        try:
            for index in range(PARTS):
                chosen = order[ends[index] : ends[index + 1]]
                if len(chosen):
                    with self._path(name, index).open("ab") as stream:
                        stream.write(rows[chosen].tobytes())  # not tofile, which does not notice a full disk
        except OSError as error:
            raise FailedPrecondition(
                f"can't write temporary files to {self._directory.name}: {error.strerror or error}; an import needs "
                f"about {ROW.itemsize} bytes a row there: set TMPDIR to a directory with room"
            ) from None

    def parts(self, name: str) -> Iterator[Rows]:
        """The parts that hold anything, one at a time; nothing may be added to them meanwhile."""
        self._flush(name)
        for index in range(PARTS):
            path = self._path(name, index)
            if path.exists():
                yield np.fromfile(path, dtype=ROW)

    def drop(self, name: str) -> None:
        """Delete the parts of a name."""
        for index in range(PARTS):
            self._path(name, index).unlink(missing_ok=True)


def group_starts(*keys: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Where a new group begins in sorted keys, each of shape (rows,)."""
    new = np.ones(len(keys[0]), dtype=np.bool_)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(new)
