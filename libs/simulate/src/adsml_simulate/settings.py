"""What a simulated account is made of: every knob, its unit and its default."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Violations

MONDAY_TO_SUNDAY: Final = 7

PRICE_WEEKDAYS: Final = (0.98, 0.97, 0.98, 1.00, 1.03, 1.04, 1.00)
"""Auction price by weekday, Monday first, against the week's mean."""
CONVERSION_WEEKDAYS: Final = (1.12, 1.10, 1.06, 1.02, 0.92, 0.84, 0.94)
"""Conversion rate by weekday, Monday first, against the week's mean: people fill forms in on workdays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One change with its true, direct effect.

    The effect on a metric also holds what follows from it (learning starts anew, a fresh creative is no
    longer fatigued, a larger budget buys dearer): see `adsml_simulate.effects`.

    Attributes
    ----------
    entity_type, entity_id
        What is changed. Budgets are set at the ad set, or at the campaign where that shares its budget.
    change_type
        How.
    date
        First day on which it is in force.
    budget_ratio
        New budget over old (``BUDGET_CHANGE``).
    ctr_lift, conversion_rate_lift, cpm_lift
        Relative, e.g. 0.2 for 20% more (``CREATIVE_CHANGE``, ``AUDIENCE_CHANGE``).
    audience_ratio
        New audience size over old (``AUDIENCE_CHANGE``).
    restarts_learning
        None: as the platform does it (creative and audience changes, budgets changed by more than 20%, a
        reactivation after 7 days or more).
    placebo
        It is recorded and changes nothing: for false-positive studies.
    """

    entity_type: EntityType
    entity_id: str
    change_type: ChangeType
    date: date
    budget_ratio: float = 1.0
    ctr_lift: float = 0.0
    conversion_rate_lift: float = 0.0
    cpm_lift: float = 0.0
    audience_ratio: float = 1.0
    restarts_learning: bool | None = None
    placebo: bool = False

    def __post_init__(self) -> None:
        found = Violations()
        for name in ("budget_ratio", "audience_ratio"):
            if not 0 < getattr(self, name) <= 100:
                found.add(name, f"is {getattr(self, name)}; expected above 0 and at most 100")
        for name in ("ctr_lift", "conversion_rate_lift", "cpm_lift"):
            if not -1 < getattr(self, name) <= 10:
                found.add(name, f"is {getattr(self, name)}; expected above -1 (0.2 means 20% more)")
        found.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomChanges:
    """Changes drawn at random: entities, days and effects.

    Attributes
    ----------
    count
        How many are aimed at. A pause is followed by its reactivation, which is not counted. Fewer are made
        where no entity is left that was quiet for `quiet_days` on both sides.
    types
        Drawn in turn.
    lift_sd
        Standard deviation of the direct effects of creative and audience changes on click rate and conversion
        rate, in logs.
    budget_ratios
        Drawn in turn from a shuffled deck.
    after_worst_week
        The change follows the entity's worst week (highest CPL), as people do it; otherwise any day may do.
    placebo
        All are recorded and change nothing.
    quiet_days
        Days without another change of the same campaign on both sides, and between account's ends and change.
    """

    count: int
    types: tuple[ChangeType, ...] = (
        ChangeType.BUDGET_CHANGE,
        ChangeType.CREATIVE_CHANGE,
        ChangeType.AUDIENCE_CHANGE,
        ChangeType.PAUSE,
    )
    lift_sd: float = 0.25
    budget_ratios: tuple[float, ...] = (0.6, 0.8, 1.25, 1.5, 2.0)
    after_worst_week: bool = False
    placebo: bool = False
    quiet_days: int = 14

    def __post_init__(self) -> None:
        found = Violations()
        if self.count < 0:
            found.add("count", f"is {self.count}; expected 0 or more")
        if not self.types or ChangeType.REACTIVATE in self.types:
            found.add("types", "expected at least one type but REACTIVATE, which follows each PAUSE")
        if not self.budget_ratios or min(self.budget_ratios) <= 0:
            found.add("budget_ratios", "expected at least one, each above 0")
        if self.lift_sd < 0:
            found.add("lift_sd", f"is {self.lift_sd}; expected 0 or more")
        if self.quiet_days < 7:
            found.add("quiet_days", f"is {self.quiet_days}; expected 7 or more")
        found.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketShock:
    """A stretch of days on which the whole market moved.

    Attributes
    ----------
    start
        Its first day.
    days
        Its length.
    cpm, conversion_rate
        Relative change on those days, e.g. 0.4 for 40% dearer impressions.
    """

    start: date
    days: int
    cpm: float = 0.0
    conversion_rate: float = 0.0

    def __post_init__(self) -> None:
        found = Violations()
        if self.days < 1:
            found.add("days", f"is {self.days}; expected 1 or more")
        for name in ("cpm", "conversion_rate"):
            if not -1 < getattr(self, name) <= 10:
                found.add(name, f"is {getattr(self, name)}; expected above -1")
        found.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """One ad account. An `sd` is a standard deviation in logs (of odds for conversion rates).

    Attributes
    ----------
    last_day
        Last simulated day.
    days
        Number of days, ending with `last_day`.
    config_id, name, currency
        Of the account.
    campaigns, adsets, ads
        How many of each; every campaign has an ad set, every ad set an ad.
    shared_budget_share
        Share of campaigns that set one budget for all their ad sets (CBO).
    late_start_share, early_end_share
        Shares of ads that start, or are paused for good, inside the simulated days.
    daily_budget
        Mean budget of an ad set, currency per day.
    budget_sd
        Spread of budgets over ad sets.
    cpm, ctr, conversion_rate
        Typical price of a thousand impressions (currency), click rate (percent of impressions) and conversion
        rate (leads in percent of clicks) before anyone's quality.
    cpm_sd, ctr_sd, conversion_rate_sd
        Spread of ads' lasting quality; a third of its variance each comes from campaign, ad set and ad.
    drift_sd, drift_half_life_days
        Slow wandering of an ad's conversion rate around its lasting quality, and how fast half of it is
        forgotten. Small sd: tiers persist.
    trend_per_30_days
        Trend of everyone's conversion rate, in logs per 30 days.
    weekly_season, yearly_season
        Amplitude against the built-in profiles; 0 switches off.
    market_price_sd, market_conversion_sd
        Standard deviation of the market-wide AR(1) shocks that hit all campaigns alike.
    market_autocorrelation
        Their lag-1 autocorrelation.
    autocorrelation
        Lag-1 autocorrelation of campaigns', ad sets' and ads' own conversion rate.
    conversion_noise_sd
        Standard deviation of that noise; its variance is a quarter campaign, a quarter ad set, half ad.
    click_noise_sd, price_noise_sd
        The same for click rate and price, by ad set (lag-1 autocorrelation 0.7).
    pacing_sd
        Error of spend against budget: day to day by ad set, and as much again, wandering slowly, by campaign.
    allocation_sd, allocation_strength
        How unsteadily, and how keenly, the platform gives money to ads (and ad sets that share a budget) with
        more expected leads per money.
    learning_penalty
        Conversion rate lost at the start of the learning phase, as a share; fades with 50 leads or 14 days.
    fatigue
        Exponent of the loss in click rate by repeated exposure; 0 switches off.
    price_elasticity, saturation_elasticity
        By how much price rises, and conversion rate falls, with spend against what the audience was sized for
        (elasticities: doubled spend at 0.15 and 0.15 gives 1.62 times the leads).
    lag
        Shares of leads that are reported on the day of the click, one day later, and so on; sums to 1.
    shocks, changes, random_changes
        What happens to it.
    """

    last_day: date
    days: int = 120
    config_id: int = 1
    name: str = "Simulated account"
    currency: str = "USD"
    campaigns: int = 4
    adsets: int = 15
    ads: int = 45
    shared_budget_share: float = 0.5
    late_start_share: float = 0.15
    early_end_share: float = 0.08
    daily_budget: float = 160.0
    budget_sd: float = 0.8
    cpm: float = 14.0
    ctr: float = 1.2
    conversion_rate: float = 8.0
    cpm_sd: float = 0.2
    ctr_sd: float = 0.45
    conversion_rate_sd: float = 1.05
    drift_sd: float = 0.18
    drift_half_life_days: float = 60.0
    trend_per_30_days: float = 0.0
    weekly_season: float = 1.0
    yearly_season: float = 1.0
    market_price_sd: float = 0.06
    market_conversion_sd: float = 0.06
    market_autocorrelation: float = 0.85
    autocorrelation: float = 0.7
    conversion_noise_sd: float = 0.18
    click_noise_sd: float = 0.1
    price_noise_sd: float = 0.08
    pacing_sd: float = 0.08
    allocation_sd: float = 0.35
    allocation_strength: float = 1.0
    learning_penalty: float = 0.2
    fatigue: float = 0.2
    price_elasticity: float = 0.15
    saturation_elasticity: float = 0.15
    lag: tuple[float, ...] = (0.72, 0.12, 0.06, 0.04, 0.03, 0.02, 0.01)
    shocks: tuple[MarketShock, ...] = ()
    changes: tuple[PlannedChange, ...] = field(default=(), repr=False)
    random_changes: RandomChanges | None = None

    def __post_init__(self) -> None:
        found = Violations()
        self._check_sizes(found)
        for name in (
            "shared_budget_share", "late_start_share", "early_end_share", "learning_penalty",
            "market_autocorrelation", "autocorrelation",
        ):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value <= 1 or (value == 1 and name.endswith("autocorrelation")):
                found.add(name, f"is {value}; expected 0 to 1 (below 1 for an autocorrelation)")
        for name in ("daily_budget", "cpm", "ctr", "conversion_rate", "drift_half_life_days"):
            if not getattr(self, name) > 0:
                found.add(name, f"is {getattr(self, name)}; expected above 0")
        for name in ("ctr", "conversion_rate"):
            if getattr(self, name) > 50:
                found.add(name, f"is {getattr(self, name)} percent; expected at most 50")
        for name in (
            "budget_sd", "cpm_sd", "ctr_sd", "conversion_rate_sd", "drift_sd", "weekly_season",
            "yearly_season", "market_price_sd", "market_conversion_sd", "conversion_noise_sd",
            "click_noise_sd", "price_noise_sd", "pacing_sd", "allocation_sd", "allocation_strength",
            "fatigue", "price_elasticity", "saturation_elasticity",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 3:
                found.add(name, f"is {getattr(self, name)}; expected 0 to 3")
        if not self.lag or min(self.lag) < 0 or self.lag[0] <= 0 or abs(sum(self.lag) - 1) > 1e-9:
            found.add("lag", f"is {self.lag}; expected shares that sum to 1, the first above 0")
        found.raise_if_any()

    def _check_sizes(self, found: Violations) -> None:
        if not 1 <= self.days <= 5000:
            found.add("days", f"is {self.days}; expected 1 to 5000")
        if self.config_id < 1:
            found.add("config_id", f"is {self.config_id}; expected 1 or more")
        if self.campaigns < 1:
            found.add("campaigns", f"is {self.campaigns}; expected 1 or more")
        if self.adsets < self.campaigns:
            found.add(
                "adsets", f"is {self.adsets}; expected at least one for each of {self.campaigns} campaigns"
            )
        if self.ads < self.adsets:
            found.add("ads", f"is {self.ads}; expected at least one for each of {self.adsets} ad sets")

    @property
    def first_day(self) -> date:
        """First simulated day."""
        return self.last_day - timedelta(days=self.days - 1)

    def index(self, day: date, *, path: str = "date") -> int:
        """Position of a day among the simulated days.

        Raises
        ------
        InvalidInput
            If it is not one of them.
        """
        at = (day - self.first_day).days
        if not 0 <= at < self.days:
            raise InvalidInput.at(path, f"is {day}; expected a day from {self.first_day} to {self.last_day}")
        return at
