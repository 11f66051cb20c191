"""What calling tiers is worth in money: costs per lead of what is called high and low, and leads gained by moving budget.

F1 counts answers and not money: to take the account's largest ad set for a weak one costs as much there as to mistake
its smallest. Here each call is followed by money. Figures are taken over the week after the as-of day, which nobody
knew, at each entity's own rate of leads for spend.
"""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from adsml_common.domain.metrics import divide
from adsml_common.domain.tiers import Tier

from adsml_classifier.models.panel import FloatArray, IntArray

MOVED_SHARE: Final = 0.2
"""Share of each week's budget that is moved."""

_HIGH, _MODERATE, _LOW, _UNDER = (
    tier.rank for tier in (Tier.HIGH_PERFORMER, Tier.MODERATE, Tier.LOW, Tier.UNDERPERFORMER)
)


@dataclass(frozen=True)
class NextWeek:
    """The week after each sample's as-of day, arrays of shape (samples,).

    Attributes
    ----------
    spend
        In the account's currency.
    leads
        Realised, or expected where the truth is known.
    group
        Samples of one account, level and as-of day, between whom budget can be moved: numbers from 0.
    """

    spend: FloatArray
    leads: FloatArray
    group: IntArray


@dataclass(frozen=True, slots=True)
class Worth:
    """What a set of calls is worth.

    Attributes
    ----------
    high_cpl, low_cpl
        Next week's cost per lead of what is called HIGH_PERFORMER and of what is called LOW or UNDERPERFORMER, ratios of
        sums; None without leads.
    high_spend_share, low_spend_share
        Their shares of the spend.
    leads_gained_share
        Leads gained by moving budget, as a share of the leads there were.
    """

    high_cpl: float | None
    low_cpl: float | None
    high_spend_share: float
    low_spend_share: float
    leads_gained_share: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)


def of_calls(tier: IntArray, week: NextWeek) -> Worth:
    """The worth of calling each sample a tier.

    Parameters
    ----------
    tier
        The call, `Tier.rank`, shape (samples,).
    week
        What came.
    """
    high, low = tier == _HIGH, tier >= _LOW
    spend, leads = float(week.spend.sum()), float(week.leads.sum())
    return Worth(
        high_cpl=_ratio(week.spend[high].sum(), week.leads[high].sum()),
        low_cpl=_ratio(week.spend[low].sum(), week.leads[low].sum()),
        high_spend_share=float(week.spend[high].sum() / spend) if spend else 0.0,
        low_spend_share=float(week.spend[low].sum() / spend) if spend else 0.0,
        leads_gained_share=float(leads_gained(tier, week).sum() / leads) if leads else 0.0,
    )


def leads_gained(tier: IntArray, week: NextWeek, *, share: float = MOVED_SHARE) -> FloatArray:
    """Leads gained in each group by moving a share of its budget from what is called low to what is called high.

    It is taken from UNDERPERFORMER, then from LOW, all that they have at most; it goes to HIGH_PERFORMER, or to MODERATE
    where there is none, in proportion to what they spend. Where either side is empty nothing moves. Leads go with
    the money at the entities' own rates of that week.
    """
    count = int(week.group.max(initial=-1)) + 1

    def sums(mask: np.ndarray, values: FloatArray) -> FloatArray:
        return np.bincount(week.group[mask], weights=values[mask], minlength=count)

    spend = {rank: sums(tier == rank, week.spend) for rank in (_HIGH, _MODERATE, _LOW, _UNDER)}
    rate = {
        rank: np.nan_to_num(divide(sums(tier == rank, week.leads), spend[rank]))
        for rank in (_HIGH, _MODERATE, _LOW, _UNDER)
    }
    budget = share * np.bincount(week.group, weights=week.spend, minlength=count)
    budget = np.where(spend[_HIGH] + spend[_MODERATE] > 0, budget, 0.0)
    from_under = np.minimum(budget, spend[_UNDER])
    from_low = np.minimum(budget - from_under, spend[_LOW])
    receiving = np.where(spend[_HIGH] > 0, rate[_HIGH], rate[_MODERATE])
    gained: FloatArray = (
        (from_under + from_low) * receiving - from_under * rate[_UNDER] - from_low * rate[_LOW]
    )
    return gained


def _ratio(spend: float, leads: float) -> float | None:
    return float(spend / leads) if leads > 0 else None
