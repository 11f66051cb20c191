"""What an upsert did."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """Rows that were new, that changed, and that were there already, as they are.

    Attributes
    ----------
    older
        Rows that were not written because what is stored was fetched later.
    deleted
        Stored rows that the source no longer holds.
    fallen
        Of the changed rows, those that say less impressions or leads than was stored, and not when they were fetched.

    Examples
    --------
    >>> UpsertCounts(inserted=2) + UpsertCounts(unchanged=1)
    UpsertCounts(inserted=2, updated=0, unchanged=1, older=0, deleted=0, fallen=0)
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    older: int = 0
    deleted: int = 0
    fallen: int = 0

    @property
    def changed(self) -> int:
        """Rows that were written or deleted."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: "UpsertCounts") -> "UpsertCounts":
        return UpsertCounts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.older + other.older,
            self.deleted + other.deleted,
            self.fallen + other.fallen,
        )
