"""The heuristic tier: cost per lead against the account's, in one week.

=====================================================  =================
no leads and material spend                            UNDERPERFORMER
CPL <= 0.7 of the account's, leads on >= 4 of 7 days   HIGH_PERFORMER
CPL <= 1.0 of the account's, >= 2 leads                MODERATE
CPL <= 1.5 of the account's                            LOW
else                                                   UNDERPERFORMER
=====================================================  =================

and a change of CPL on the week before above +20% lowers, below -15% raises, by one step; but not for an entity that
is all of the account's spend, whose CPL is the account's.

Spend is material when a single lead would not have saved the week: above 1.5 times the account's CPL, so that
more leads never make a tier worse. Without leads and below that, nothing is known against the entity: LOW, and
`Week.judged` says that it was not judged.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.metrics import divide
from adsml_common.domain.tiers import Tier

from adsml_classifier.models.panel import BoolArray, FloatArray, IntArray, Panel

TIERS: Final[tuple[Tier, ...]] = tuple(sorted(Tier, key=lambda tier: tier.rank))
"""From best to worst: a tier's number in arrays is its place here (`Tier.rank`)."""
DAYS: Final = 7
"""The week the rule looks at."""
# Highest relative CPL of each tier, and what else it asks for.
HIGH, MODERATE, LOW = 0.7, 1.0, 1.5
HIGH_LEAD_DAYS, MODERATE_LEADS = 4, 2
_LOWERS_ABOVE, _RAISES_BELOW = 0.20, -0.15
# Where the account had no lead in 28 days there is no CPL to compare with: a larger share of its spend is material.
_MATERIAL_SHARE: Final = 0.01
_ACCOUNT_DAYS: Final = 28
_OTHERS_SHARE: Final = 0.02


@dataclass(frozen=True)
class Week:
    """Sums of one week for the rule, each of shape (entities, weeks)."""

    spend: FloatArray
    leads: FloatArray
    lead_days: FloatArray
    relative_cpl: FloatArray  # over the account's; NaN without leads, or where the account had none
    material: BoolArray  # whether the spend is enough to judge by

    @property
    def judged(self) -> BoolArray:
        """Whether the week says anything: leads, or the lack of them at material spend."""
        return (self.spend > 0) & (self.material | (self.leads > 0))


def account_cpl(panel: Panel, days: IntArray, *, back: int = 0) -> FloatArray:
    """The account's CPL of the week that ends `back` days before each day, shape (days,).

    Where the account had no lead in that week, of the longer time up to it that ends there and starts 28 days
    before the as-of day.
    """
    longer = max(_ACCOUNT_DAYS - max(back, 0), DAYS)
    spend, leads = panel.account["spend"], panel.account["leads"]
    week = divide(spend.last(DAYS, days, back=back), leads.last(DAYS, days, back=back))
    month = divide(spend.last(longer, days, back=back), leads.last(longer, days, back=back))
    return np.where(np.isnan(week), month, week)


def week(panel: Panel, days: IntArray, *, back: int = 0) -> Week:
    """The week that ends `back` days before each of `days` (negative: after), for every entity."""
    running = panel.running
    spend = running["spend"].last(DAYS, days, back=back)
    leads = running["leads"].last(DAYS, days, back=back)
    reference = account_cpl(panel, days, back=back)
    share = divide(spend, panel.account["spend"].last(DAYS, days, back=back))
    return Week(
        spend=spend,
        leads=leads,
        lead_days=running["lead_days"].last(DAYS, days, back=back),
        relative_cpl=divide(divide(spend, leads), reference),
        material=np.where(np.isnan(reference), share > _MATERIAL_SHARE, divide(spend, reference) > LOW),
    )


def earned(week: Week) -> IntArray:
    """The tier that the week itself earned, without the step for the trend, as `Tier.rank`."""
    # The comparisons are False where the relative CPL is missing.
    relative = week.relative_cpl
    return np.select(
        [
            (week.leads <= 0) & week.material,
            (relative <= HIGH) & (week.lead_days >= HIGH_LEAD_DAYS),
            (relative <= MODERATE) & (week.leads >= MODERATE_LEADS),
            (relative <= LOW) | ~week.judged,
        ],
        [Tier.UNDERPERFORMER.rank, Tier.HIGH_PERFORMER.rank, Tier.MODERATE.rank, Tier.LOW.rank],
        default=Tier.UNDERPERFORMER.rank,
    ).astype(np.int64)


def alone(panel: Panel, days: IntArray) -> BoolArray:
    """Whether the account's spend of the week is an entity's own, shape (entities, days)."""
    own, account = panel.running["spend"].last(DAYS, days), panel.account["spend"].last(DAYS, days)
    return (own > 0) & (account > 0) & (own >= (1 - _OTHERS_SHARE) * account)


def step(panel: Panel, days: IntArray) -> IntArray:
    """The step for the trend: 1 a tier worse, -1 better. None for who is alone: the account moved with it."""
    running = panel.running
    spend, leads = (
        [running[name].last(DAYS, days, back=back) for back in (0, DAYS)] for name in ("spend", "leads")
    )
    # NaN, and so no step, where either week had no leads.
    trend = divide(divide(spend[0], leads[0]), divide(spend[1], leads[1])) - 1.0
    moved = (trend > _LOWERS_ABOVE).astype(np.int64) - (trend < _RAISES_BELOW)
    return np.where(alone(panel, days), 0, moved)


def stepped(tiers: IntArray, step: IntArray) -> IntArray:
    """Tiers after the step, held at the ends."""
    held: IntArray = np.clip(tiers + step, 0, len(TIERS) - 1)
    return held


def tiers(panel: Panel, days: IntArray) -> IntArray:
    """The rule's answer as of each day, as `Tier.rank`, shape (entities, days)."""
    return stepped(earned(week(panel, days)), step(panel, days))
