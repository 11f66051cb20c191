"""What is said of a series: its days, its alarms, its incidents. Fields are called as in the contract."""

import math
import sys
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum

from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityRef
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
    MIXED = "mixed"


class Rule(StrEnum):
    """Fixed rules beside the scores."""

    ZERO_SPEND = "zero_spend"
    DELIVERY_COLLAPSE = "delivery_collapse"
    CPL_SPIKE = "cpl_spike"
    CTR_DROP = "ctr_drop"
    LEADS_STOPPED = "leads_stopped"
    SPEND_SPIKE = "spend_spike"
    ABSENT_DATA = "absent_data"
    DRIFT = "drift"
    LEVEL_SHIFT = "level_shift"


class Kind(StrEnum):
    """What an incident is about; those of one kind at one time may have one cause."""

    ABSENT_DATA = "absent_data"
    NO_DELIVERY = "no_delivery"
    DELIVERY_DROP = "delivery_drop"
    DELIVERY_SURGE = "delivery_surge"
    LEADS_LOST = "leads_lost"
    LEADS_SURGE = "leads_surge"
    COST_RISE = "cost_rise"
    COST_FALL = "cost_fall"
    ENGAGEMENT_DROP = "engagement_drop"
    ENGAGEMENT_RISE = "engagement_rise"
    DRIFT = "drift"
    OTHER = "other"


class IncidentState(StrEnum):
    """How an incident stands on the last assessed day."""

    OPEN = "open"
    RESOLVED = "resolved"
    NEW_NORMAL = "new_normal"
    """It stayed, and is taken for the normal level by now (or for stopped)."""


class Scope(StrEnum):
    """What an incident is about."""

    ENTITY = "entity"
    SUBTREE = "subtree"
    ACCOUNT = "account"
    LOAD = "load"
    NAME_PATTERN = "name_pattern"


@dataclass(frozen=True, slots=True)
class RuleAlarm:
    """One rule that alarmed: which, about what, how bad, in words, and since when where it is about several days."""

    rule: Rule
    metric: Metric
    severity: Severity
    message: str
    since: date | None = None


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """One metric of one day; None is unknown (as metric: of a point). Units as in `domain.metrics`."""

    metric: Metric | None
    observed: float | None
    level: float  # Nominal probability of the range
    attribution: float  # Share in the day's strangeness
    gated: bool = False  # Too little volume to alarm
    expected: float | None = None
    # The range at the level of the applied threshold; `upper` may be infinite
    lower: float | None = None
    upper: float | None = None
    robust_z: float | None = None  # Signed as the metric: a CPL above its expectation is positive
    direction: Direction = Direction.NONE  # To which side of the range


@dataclass(frozen=True, slots=True)
class DayAssessment:
    """One day, or one point, whose date is an instant."""

    date: date
    p_value: float | None
    max_robust_z: float | None
    metrics: tuple[MetricAssessment, ...]
    isolation_forest: float | None = None
    mahalanobis: float | None = None
    anomalous: bool = False
    severity: Severity = Severity.NONE
    direction: Direction = Direction.NONE
    rule_alarms: tuple[RuleAlarm, ...] = ()
    related_changes: tuple[ChangeEvent, ...] = ()
    excluded: bool = False
    exclusion_reason: str = ""
    incident_id: str = ""
    summary: str = ""
    # What the summary names (None when nothing is out of line), and what it would be an incident of
    main_metric: Metric | None = None
    kind: Kind = Kind.OTHER
    stake: float = 0.0  # Money at stake, in the account's currency; see `incidents.stake_of`
    still_filling: bool = False  # Nobody knows by how much
    expected_completion: float | None = None  # Share of its leads that is in; None: all


@dataclass(frozen=True, slots=True)
class Incident:
    """Days or points out of line that have one cause."""

    incident_id: str
    # The first and the last day out of line; instants of points
    first: date
    last: date
    state: IncidentState
    kind: Kind
    severity: Severity
    direction: Direction
    main_metric: Metric | None
    summary: str
    rule: Rule | None = None  # The one that raised it; None: the scores alone
    stake_per_day: float = 0.0  # Mean money at stake of its days, at most the last seven
    scope: Scope = Scope.ENTITY
    # The entity, or the top of a subtree (None: the account, or several campaigns), and its name for a
    # person
    entity: EntityRef | None = None
    title: str = ""
    # Incidents of single entities that this one explains, by money at stake
    children: tuple["Incident", ...] = ()


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
class Delivery:
    """When a series delivered last (None: never), and for how many days it did not up to the last assessed one.

    It has stopped when it was switched off or idle for two weeks.
    """

    last_row_date: date | None
    last_delivery_date: date | None
    days_without_delivery: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a series' days and incidents are."""

    days: tuple[DayAssessment, ...]
    incidents: tuple[Incident, ...]
    threshold: Threshold
    delivery: Delivery | None = None
    incomplete_since: date | None = None  # The first day that is not complete; None: all are
    without_reach: bool = False  # Frequency was not looked at
    usual_spend: float = 0.0  # Mean spend of a day with delivery, of the last 28 before the assessed ones
    learning_points: int = 0  # So many points at the start have no p-value


def figure(value: float) -> float | None:
    """A number as it is said; None where it is not finite."""
    return float(value) if math.isfinite(value) else None
