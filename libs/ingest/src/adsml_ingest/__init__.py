"""Readers of ads exports, and the import.

``import_files`` loads exports into the store, ``read_frame`` reads them into memory. See docs/import.md.
"""

from typing import TYPE_CHECKING, Any

from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions, OnError, Progress
from adsml_ingest.summary import FileSummary, ImportSummary

if TYPE_CHECKING:
    from adsml_ingest.importer import import_files, read_frame

__all__ = [
    "Clicks",
    "DateOrder",
    "FileSummary",
    "Format",
    "ImportOptions",
    "ImportSummary",
    "OnError",
    "Progress",
    "import_files",
    "read_frame",
]


def __getattr__(name: str) -> Any:
    # pandas is loaded by whoever reads a file, not by whoever asks for a command's options.
    if name in {"import_files", "read_frame"}:
        from adsml_ingest import importer  # noqa: PLC0415

        return getattr(importer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
