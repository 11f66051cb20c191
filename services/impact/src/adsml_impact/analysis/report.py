"""The answer."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.plan import Scope
from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.analysis.verdict import Verdict
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.effect import Effect, Fit, Interval
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.naive import NaiveComparison
from adsml_impact.models.power import Detectable


class WarningType(StrEnum):
    """A kind of caution."""

    FEW_CONTROLS = "few_controls"
    NO_CONTROLS = "no_controls"
    POOR_FIT = "poor_fit"
    CONTAMINATED_CONTROLS = "contaminated_controls"
    REGRESSION_TO_THE_MEAN = "regression_to_the_mean"
    INCOMPLETE_DAYS = "incomplete_days"
    OTHER_CHANGES = "other_changes"
    SHORT_HISTORY = "short_history"
    FEW_PLACEBOS = "few_placebos"
    GAPS = "gaps"
    FALSE_POSITIVE_RATE = "false_positive_rate"
    ACCOUNT_UNKNOWN = "account_unknown"
    MANIPULATION_NOT_SEEN = "manipulation_not_seen"
    STALE_DATA = "stale_data"
    OUTLIERS = "outliers"
    FEW_LEADS = "few_leads"


@dataclass(frozen=True, slots=True)
class Caution:
    """One thing to be careful about, for machines and for a person."""

    type: WarningType
    message: str


@dataclass(frozen=True, slots=True)
class Windows:
    """The days compared, inclusive.

    For a planned change the after window is the one it would have.
    """

    baseline_first: date
    before_first: date
    before_last: date
    after_first: date
    after_last: date


@dataclass(frozen=True, slots=True)
class MetricReport:
    """What the change did to one metric of one scope.

    Attributes
    ----------
    effect
        None where it is missing; `missing_reason` says why.
    adjusted_p_value
        By Holm over the metrics that are not primary; the primary one's is its own; NaN where there is none.
    verdict
        None for a metric that is neither good nor bad by itself: spend.
    """

    metric: Metric
    scope: Scope
    effect: Effect | None
    adjusted_p_value: float
    verdict: Verdict | None
    naive: NaiveComparison
    before: float
    after: float
    missing_reason: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """How often this very setting said "significant" where nothing had happened.

    Attributes
    ----------
    significant, analyses
        Placebo analyses below alpha, and all of them.
    nominal
        Alpha.
    interval
        Clopper-Pearson 95% interval of the share; None without analyses. Placebos overlap, so that the true
        interval is wider.
    """

    significant: int
    analyses: int
    nominal: float
    interval: Interval | None

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
    """How another entity's spend moved after a pause or reactivation.

    Attributes
    ----------
    spend_per_day
        Change against its own window before, weekdays adjusted, in the account's currency.
    share
        Of the treated's own change of spend, with the opposite sign: 0.4 means 40% of it went there (or came
        from there).
    cpl_after
        What a lead cost there after; NaN without leads.
    """

    entity_id: str
    spend_per_day: float
    share: float
    cpl_after: float


@dataclass(frozen=True, slots=True)
class WeeklyGain:
    """What a change is worth a week at the spend after it.

    Attributes
    ----------
    leads, lower, upper
        Leads gained (below 0: lost), and their interval.
    money
        The same at the counterfactual's cost per lead, in the account's currency; NaN where that is not known.
    """

    leads: float
    lower: float
    upper: float
    money: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A single day far out of line that was replaced by what was to be expected.

    Attributes
    ----------
    entity_id
        Of a control; None: the treated.
    """

    entity_id: str | None
    day: date
    metric: Metric


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the rows are.

    Attributes
    ----------
    account_last_date, last_row_date, last_delivery_date
        Of the account's level, and of the treated: last day with a row, and with spend or impressions (None: never).
    """

    account_last_date: date
    last_row_date: date
    last_delivery_date: date | None

    @property
    def days_without_delivery(self) -> int:
        """Up to the account's last day."""
        if self.last_delivery_date is None:
            return 0
        return (self.account_last_date - self.last_delivery_date).days


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactReport:
    """What a change did.

    Attributes
    ----------
    metrics
        The primary one first.
    controls
        Of the primary metric, the heaviest first.
    excluded
        Entities that were not compared with: (id, reason).
    probability_helped
        That the primary metric's true effect is a good one; NaN where there is no p-value.
    """

    query: ImpactQuery
    windows: Windows
    verdict: Verdict
    recommendation: str
    primary_metric: Metric
    metrics: tuple[MetricReport, ...]
    controls: tuple[Control, ...]
    fit: Fit
    false_positive_rate: MeasuredRate
    detectable: Detectable
    manipulation_check: ManipulationCheck | None
    budget_shifts: tuple[BudgetShift, ...]
    cautions: tuple[Caution, ...]
    estimator: Estimator
    estimator_reason: str
    excluded: tuple[tuple[str, str], ...]
    outliers: tuple[Outlier, ...]
    probability_helped: float
    weekly_gain: WeeklyGain | None
    freshness: Freshness
    comparison: Comparison

    @property
    def primary(self) -> MetricReport:
        """The metric the verdict rests on."""
        return self.metrics[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectableReport:
    """What a window could show, by metric, the primary one first.

    Attributes
    ----------
    effects
        (metric, scope, detectable effects).
    placebos
        Analyses without a change behind the primary metric's.
    """

    windows: Windows
    effects: tuple[tuple[Metric, Scope, Detectable], ...]
    placebos: int
    cautions: tuple[Caution, ...]
    estimator: Estimator
    estimator_reason: str
