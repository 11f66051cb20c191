"""Performance tiers, from best to worst."""

from enum import StrEnum


class Tier(StrEnum):
    """How an entity does against its account."""

    HIGH_PERFORMER = "high_performer"
    MODERATE = "moderate"
    LOW = "low"
    UNDERPERFORMER = "underperformer"

    @property
    def rank(self) -> int:
        """0 for the best, 3 for the worst."""
        return _ORDER.index(self)

    def step(self, by: int) -> "Tier":
        """The tier `by` steps worse (negative: better), held at the ends."""
        return _ORDER[min(max(self.rank + by, 0), len(_ORDER) - 1)]


_ORDER: tuple[Tier, ...] = (Tier.HIGH_PERFORMER, Tier.MODERATE, Tier.LOW, Tier.UNDERPERFORMER)
