"""What an upsert did."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """Rows that were new, that changed, and that were there already, as they are.

    `older` were not written because what is stored was fetched later; `deleted` are no longer held by the source;
    `fallen` changed to less than was stored, and don't say when they were fetched.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    older: int = 0
    deleted: int = 0
    fallen: int = 0

    @property
    def changed(self) -> int:
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: "UpsertCounts") -> "UpsertCounts":
        return UpsertCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
