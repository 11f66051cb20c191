"""From ads' counts to the daily frame of all three levels."""

from collections.abc import Mapping
from datetime import date
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.daily import COLUMNS
from adsml_common.domain.entities import EntityType

from adsml_simulate.chance import BoolArray, FloatArray, IntArray
from adsml_simulate.delivery import Counts
from adsml_simulate.tree import Tree

Number = TypeVar("Number", bound=np.generic)
LEVELS = (EntityType.AD, EntityType.ADSET, EntityType.CAMPAIGN)
"""In the order of their names, which is the daily frame's."""
_OVERLAP = 0.7
"""People of a campaign over the sum of its ad sets' people."""


def sum_up(tree: Tree, by_ad: npt.NDArray[Number], level: EntityType) -> npt.NDArray[Number]:
    """Sums of (A, T) arrays over the ads of each entity of a level."""
    if level is EntityType.AD:
        return by_ad
    by_adset: npt.NDArray[Number] = np.add.reduceat(by_ad, tree.adset_starts, axis=0)
    if level is EntityType.ADSET:
        return by_adset
    by_campaign: npt.NDArray[Number] = np.add.reduceat(by_adset, tree.campaign_starts, axis=0)
    return by_campaign


def present(tree: Tree, counts: Counts, level: EntityType) -> BoolArray:
    """Whether an entity of a level has a row on a day."""
    return sum_up(tree, counts.delivered.astype(np.int64), level) > 0


def reach(tree: Tree, impressions: IntArray, audience: FloatArray) -> dict[EntityType, FloatArray]:
    """People reached on a day at every level, each (entities, T); whole numbers.

    Impressions fall at random on the people in reach, so ``reach = N (1 - exp(-impressions / N))``: below the
    impressions, and the parent's between its children's largest and their sum.
    """

    def met(shown: FloatArray, people: FloatArray) -> FloatArray:
        return np.rint(-people * np.expm1(-shown / people))

    of = tree.adset_of_ad
    ads = np.minimum(met(impressions.astype(np.float64), audience[of]), impressions)
    by_adset, by_campaign = (
        sum_up(tree, impressions.astype(np.float64), level)
        for level in (EntityType.ADSET, EntityType.CAMPAIGN)
    )
    adsets = np.minimum(met(by_adset, audience), np.add.reduceat(ads, tree.adset_starts, axis=0))
    starts = tree.campaign_starts
    people = np.maximum(
        _OVERLAP * np.add.reduceat(audience, starts, axis=0), np.maximum.reduceat(audience, starts, axis=0)
    )
    campaigns = np.minimum(met(by_campaign, people), np.add.reduceat(adsets, starts, axis=0))
    return {EntityType.AD: ads, EntityType.ADSET: adsets, EntityType.CAMPAIGN: campaigns}


def long(
    tree: Tree,
    counts: Counts,
    first_day: date,
    columns: Mapping[EntityType, Mapping[str, npt.NDArray[np.generic]]],
) -> pd.DataFrame:
    """Stack (entities, T) arrays of all levels into rows sorted by entity and day, on days of delivery."""
    parts: dict[str, list[npt.NDArray[np.generic]]] = {"entity_type": [], "entity_id": [], "date": []}
    days = (pd.date_range(first_day, periods=counts.cents.shape[1])).to_numpy(dtype="datetime64[ns]")
    for level in LEVELS:
        rows, at = np.nonzero(present(tree, counts, level))
        parts["entity_type"].append(np.full(rows.size, level.value, dtype=object))
        parts["entity_id"].append(np.array(tree.ids(level), dtype=object)[rows])
        parts["date"].append(days[at])
        for name, values in columns[level].items():
            parts.setdefault(name, []).append(values[rows, at])
    return pd.DataFrame({name: np.concatenate(arrays) for name, arrays in parts.items()})


def daily(tree: Tree, counts: Counts, audience: FloatArray, first_day: date) -> pd.DataFrame:
    """The daily frame (see `adsml_common.domain.daily`), already normalised.

    A row is there on days with delivery. Parents are exactly the sums of their children (spend to the cent),
    but for ``reach``.
    """
    reached = reach(tree, counts.impressions, audience)
    columns = {
        level: {
            "spend": sum_up(tree, counts.cents, level) / 100.0,
            **{
                name: sum_up(tree, getattr(counts, name), level).astype(np.float64)
                for name in ("impressions", "clicks", "leads")
            },
            "reach": reached[level],
        }
        for level in LEVELS
    }
    return long(tree, counts, first_day, columns)[list(COLUMNS)]
