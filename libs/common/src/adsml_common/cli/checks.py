"""One thing that `adsml doctor` looked at."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """Outcome of one check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, how it went, what was found and, where it failed, the cure."""

    name: str
    health: Health
    detail: str
