"""What is said of a series, its days and its alarms."""

import sys
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum

from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.metrics import Metric


class Severity(IntEnum):
    """How far out of line a day is; see the contract."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Direction(StrEnum):
    """To which side of the expectation."""

    NONE = "none"
    UP = "up"
    DOWN = "down"
    RELATION = "relation"


class Rule(StrEnum):
    """Fixed rules beside the scores."""

    ZERO_SPEND = "zero_spend"
    DELIVERY_COLLAPSE = "delivery_collapse"
    CPL_SPIKE = "cpl_spike"
    CTR_DROP = "ctr_drop"
    LEADS_STOPPED = "leads_stopped"
    SPEND_SPIKE = "spend_spike"


@dataclass(frozen=True, slots=True)
class RuleAlarm:
    """One rule that alarmed: which, about what, how bad, and in words."""

    rule: Rule
    metric: Metric
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """One metric of one day; None is unknown. Units as in `adsml_common.domain.metrics`.

    Attributes
    ----------
    metric
        None for a point of an unnamed measure.
    observed, expected, lower, upper
        What came, what was expected, and in which range at the level of the applied threshold (`upper` may be
        infinite).
    level
        Nominal probability of that range.
    robust_z
        Signed as the metric: a CPL above its expectation is positive.
    direction
        To which side of the range.
    attribution
        Share in the day's strangeness.
    gate
        Why it was not allowed to alarm; empty when it was.
    """

    metric: Metric | None
    observed: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    level: float
    robust_z: float | None
    direction: Direction
    attribution: float
    gate: str = ""


@dataclass(frozen=True, slots=True)
class DayAssessment:
    """One day, or one point (`time` instead of `date`)."""

    date: date | None
    time: datetime | None
    anomalous: bool
    p_value: float | None
    isolation_forest: float | None
    max_robust_z: float | None
    mahalanobis: float | None
    severity: Severity
    direction: Direction
    metrics: tuple[MetricAssessment, ...]
    rule_alarms: tuple[RuleAlarm, ...] = ()
    related_changes: tuple[ChangeEvent, ...] = ()
    excluded: bool = False
    exclusion_reason: str = ""
    incident_id: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """A stretch of anomalous days or points."""

    incident_id: str
    first: date | datetime
    last: date | datetime
    severity: Severity
    direction: Direction
    main_metric: Metric | None
    ongoing: bool
    summary: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """When a day counts as anomalous: false alarms put up with per entity and 30 days."""

    false_alarms_per_month: float
    feedback_count: int = 0

    @property
    def p_value(self) -> float:
        """A day is anomalous when its p-value is at most this; above 0, also of a rate too small to divide."""
        return max(self.false_alarms_per_month / 30.0, sys.float_info.min)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one series."""

    days: tuple[DayAssessment, ...]
    incidents: tuple[Incident, ...]
    threshold: Threshold
    warnings: tuple[str, ...] = field(default=())
