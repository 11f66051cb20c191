"""Readers of ads exports, and the import.

``import_files`` loads exports into the store, ``read_frame`` reads them into memory. See docs/import.md.
"""

from adsml_common.ingest.importer import import_files, read_frame
from adsml_common.ingest.options import Clicks, DateOrder, Format, ImportOptions, OnError
from adsml_common.ingest.progress import Progress, Silent
from adsml_common.ingest.summary import FileSummary, ImportSummary

__all__ = [
    "Clicks",
    "DateOrder",
    "FileSummary",
    "Format",
    "ImportOptions",
    "ImportSummary",
    "OnError",
    "Progress",
    "Silent",
    "import_files",
    "read_frame",
]
