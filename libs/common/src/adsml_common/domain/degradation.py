"""What an answer had to do without."""

from dataclasses import dataclass
from enum import StrEnum


class DegradationReason(StrEnum):
    """Why a dependency was skipped."""

    DISABLED_BY_REQUEST = "disabled_by_request"
    NOT_CONFIGURED = "not_configured"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    FAILED = "failed"
    PERMISSION_DENIED = "permission_denied"
    NO_MODEL = "no_model"
    CORRUPT = "corrupt"
    STALE = "stale"
    INSUFFICIENT_HISTORY = "insufficient_history"
    INCOMPATIBLE = "incompatible"
    NO_DATA = "no_data"


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
