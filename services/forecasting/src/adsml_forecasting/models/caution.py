"""What a reader of a forecast should know."""

from dataclasses import dataclass
from enum import StrEnum


class CautionKind(StrEnum):
    """Named as the contract's warnings."""

    SHORT_HISTORY = "SHORT_HISTORY"
    GAPS = "GAPS"
    OTHER_CHANGES = "OTHER_CHANGES"
    STALE_DATA = "STALE_DATA"
    STOPPED = "STOPPED"
    CHANGE_IGNORED = "CHANGE_IGNORED"
    UNRECORDED_STEP = "UNRECORDED_STEP"
    OUTLIERS = "OUTLIERS"
    BUDGET_OUTSIDE_HISTORY = "BUDGET_OUTSIDE_HISTORY"
    FEW_LEADS = "FEW_LEADS"
    NO_DELIVERY = "NO_DELIVERY"
    MISSING_FIGURE = "MISSING_FIGURE"
    OPTION_IGNORED = "OPTION_IGNORED"


@dataclass(frozen=True, slots=True)
class Caution:
    """One of them, with its figures in words."""

    kind: CautionKind
    text: str
