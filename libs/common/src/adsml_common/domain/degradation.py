"""What an answer had to do without."""

from dataclasses import dataclass
from enum import StrEnum


class DegradationReason(StrEnum):
    """Why a dependency was skipped."""

    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    CORRUPT = "corrupt"
    STALE = "stale"
    NO_MODEL = "no_model"
    INSUFFICIENT_HISTORY = "insufficient_history"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class Degradation:
    """One dependency that was skipped or replaced, and why.

    Attributes
    ----------
    dependency
        What was to be used, e.g. ``"anomaly service"`` or ``"model classifier/1/adset version 7"``.
    reason
        Machine-readable cause.
    detail
        One sentence for a person: what happened, and what was used instead.
    """

    dependency: str
    reason: DegradationReason
    detail: str
