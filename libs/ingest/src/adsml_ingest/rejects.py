"""Files of rejected rows: the original row and why, ready to be mended and imported again."""

import json
from pathlib import Path
from typing import IO

from adsml_common.domain.errors import FailedPrecondition

from adsml_ingest.batch import Table

REASON = "reject_reason"


class Rejects:
    """Writes one file per imported file that has bad rows, at the first of them; nowhere without a directory.

    A delimited file's rejects keep its header and its lines, with the reason as one more column at the end;
    all others are JSON lines with the reason as one more member.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._streams: dict[str, IO[str]] = {}
        self.paths: list[Path] = []

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def write(self, table: Table, row: str, reason: str) -> None:
        """Write one row of a table and why it was rejected."""
        if self._directory is None:
            return
        stream = self._streams.get(table.file)
        if stream is None:
            stream = self._streams[table.file] = self._open(table, self._directory)
        if table.header is not None:
            quoted = reason.replace('"', '""')
            stream.write(f'{row}{table.delimiter}"{quoted}"\n')
            return
        try:
            value = json.loads(row)
        except (ValueError, RecursionError):
            value = {"row": row}
        if not isinstance(value, dict):
            value = {"row": value}
        stream.write(json.dumps({**value, REASON: reason}, ensure_ascii=False) + "\n")

    def _open(self, table: Table, directory: Path) -> IO[str]:
        suffix = ".csv" if table.header is not None else ".jsonl"
        stem = Path(table.file).name
        taken = {path.name for path in self.paths}
        name, number = f"{stem}.rejected{suffix}", 1
        while name in taken:  # two files of one name from different directories
            number += 1
            name = f"{stem}.rejected-{number}{suffix}"
        path = directory / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stream = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise FailedPrecondition(
                f"can't write rejected rows to {path}: {error.strerror or error}; "
                "pass --rejects another directory"
            ) from None
        self.paths.append(path)
        if table.header is not None:
            stream.write(f"{table.header}{table.delimiter}{REASON}\n")
        return stream
