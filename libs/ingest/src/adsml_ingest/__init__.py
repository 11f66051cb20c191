"""Readers of ads exports, and the import.

``import_files`` loads exports into the store, ``read_frame`` reads them into memory: see docs/import.md. The way of a
row is `files`, then `sheet`, `workbook`, `parquet` or `jsonstream` (from paths to columns or objects, each with its
line); `detect` and `ads_manager` (by `headers`), `insights` or `connectors` (what they mean, as a `batch.Table`);
`reading` (tables into `staging` by the readers in `rows`, entities into `tree`), `resolve` (one row per entity and
day), `importer` (all of it into the store). Cells are read by `numerals`, `dates` and `leads`; what is wrong is a
`problems.Problem`, what is known so far is in `state`.

`change_log` and `activity_log` read what was changed, `sync` fetches exports every night, `cli` holds the commands.
"""

from typing import TYPE_CHECKING, Any

from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions, ImportSummary, OnError

if TYPE_CHECKING:
    from adsml_ingest.importer import import_files, read_frame

__all__ = [
    "Clicks",
    "DateOrder",
    "Format",
    "ImportOptions",
    "ImportSummary",
    "OnError",
    "import_files",
    "read_frame",
]


def __getattr__(name: str) -> Any:
    # pandas is loaded by whoever reads a file, not by whoever asks for a command's options.
    if name in {"import_files", "read_frame"}:
        from adsml_ingest import importer  # noqa: PLC0415

        return getattr(importer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
