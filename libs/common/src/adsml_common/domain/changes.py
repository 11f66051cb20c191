"""What was changed, and when."""

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from adsml_common.domain.entities import EntityRef


class ChangeType(StrEnum):
    """Kind of a change to an entity."""

    BUDGET_CHANGE = "budget_change"
    CREATIVE_CHANGE = "creative_change"
    AUDIENCE_CHANGE = "audience_change"
    PAUSE = "pause"
    REACTIVATE = "reactivate"


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change to one entity; `date` is the first day (account's time zone) on which it was in force.

    `detail` is as the source tells it, e.g. ``{"budget_before": 50.0, "budget_after": 80.0}`` (account's currency per
    day).
    """

    entity: EntityRef
    change_type: ChangeType
    date: date
    detail: dict[str, float | str] = field(default_factory=dict)
