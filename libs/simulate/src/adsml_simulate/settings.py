"""What a simulated account is made of: every knob, its unit and its default."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Violations

MONDAY_TO_SUNDAY: Final = 7

PRICE_WEEKDAYS: Final = (0.98, 0.97, 0.98, 1.00, 1.03, 1.04, 1.00)
"""Auction price by weekday, Monday first, against the week's mean."""
CONVERSION_WEEKDAYS: Final = (1.12, 1.10, 1.06, 1.02, 0.92, 0.84, 0.94)
"""Conversion rate by weekday, Monday first, against the week's mean: people fill forms in on workdays."""


def _expect(
    violations: Violations, owner: object, names: str, allowed: Callable[[Any], bool], expected: str
) -> None:
    for name in names.split():
        if not allowed(value := getattr(owner, name)):
            violations.add(name, f"is {value}; expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One change with its true, direct effect.

    The effect on a metric also holds what follows from it (learning starts anew, a fresh creative is no
    longer fatigued, a larger budget buys dearer): see `adsml_simulate.effects`.
    """

    # what is changed. Budgets are set at the ad set, or at the campaign where that shares its budget.
    entity_type: EntityType
    entity_id: str
    change_type: ChangeType
    date: date  # first day on which it is in force
    budget_ratio: float = 1.0  # new budget over old (`BUDGET_CHANGE`)
    # relative, e.g. 0.2 for 20% more (`CREATIVE_CHANGE`, `AUDIENCE_CHANGE`).
    ctr_lift: float = 0.0
    conversion_rate_lift: float = 0.0
    cpm_lift: float = 0.0
    audience_ratio: float = 1.0  # new audience size over old (`AUDIENCE_CHANGE`)
    # None: as the platform does it (creative and audience changes, budgets changed by more than 20%, a reactivation
    # after 7 days or more)
    restarts_learning: bool | None = None
    placebo: bool = False  # it is recorded and changes nothing: for false-positive studies

    def __post_init__(self) -> None:
        wrong = Violations()
        ratios, lifts = "budget_ratio audience_ratio", "ctr_lift conversion_rate_lift cpm_lift"
        _expect(wrong, self, ratios, lambda x: 0 < x <= 100, "above 0 and at most 100")
        _expect(wrong, self, lifts, lambda x: -1 < x <= 10, "above -1 (0.2 means 20% more)")
        wrong.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomChanges:
    """Changes drawn at random: entities, days and effects."""

    # how many are aimed at. A pause is followed by its reactivation, which is not counted. Fewer are made where no
    # entity is left that was quiet for `quiet_days` on both sides.
    count: int
    types: tuple[ChangeType, ...] = (
        ChangeType.BUDGET_CHANGE,
        ChangeType.CREATIVE_CHANGE,
        ChangeType.AUDIENCE_CHANGE,
        ChangeType.PAUSE,
    )
    # standard deviation of the direct effects of creative and audience changes on click rate and conversion rate, in
    # logs
    lift_sd: float = 0.25
    budget_ratios: tuple[float, ...] = (0.6, 0.8, 1.25, 1.5, 2.0)  # drawn in turn from a shuffled deck
    # the change follows the entity's worst week (highest CPL), as people do it; otherwise any day may do
    after_worst_week: bool = False
    placebo: bool = False  # all are recorded and change nothing
    # days without another change of the same campaign on both sides, and between account's ends and change
    quiet_days: int = 14

    def __post_init__(self) -> None:
        wrong = Violations()
        _expect(wrong, self, "count lift_sd", lambda x: x >= 0, "0 or more")
        if not self.types or ChangeType.REACTIVATE in self.types:
            wrong.add("types", "expected at least one type but REACTIVATE, which follows each PAUSE")
        if not self.budget_ratios or min(self.budget_ratios) <= 0:
            wrong.add("budget_ratios", "expected at least one, each above 0")
        _expect(wrong, self, "quiet_days", lambda x: x >= 7, "7 or more")
        wrong.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketShock:
    """A stretch of days on which the whole market moved."""

    start: date
    days: int
    # relative change on those days, e.g. 0.4 for 40% dearer impressions.
    cpm: float = 0.0
    conversion_rate: float = 0.0

    def __post_init__(self) -> None:
        wrong = Violations()
        _expect(wrong, self, "days", lambda x: x >= 1, "1 or more")
        _expect(wrong, self, "cpm conversion_rate", lambda x: -1 < x <= 10, "above -1")
        wrong.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """One ad account. An `sd` is a standard deviation in logs (of odds for conversion rates)."""

    last_day: date
    days: int = 120  # number of days, ending with `last_day`
    config_id: int = 1
    name: str = "Simulated account"
    currency: str = "USD"
    # how many of each; every campaign has an ad set, every ad set an ad
    campaigns: int = 4
    adsets: int = 15
    ads: int = 45
    shared_budget_share: float = 0.5  # share of campaigns that set one budget for all their ad sets (CBO)
    # shares of ads that start, or are paused for good, inside the simulated days
    late_start_share: float = 0.15
    early_end_share: float = 0.08
    daily_budget: float = 160.0  # mean budget of an ad set, currency per day
    budget_sd: float = 0.8  # spread of budgets over ad sets
    # typical price of a thousand impressions (currency), click rate (percent of impressions) and conversion rate
    # (leads in percent of clicks) before anyone's quality
    cpm: float = 14.0
    ctr: float = 1.2
    conversion_rate: float = 8.0
    # spread of ads' lasting quality; a third of its variance each comes from campaign, ad set and ad
    cpm_sd: float = 0.2
    ctr_sd: float = 0.45
    conversion_rate_sd: float = 1.05
    # slow wandering of an ad's conversion rate around its lasting quality, and how fast half of it is forgotten.
    # Small sd: tiers persist.
    drift_sd: float = 0.18
    drift_half_life_days: float = 60.0
    trend_per_30_days: float = 0.0  # trend of everyone's conversion rate, in logs per 30 days
    # amplitude against the built-in profiles; 0 switches off
    weekly_season: float = 1.0
    yearly_season: float = 1.0
    # standard deviation of the market-wide AR(1) shocks that hit all campaigns alike
    market_price_sd: float = 0.06
    market_conversion_sd: float = 0.06
    market_autocorrelation: float = 0.85  # their lag-1 autocorrelation
    autocorrelation: float = 0.7  # lag-1 autocorrelation of campaigns', ad sets' and ads' own conversion rate
    # standard deviation of that noise; its variance is a quarter campaign, a quarter ad set, half ad
    conversion_noise_sd: float = 0.18
    # the same for click rate and price, by ad set (lag-1 autocorrelation 0.7)
    click_noise_sd: float = 0.1
    price_noise_sd: float = 0.08
    # error of spend against budget: day to day by ad set, and as much again, wandering slowly, by campaign
    pacing_sd: float = 0.08
    # how unsteadily, and how keenly, the platform gives money to ads (and ad sets that share a budget) with more
    # expected leads per money
    allocation_sd: float = 0.35
    allocation_strength: float = 1.0
    # conversion rate lost at the start of the learning phase, as a share; fades with 50 leads or 14 days
    learning_penalty: float = 0.2
    fatigue: float = 0.2  # exponent of the loss in click rate by repeated exposure; 0 switches off
    # by how much price rises, and conversion rate falls, with spend against what the audience was sized for
    # (elasticities: doubled spend at 0.15 and 0.15 gives 1.62 times the leads)
    price_elasticity: float = 0.15
    saturation_elasticity: float = 0.15
    # shares of leads that are reported on the day of the click, one day later, and so on; sums to 1
    lag: tuple[float, ...] = (0.72, 0.12, 0.06, 0.04, 0.03, 0.02, 0.01)
    shocks: tuple[MarketShock, ...] = ()
    changes: tuple[PlannedChange, ...] = field(default=(), repr=False)
    random_changes: RandomChanges | None = None

    def __post_init__(self) -> None:
        wrong = Violations()
        _expect(wrong, self, "days", lambda x: 1 <= x <= 5000, "1 to 5000")
        _expect(wrong, self, "config_id campaigns", lambda x: x >= 1, "1 or more")
        least = f"at least one for each of {self.campaigns} campaigns"
        _expect(wrong, self, "adsets", lambda x: x >= self.campaigns, least)
        _expect(
            wrong, self, "ads", lambda x: x >= self.adsets, f"at least one for each of {self.adsets} ad sets"
        )
        shares = "shared_budget_share late_start_share early_end_share learning_penalty"
        _expect(wrong, self, shares, lambda x: 0 <= x <= 1, "0 to 1")
        _expect(wrong, self, "market_autocorrelation autocorrelation", lambda x: 0 <= x < 1, "0 to below 1")
        _expect(wrong, self, "daily_budget cpm drift_half_life_days", lambda x: x > 0, "above 0")
        _expect(wrong, self, "ctr conversion_rate", lambda x: 0 < x <= 50, "above 0 and at most 50 percent")
        amplitudes = (
            "budget_sd cpm_sd ctr_sd conversion_rate_sd drift_sd weekly_season yearly_season market_price_sd "
            "market_conversion_sd conversion_noise_sd click_noise_sd price_noise_sd pacing_sd allocation_sd "
            "allocation_strength fatigue price_elasticity saturation_elasticity"
        )
        _expect(wrong, self, amplitudes, lambda x: 0 <= x <= 3, "0 to 3")
        if not self.lag or min(self.lag) < 0 or self.lag[0] <= 0 or abs(sum(self.lag) - 1) > 1e-9:
            wrong.add("lag", f"is {self.lag}; expected shares that sum to 1, the first above 0")
        wrong.raise_if_any()

    @property
    def first_day(self) -> date:
        """First simulated day."""
        return self.last_day - timedelta(days=self.days - 1)

    def index(self, day: date, *, path: str = "date") -> int:
        """Position of a day among the simulated days; InvalidInput if it is not one of them."""
        at = (day - self.first_day).days
        if not 0 <= at < self.days:
            raise InvalidInput.at(path, f"is {day}; expected a day from {self.first_day} to {self.last_day}")
        return at
