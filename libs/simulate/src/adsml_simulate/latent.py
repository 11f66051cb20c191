"""The truth behind every row: expected counts and rates, lasting cost per lead, and the tier it makes."""

from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import divide
from adsml_common.domain.tiers import Tier

from adsml_simulate.arrays import FloatArray
from adsml_simulate.delivery import Delivery
from adsml_simulate.frames import LEVELS, long, sum_up
from adsml_simulate.tree import Tree

TIER_WINDOW_DAYS = 7
TIER_BOUNDS = (0.7, 1.0, 1.5)
"""Upper bounds, on CPL over the account's, of HIGH_PERFORMER, MODERATE and LOW."""
_NAMES = np.array([tier.value for tier in Tier], dtype=object)


def _trailing(values: FloatArray) -> FloatArray:
    """Sums over the last seven days along the days (fewer at the start)."""
    total = np.cumsum(values, axis=1)
    total[:, TIER_WINDOW_DAYS:] -= total[:, :-TIER_WINDOW_DAYS].copy()
    return total


def tiers(relative_cpl: FloatArray) -> npt.NDArray[np.object_]:
    """Tier by CPL over the account's; missing counts as worst."""
    bounded = np.where(np.isnan(relative_cpl), np.inf, relative_cpl)
    # A bound itself belongs to the better tier, as in the rule that people use.
    return _NAMES[np.searchsorted(TIER_BOUNDS, bounded, side="left")]


def latent(tree: Tree, run: Delivery, first_day: date) -> pd.DataFrame:
    """One row per entity and day of delivery, in the daily frame's order.

    Returns
    -------
    frame
        ``expected_clicks``, ``expected_leads``: means of the counts given the day's impressions and rates.
        ``ctr`` and ``conversion_rate`` (percent), ``cpl`` (currency): ratios of these, and of day's spend.
        ``lasting_cpl`` (currency): CPL without season, market, noise and learning.
        ``tier``: from the lasting CPL over the last seven days (ratio of sums) against the account's.
        ``fatigue``: factor on the click rate, averaged over expected impressions; ``learning``: share of the
        learning phase still ahead, averaged over spend.
    """
    counts = run.counts
    spend = counts.cents / 100.0
    clicks = counts.impressions * run.ctr
    leads = clicks * run.conversion
    lasting = spend * run.lasting
    account_spend = _trailing(spend.sum(axis=0, keepdims=True))
    account_cpl = divide(account_spend, _trailing(lasting.sum(axis=0, keepdims=True)))
    columns: dict[EntityType, dict[str, npt.NDArray[np.generic]]] = {}
    for level in LEVELS:

        def total(values: npt.NDArray[np.generic], level: EntityType = level) -> FloatArray:
            return np.asarray(sum_up(tree, values, level), dtype=np.float64)

        level_spend, level_lasting = total(spend), total(lasting)
        level_impressions, level_clicks, level_leads = total(counts.impressions), total(clicks), total(leads)
        week_cpl = divide(_trailing(level_spend), _trailing(level_lasting))
        columns[level] = {
            "expected_clicks": level_clicks,
            "expected_leads": level_leads,
            "ctr": divide(level_clicks, level_impressions, scale=100.0),
            "conversion_rate": divide(level_leads, level_clicks, scale=100.0),
            "cpl": divide(level_spend, level_leads),
            "lasting_cpl": divide(level_spend, level_lasting),
            "tier": tiers(week_cpl / account_cpl),
            "fatigue": divide(total(counts.impressions * run.fatigue), level_impressions),
            "learning": divide(total(spend * run.learning[tree.adset_of_ad]), level_spend),
        }
    return long(tree, counts, first_day, columns)
