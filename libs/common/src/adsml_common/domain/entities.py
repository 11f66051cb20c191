"""The tree of an ad account: campaign -> ad set -> ad."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class EntityType(StrEnum):
    """Level of an entity in the account's tree."""

    CAMPAIGN = "campaign"
    ADSET = "adset"
    AD = "ad"

    @property
    def parent_type(self) -> "EntityType | None":
        """The level above, or None for a campaign."""
        return _PARENT[self]


_PARENT: dict[EntityType, EntityType | None] = {
    EntityType.CAMPAIGN: None,
    EntityType.ADSET: EntityType.CAMPAIGN,
    EntityType.AD: EntityType.ADSET,
}


@dataclass(frozen=True, slots=True, order=True)
class EntityRef:
    """Names one entity of one ad account.

    Attributes
    ----------
    config_id
        The ad account, a positive integer.
    entity_type
        Its level.
    entity_id
        Its id within account and level, as the ad platform writes it (1 to 64 characters).
    """

    config_id: int
    entity_type: EntityType
    entity_id: str

    def __str__(self) -> str:
        return f"{self.entity_type} {self.entity_id} of account {self.config_id}"


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity and what the platform says of it; unknown is None.

    Attributes
    ----------
    ref
        Its key.
    parent_id
        Id of the entity one level above (an ad's ad set, an ad set's campaign).
    name, status, objective
        As the platform writes them (``ACTIVE``, ``PAUSED``, ...).
    shares_budget
        Whether its budget is set at its parent and shared with its siblings, so that a change to one moves
        the others.
    campaign_id
        Campaign of an ad whose ad set is not known.
    facts_date
        Day as of which all this holds; what is known as of a later day is not replaced.
    """

    ref: EntityRef
    parent_id: str | None = None
    name: str | None = None
    status: str | None = None
    objective: str | None = None
    shares_budget: bool | None = None
    campaign_id: str | None = None
    facts_date: date | None = None
