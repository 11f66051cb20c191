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
        return _PARENT.get(self)


_PARENT = {EntityType.ADSET: EntityType.CAMPAIGN, EntityType.AD: EntityType.ADSET}


@dataclass(frozen=True, slots=True, order=True)
class EntityRef:
    """Names one entity of one ad account; an id is the platform's (1 to 64 characters) and unique within its level."""

    config_id: int
    entity_type: EntityType
    entity_id: str

    def __str__(self) -> str:
        return f"{self.entity_type} {self.entity_id} of account {self.config_id}"


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity and what the platform says of it (``ACTIVE``, ``PAUSED``, ...); unknown is None.

    `parent_id` is of the level above. `shares_budget`: its budget is set at its parent and shared with its siblings,
    so that a change to one moves the others. `campaign_id` is of an ad whose ad set is not known. `facts_date` is the
    day as of which all this holds; what is known as of a later day is not replaced.
    """

    ref: EntityRef
    parent_id: str | None = None
    name: str | None = None
    status: str | None = None
    objective: str | None = None
    shares_budget: bool | None = None
    campaign_id: str | None = None
    facts_date: date | None = None
