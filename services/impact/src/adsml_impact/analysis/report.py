"""The answer."""

from dataclasses import dataclass
from datetime import date

from adsml.common.v1 import warning_pb2
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.plan import Scope
from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.models.effect import Effect, Fit, Interval
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.naive import NaiveComparison
from adsml_impact.models.power import Detectable


@dataclass(frozen=True, slots=True)
class Windows:
    """The days compared, inclusive; for a planned change the after window is the one it would have."""

    baseline_first_date: date
    before_first_date: date
    before_last_date: date
    after_first_date: date
    after_last_date: date


@dataclass(frozen=True, slots=True)
class MetricReport:
    """What the change did to one metric of one scope."""

    metric: Metric
    scope: Scope
    effect: Effect | None  # None where it is missing; `missing_reason` says why
    # by Holm over the metrics that are not primary; the primary one's is its own; NaN where there is none
    adjusted_p_value: float
    verdict: Verdict | None  # None for a metric that is neither good nor bad by itself: spend
    naive: NaiveComparison
    before: float
    after: float
    missing_reason: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """How often this very setting said "significant" where nothing had happened.

    The interval is Clopper-Pearson's at 95%; placebos overlap, so that the true one is wider.
    """

    # placebo analyses below alpha, and all of them
    significant: int
    analyses: int
    nominal: float  # alpha
    interval: Interval | None  # None without analyses

    @property
    def rate(self) -> float | None:
        """The share; None without analyses."""
        return self.significant / self.analyses if self.analyses else None


@dataclass(frozen=True, slots=True)
class Control:
    """An entity the treated were compared with, and its weight."""

    entity_id: str
    weight: float


@dataclass(frozen=True, slots=True)
class ManipulationCheck:
    """Whether the change itself shows in spend per day, in the account's currency."""

    before: float
    after: float
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class BudgetShift:
    """How another entity's spend moved after a pause or reactivation."""

    entity_id: str
    spend_per_day: float  # change against its own window before, weekdays adjusted, in the account's currency
    # of the treated's own change of spend, with the opposite sign: 0.4 means 40% of it went there (or came from
    # there)
    share: float
    cpl_after: float  # what a lead cost there after; NaN without leads


@dataclass(frozen=True, slots=True)
class WeeklyGain:
    """What a change is worth a week at the spend after it."""

    leads: float  # below 0: lost
    leads_interval: Interval
    # the same at the counterfactual's cost per lead, in the account's currency; NaN where that is not known
    money: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A single day far out of line that was replaced by what was to be expected."""

    entity_id: str | None  # of a control; None: the treated
    date: date
    metric: Metric


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the rows are."""

    # of the account's level, and of the treated: last day with a row, and with spend or impressions (None: never)
    account_last_date: date
    last_row_date: date
    last_delivery_date: date | None

    @property
    def days_without_delivery(self) -> int:
        """Up to the account's last day."""
        return (self.account_last_date - (self.last_delivery_date or self.account_last_date)).days

    @property
    def stopped(self) -> bool:
        """Whether more than a day went without delivery."""
        return self.days_without_delivery > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactReport:
    """What a change did."""

    query: ImpactQuery
    windows: Windows
    verdict: Verdict
    recommendation: str
    primary_metric: Metric
    metrics: tuple[MetricReport, ...]  # the primary one first
    controls: tuple[Control, ...]  # of the primary metric, the heaviest first
    fit: Fit
    false_positive_rate: MeasuredRate
    detectable: Detectable
    manipulation_check: ManipulationCheck | None
    budget_shifts: tuple[BudgetShift, ...]
    warnings: tuple[warning_pb2.Warning, ...]
    estimator: Estimator
    estimator_reason: str
    excluded: tuple[tuple[str, str], ...]  # entities that were not compared with: (id, reason)
    outliers: tuple[Outlier, ...]
    # that the primary metric's true effect is a good one; NaN where there is no p-value
    probability_helped: float
    weekly_gain: WeeklyGain | None
    freshness: Freshness

    @property
    def primary(self) -> MetricReport:
        """The metric the verdict rests on."""
        return self.metrics[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectableReport:
    """What a window could show, by metric, the primary one first."""

    effects: tuple[tuple[Metric, Scope, Detectable], ...]  # (metric, scope, detectable effects)
    placebos: int  # analyses without a change behind the primary metric's
    warnings: tuple[warning_pb2.Warning, ...]
    estimator: Estimator
    estimator_reason: str
