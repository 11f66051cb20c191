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


class Dependency(StrEnum):
    """A kind of thing that an answer rests on."""

    DATABASE = "database"
    REGISTRY = "registry"
    MODEL = "model"
    ANOMALY_SERVICE = "anomaly_service"
    CLASSIFIER_SERVICE = "classifier_service"
    IMPACT_SERVICE = "impact_service"
    ACCOUNT_BASELINE = "account_baseline"
    CHANGE_EVENTS = "change_events"
    MEMBER = "member"
    CALENDAR = "calendar"
    COMPLETION_CURVE = "completion_curve"


@dataclass(frozen=True, slots=True)
class Degradation:
    """One dependency that was skipped or replaced, and why.

    `detail` is a sentence for a person: what happened, and what was used instead. `name` says which one, where there
    are several: ``"classifier/1 version 7"``, ``"PROPHET"``.
    """

    dependency: Dependency
    reason: DegradationReason
    detail: str
    name: str = ""
