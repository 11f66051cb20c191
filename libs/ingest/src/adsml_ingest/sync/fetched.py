"""What a source hands over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

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
    """What a source holds of an account and a window.

    Attributes
    ----------
    files
        Exports, spooled to disk.
    complete
        Whether what is not there does not exist: the platform's own answer. A file store may only lag behind.
    account
        What the source says of the account itself.
    entities
        Structure: names, status, parents, budgets.
    changes
        The account's change log.
    notes
        What the source said that the caller should know.
    """

    files: Sequence[SourceFile]
    complete: bool = False
    account: Account = field(default_factory=Account)
    entities: Sequence[Entity] = ()
    changes: Sequence[ChangeEvent] = ()
    notes: Sequence[str] = ()


class Source(Protocol):
    """Reads an account's exports."""

    def __call__(self, account: AccountSource, first: date, last: date, spool: Path) -> Fetched:
        """What the source holds of the days from first to last, both included, in files below `spool`.

        Raises
        ------
        SourceUnavailable
            Saying why, and what to do.
        """
