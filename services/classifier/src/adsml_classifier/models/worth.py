"""What calling tiers is worth in money: cost per lead of what is called high and low, leads gained by moving budget.

F1 counts answers and not money: to take the account's largest ad set for a weak one costs as much there as to mistake
its smallest. Here each call is followed by money, over the week after the as-of day, at each entity's own leads for
spend.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.tiers import Tier

from adsml_classifier.models.panel import FloatArray, IntArray

MOVED_SHARE: Final = 0.2
"""Share of each week's budget that is moved."""


@dataclass(frozen=True)
class NextWeek:
    """The week after each sample's as-of day, arrays of shape (samples,)."""

    spend: FloatArray
    leads: FloatArray  # realised, or expected where the truth is known
    group: IntArray  # samples of one account, level and as-of day, between whom budget can be moved: from 0


@dataclass(frozen=True, slots=True)
class Worth:
    """What a forecast of tiers is worth.

    CPL is next week's, of what is called HIGH_PERFORMER, and of what is called LOW or UNDERPERFORMER: ratios of sums,
    None without leads. Leads gained are a share of the leads there were, see `leads_gained`; `_by_tier` by the called
    tiers alone, whatever their probabilities.
    """

    high_cpl: float | None
    low_cpl: float | None
    leads_gained_share: float
    leads_gained_share_by_tier: float


def of_probabilities(probabilities: FloatArray, week: NextWeek) -> Worth:
    """The worth of a forecast.

    `probabilities` of the tiers from best to worst, shape (samples, 4); ones and zeros for calls without
    probabilities.
    """
    tier = probabilities.argmax(axis=1)
    ranks = np.arange(probabilities.shape[1], dtype=np.float64)
    leads = max(float(week.leads.sum()), 1e-12)
    return Worth(
        high_cpl=_cpl(tier == Tier.HIGH_PERFORMER.rank, week),
        low_cpl=_cpl(tier >= Tier.LOW.rank, week),
        leads_gained_share=leads_gained(probabilities @ ranks, week) / leads,
        leads_gained_share_by_tier=leads_gained(tier.astype(np.float64), week) / leads,
    )


def leads_gained(rank: FloatArray, week: NextWeek) -> float:
    """Leads gained by moving `MOVED_SHARE` of each group's budget from the worst to the best.

    Money leaves the worst first, all of it at most, and goes to the best first, who at most double; those that rank
    alike give and take in proportion to what they spend. Leads go with the money at each entity's own rate.

    `rank` is the expected tier of each sample, 0 best to 3 worst, shape (samples,); to 6 digits.
    """
    rank = np.round(rank, 6)
    gained = 0.0
    order = np.argsort(week.group, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(week.group[order])) + 1):
        spend, leads = week.spend[part], week.leads[part]
        budget = MOVED_SHARE * float(spend.sum())
        moved = _filled(rank[part], spend, budget) - _filled(-rank[part], spend, budget)
        gained += float(moved @ leads)
    return gained


def _filled(rank: FloatArray, spend: FloatArray, budget: float) -> FloatArray:
    """Share of each one's spend that makes up a budget, lowest rank first, equal ranks together."""
    ranks, place = np.unique(rank, return_inverse=True)
    by_rank = np.bincount(place, weights=spend, minlength=len(ranks))
    before = np.cumsum(by_rank) - by_rank
    taken = np.clip(budget - before, 0.0, by_rank)
    share: FloatArray = np.divide(taken, by_rank, out=np.zeros_like(by_rank), where=by_rank > 0)[place]
    return share


def _cpl(called: np.ndarray, week: NextWeek) -> float | None:
    leads = float(week.leads[called].sum())
    return float(week.spend[called].sum()) / leads if leads > 0 else None
