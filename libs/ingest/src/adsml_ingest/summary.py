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
    """One file of an import.

    Attributes
    ----------
    path
        As the caller gave it.
    format
        Its kind.
    table
        Which table of that kind, where it has several.
    rows
        Rows read, blank lines aside.
    rejected
        Rows that were bad.
    totals, other_accounts
        Rows left out: totals, and those of accounts that were not asked for.
    refused
        Why it was not read, or not to its end; empty if it was.
    notes
        What was decided that the caller should know.
    """

    path: str
    format: Format | None
    table: str = ""
    rows: int = 0
    rejected: int = 0
    totals: int = 0
    other_accounts: int = 0
    refused: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did.

    Attributes
    ----------
    files
        One entry per file.
    loaded
        Daily rows that were new, changed, or there already; all zero for a trial.
    entities
        Entities that were new, changed, or known already.
    rows
        Daily rows to load, one per entity and day, by level, built ones included.
    built
        How many of them are sums, by level.
    entity_counts
        Entities met, by level.
    duplicates, superseded, summed
        Rows that said what another said; that a later fetch replaced; that went into sums over a breakdown.
    untold
        Daily rows whose leads no file tells.
    conflicts
        Pairs of rows that contradicted each other; none of theirs is loaded.
    first_day, last_day
        Of the rows to load; None without any.
    currency
        Of all money, where the files say.
    problems, warnings
        The first few of each kind, in words.
    notes
        About the import as a whole.
    reject_files
        Files of rejected rows.
    seconds
        How long it took.
    """

    files: tuple[FileSummary, ...]
    loaded: UpsertCounts
    entities: UpsertCounts
    rows: dict[EntityType, int]
    built: dict[EntityType, int]
    entity_counts: dict[EntityType, int]
    duplicates: int
    superseded: int
    summed: int
    conflicts: int
    untold: int
    first_day: date | None
    last_day: date | None
    currency: str | None
    problems: tuple[str, ...]
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
