"""What a simulated account is made of: every knob, its unit and its default."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Violations


def _check(owner: object, *rules: tuple[str, Callable[[Any], bool], str]) -> None:
    """Raise `InvalidInput` for every field out of bounds: names, what is allowed, what is expected."""
    wrong = Violations()
    for names, allowed, expected in rules:
        for name in names.split():
            if not allowed(value := getattr(owner, name)):
                wrong.add(name, f"is {value}; expected {expected}")
    wrong.raise_if_any()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One change with its true, direct effect.

    The effect on a metric also holds what follows from it (learning starts anew, a fresh creative is no
    longer fatigued, a larger budget buys dearer): see `adsml_simulate.truth`.
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
        lifts = "ctr_lift conversion_rate_lift cpm_lift"
        _check(
            self,
            ("budget_ratio audience_ratio", lambda x: 0 < x <= 100, "above 0 and at most 100"),
            (lifts, lambda x: -1 < x <= 10, "above -1 (0.2 means 20% more)"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomChanges:
    """Changes drawn at random: entities, days and effects."""

    # how many are aimed at. A pause is followed by its reactivation, which is not counted. Fewer are made where no
    # entity is left that was quiet for `quiet_days` on both sides.
    count: int
    types: tuple[ChangeType, ...] = tuple(one for one in ChangeType if one is not ChangeType.REACTIVATE)
    # standard deviation in logs of the effects of creative and audience changes on click rate and conversion rate
    lift_sd: float = 0.25
    placebo: bool = False  # all are recorded and change nothing
    # days without another change of the same campaign on both sides, and between account's ends and change
    quiet_days: int = 14

    def __post_init__(self) -> None:
        _check(
            self,
            ("count lift_sd", lambda x: x >= 0, "0 or more"),
            (
                "types",
                lambda x: x and ChangeType.REACTIVATE not in x,
                "one or more, but not REACTIVATE, which follows each PAUSE",
            ),
            ("quiet_days", lambda x: x >= 7, "7 or more"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketShock:
    """A stretch of days on which the whole market moved."""

    start: date
    days: int
    cpm: float  # relative change on those days, e.g. 0.4 for 40% dearer impressions

    def __post_init__(self) -> None:
        _check(self, ("days", lambda x: x >= 1, "1 or more"), ("cpm", lambda x: -1 < x <= 10, "above -1"))


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
    # slow wandering of an ad's conversion rate around its lasting quality, half forgotten in 60 days
    drift_sd: float = 0.18
    trend_per_30_days: float = 0.0  # trend of everyone's conversion rate, in logs per 30 days
    # amplitude against the built-in profiles; 0 switches off
    weekly_season: float = 1.0
    yearly_season: float = 1.0
    # standard deviation of the market-wide AR(1) shocks (0.85) that hit all campaigns alike
    market_price_sd: float = 0.06
    market_conversion_sd: float = 0.06
    autocorrelation: float = 0.7  # lag-1 autocorrelation of campaigns', ad sets' and ads' own conversion rate
    # standard deviation of that noise; its variance is a quarter campaign, a quarter ad set, half ad
    conversion_noise_sd: float = 0.18
    # the same for click rate and price, by ad set (lag-1 autocorrelation 0.7)
    click_noise_sd: float = 0.1
    price_noise_sd: float = 0.08
    # error of spend against budget: day to day by ad set, and as much again, wandering slowly, by campaign
    pacing_sd: float = 0.08
    # how unsteadily the platform gives money to ads, and to ad sets that share a budget, by their leads per money
    allocation_sd: float = 0.35
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
        shares = "shared_budget_share late_start_share early_end_share learning_penalty"
        amplitudes = (
            "budget_sd cpm_sd ctr_sd conversion_rate_sd drift_sd weekly_season yearly_season market_price_sd "
            "market_conversion_sd conversion_noise_sd click_noise_sd price_noise_sd pacing_sd allocation_sd fatigue "
            "price_elasticity saturation_elasticity"
        )
        _check(
            self,
            ("days", lambda x: 1 <= x <= 5000, "1 to 5000"),
            ("config_id campaigns", lambda x: x >= 1, "1 or more"),
            ("adsets", lambda x: x >= self.campaigns, f"at least one for each of {self.campaigns} campaigns"),
            ("ads", lambda x: x >= self.adsets, f"at least one for each of {self.adsets} ad sets"),
            (shares, lambda x: 0 <= x <= 1, "0 to 1"),
            ("autocorrelation", lambda x: 0 <= x < 1, "0 to below 1"),
            ("daily_budget cpm", lambda x: x > 0, "above 0"),
            ("ctr conversion_rate", lambda x: 0 < x <= 50, "above 0 and at most 50 percent"),
            (amplitudes, lambda x: 0 <= x <= 3, "0 to 3"),
            (
                "lag",
                lambda x: x and min(x) >= 0 and x[0] > 0 and abs(sum(x) - 1) <= 1e-9,
                "shares that sum to 1, the first above 0",
            ),
        )

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
