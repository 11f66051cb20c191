"""What an import did, for people and machines."""

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from adsml_common.domain.entities import EntityType
from adsml_common.store.counts import UpsertCounts

from adsml_ingest.options import Format


@dataclass(frozen=True, slots=True)
class FileSummary:
    """One file of an import."""

    path: str
    format: Format | None
    table: str = ""  # which of that kind, where it has several
    rows: int = 0  # read, blank lines aside
    rejected: int = 0
    totals: int = 0  # these two: rows left out
    other_accounts: int = 0
    refused: str = ""  # why it was not read, or not to its end
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did."""

    files: tuple[FileSummary, ...]
    loaded: UpsertCounts  # daily rows; all zero for a trial
    entities: UpsertCounts
    rows: dict[EntityType, int]  # daily rows to load, one per entity and day, built ones included
    built: dict[EntityType, int]  # how many of them are sums
    entity_counts: dict[EntityType, int]  # entities met
    duplicates: int  # rows that said what another said
    superseded: int  # rows that a later fetch replaced
    summed: int  # rows of breakdowns that went into sums
    conflicts: int  # pairs of rows that contradicted each other; none of theirs is loaded
    untold: int  # daily rows whose leads no file tells
    first_day: date | None
    last_day: date | None
    currency: str | None
    problems: tuple[str, ...]  # the first few of each kind, in words
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    reject_files: tuple[Path, ...]
    seconds: float

    @property
    def rows_read(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def rows_rejected(self) -> int:
        """Bad rows of all files."""
        return sum(file.rejected for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        out = asdict(self)
        out["rows_read"], out["rows_rejected"] = self.rows_read, self.rows_rejected
        return out
