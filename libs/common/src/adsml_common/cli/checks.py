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
    """One thing looked at.

    Attributes
    ----------
    name
        What was checked.
    health
        How it went.
    detail
        What was found and, where it failed, the cure.
    """

    name: str
    health: Health
    detail: str
