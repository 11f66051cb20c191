"""What a source hands over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import Entity
from adsml_common.domain.errors import Unavailable
from adsml_common.store.accounts import Account

from adsml_ingest.source import SourceFile
from adsml_ingest.sync.config import AccountSource


class SourceUnavailable(Unavailable):
    """A source that can't be read: gone, refused, or out of patience."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source holds of an account and a window."""

    files: Sequence[SourceFile]  # exports, spooled to disk
    complete: bool = False
    """Whether what is not there does not exist: the platform's own answer. A file store may only lag behind."""
    account: Account = field(default_factory=Account)
    entities: Sequence[Entity] = ()
    changes: Sequence[ChangeEvent] = ()
    notes: Sequence[str] = ()  # what the source said that the caller should know


Source = Callable[[AccountSource, date, date, Path], Fetched]
"""What an account's source holds of the days from first to last, both included, in files below a directory.

Raises `SourceUnavailable`, which says why, and what to do.
"""
