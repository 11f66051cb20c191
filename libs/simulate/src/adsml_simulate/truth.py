"""The truth that no export shows: the means behind every row, lasting tiers, and what each change did.

A change's effect is the difference to the same account, with the same chance (common random numbers), without that
change.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric, divide, value
from adsml_common.domain.tiers import Tier

from adsml_simulate.chance import FloatArray, IntArray
from adsml_simulate.delivery import Delivery, deliver
from adsml_simulate.environment import Environment
from adsml_simulate.frames import LEVELS, long, sum_up
from adsml_simulate.plan import compile_plan
from adsml_simulate.settings import AccountSettings, PlannedChange
from adsml_simulate.tree import Tree

TIER_WINDOW_DAYS: Final = 7
TIER_BOUNDS: Final = (0.7, 1.0, 1.5)
"""Upper bounds, on CPL over the account's, of HIGH_PERFORMER, MODERATE and LOW."""
WINDOWS: Final = (7, 14)
"""Days after the change over which effects are summed up."""
METRICS: Final = tuple(metric for metric in Metric if metric is not Metric.FREQUENCY)
_NAMES: Final = np.array([tier.value for tier in Tier], dtype=object)
_SUMMED: Final = ["spend", "impressions", "clicks", "leads"]


def _trailing(values: FloatArray) -> FloatArray:
    """Sums over the last seven days along the days (fewer at the start)."""
    total = np.cumsum(values, axis=1)
    total[:, TIER_WINDOW_DAYS:] -= total[:, :-TIER_WINDOW_DAYS].copy()
    return total


def _tiers(relative_cpl: FloatArray) -> npt.NDArray[np.object_]:
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
    shown = counts.impressions.astype(np.float64)
    learning = spend * run.learning[tree.adset_of_ad]
    by_ad = (spend, shown, clicks, leads, lasting, shown * run.fatigue, learning)
    columns: dict[EntityType, dict[str, npt.NDArray[np.generic]]] = {}
    for level in LEVELS:
        spent, shown, clicked, led, lasted, fatigue, learning = (sum_up(tree, one, level) for one in by_ad)
        columns[level] = {
            "expected_clicks": clicked,
            "expected_leads": led,
            "ctr": divide(clicked, shown, scale=100.0),
            "conversion_rate": divide(led, clicked, scale=100.0),
            "cpl": divide(spent, led),
            "lasting_cpl": divide(spent, lasted),
            "tier": _tiers(divide(_trailing(spent), _trailing(lasted)) / account_cpl),
            "fatigue": divide(fatigue, shown),
            "learning": divide(learning, spent),
        }
    return long(tree, counts, first_day, columns)


def _series(run: Delivery, ads: IntArray) -> FloatArray:
    """Sums over ads of spend, impressions, clicks, leads, expected clicks and expected leads; (6, T)."""
    counts = run.counts
    shown = counts.impressions[ads]
    clicks = shown * run.ctr[ads]
    drawn = (counts.cents[ads], shown, counts.clicks[ads], counts.leads[ads])
    summed = np.stack([part.sum(axis=0) for part in (*drawn, clicks, clicks * run.conversion[ads])])
    summed[0] /= 100.0
    return summed


def effects(
    tree: Tree,
    settings: AccountSettings,
    environment: Environment,
    run: Delivery,
    planned: Sequence[PlannedChange],
    numbers: Sequence[int],
) -> pd.DataFrame:
    """What each change did: the account against the account without it, other changes as they were.

    `numbers` are the changes' positions in the account's change log.

    Returns
    -------
    frame
        One row per ``change`` (its number), ``scope`` (``entity``: the one changed, its ``campaign``, or the
        ``account``), ``days`` (the first 7 or 14 of the change) and ``metric``. ``expected_with`` and ``_without``,
        ``absolute``, ``relative``: from expected clicks and leads, so without sampling noise; ``realised_with``,
        ``realised_without``: from the counts. Counts and money are sums over the window, ratios are ratios of sums;
        ``relative`` 0.2 means 20% more; missing where a denominator is 0. Windows that end after the data are absent.
    """
    keys: list[tuple[int, str, int]] = []
    sums: list[FloatArray] = []
    for k, change in enumerate(planned):
        position = tree.position(change.entity_type, change.entity_id)
        other_run = run
        if not change.placebo:
            others = [other for j, other in enumerate(planned) if j != k]
            other_run = deliver(
                tree, settings, environment, compile_plan(tree, settings, environment, others)
            )
        first = settings.index(change.date)
        campaign = tree.campaign_of(change.entity_type, position)
        scopes = {
            "entity": tree.below(change.entity_type, position),
            "campaign": tree.below(EntityType.CAMPAIGN, campaign),
            "account": np.arange(len(tree.ad_ids)),
        }
        for scope, ads in scopes.items():
            both = np.stack([_series(one, ads) for one in (run, other_run)])
            for days in WINDOWS:
                if first + days <= settings.days:
                    keys.append((numbers[k], scope, days))
                    sums.append(both[:, :, first : first + days].sum(axis=2))
    by_side = np.array(sums).reshape(-1, 2, 6)

    def of(metric: Metric, side: int, columns: list[int]) -> FloatArray:
        return value(metric, pd.DataFrame(by_side[:, side, columns], columns=_SUMMED))

    parts: list[pd.DataFrame] = []
    for metric in METRICS:
        with_, without = (of(metric, side, [0, 1, 4, 5]) for side in (0, 1))
        frame = pd.DataFrame(keys, columns=["change", "scope", "days"]).assign(metric=metric.value)
        relative = np.divide(with_ - without, without, out=np.full_like(without, np.nan), where=without != 0)
        frame = frame.assign(expected_with=with_, expected_without=without, absolute=with_ - without)
        realised = {
            f"realised_{name}": of(metric, side, [0, 1, 2, 3])
            for side, name in enumerate(("with", "without"))
        }
        parts.append(frame.assign(relative=relative, **realised))
    return pd.concat(parts).sort_values(["change", "scope", "days"], kind="stable", ignore_index=True)
