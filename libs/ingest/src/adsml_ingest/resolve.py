"""One row per entity and day out of all the rows that an export holds for it.

A row fetched again later replaces the earlier one. Rows that say the same collapse. The parts of a breakdown
are summed, except reach, which counts people and can't be. Contradictions are refused, both lines named.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import METRICS
from adsml_ingest.staging import DAILY, LEAD_TOTAL, Rows, empty_rows, group_starts

SUMMED: Final = ("spend", "impressions", "clicks", "leads")
_DECIMALS: Final = 6
"""Sums are rounded to these, so that they don't depend on the order of what is added."""

Keys = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Resolved:
    """What became of some staged rows.

    Attributes
    ----------
    rows
        One per entity and day, sorted by them.
    superseded
        Number of rows that a later fetch replaced.
    duplicates
        Number of rows that said what another one said.
    summed
        Number of rows of breakdowns that went into sums.
    conflicts
        Pairs of staged rows that contradict each other; nothing of their entity and day is in `rows`.
    rejected
        All staged rows of those entities and days.
    stray_actions, stray_leads
        Number of actions without a daily row, and their leads.
    """

    rows: Rows
    superseded: int
    duplicates: int
    summed: int
    conflicts: list[tuple[Any, Any]]
    rejected: Rows
    stray_actions: int = 0
    stray_leads: float = 0.0


def resolve(staged: Rows) -> Resolved:
    """Settle the rows of some entities.

    Parameters
    ----------
    staged
        All rows of each of these entities, in any order.
    """
    groups = [staged[name] for name in ("cell", "cut", "kind", "day", "entity")]
    # Within a group: fetched last first, then known reach before unknown, then as in the files.
    within = [staged["line"], staged["file"], np.isnan(staged["reach"]), -staged["stamp"]]
    rows = staged[np.lexsort((*within, *groups))]
    first = _first_of(rows, "entity", "day", "kind", "cut", "cell")
    current = rows["stamp"] == rows["stamp"][first]
    same = _equal(rows, rows[first])
    clash = np.flatnonzero(current & ~same)
    alone = first == np.arange(len(rows))
    daily, actions = rows[alone & (rows["kind"] == DAILY)], rows[alone & (rows["kind"] != DAILY)]

    totals = _sum(daily, "entity", "day", "cut")
    above = _first_of(totals, "entity", "day")
    differ = np.flatnonzero(~_close(totals, totals[above]))
    unique = totals[above == np.arange(len(totals))]

    wrong = np.unique(np.concatenate([day_keys(rows[clash]), day_keys(totals[differ])]))
    bad = np.isin(day_keys(unique), wrong)
    found = Resolved(
        rows=unique[~bad],
        superseded=int(np.count_nonzero(~current)),
        duplicates=int(np.count_nonzero(current & same & ~alone)) + len(totals) - len(unique) - len(differ),
        summed=int(np.count_nonzero(daily["cut"] > 0)),
        conflicts=[(rows[first[index]], rows[index]) for index in clash]
        + [(totals[above[index]], totals[index]) for index in differ],
        rejected=staged[np.isin(day_keys(staged), wrong)] if len(wrong) else empty_rows(0),
    )
    _add_leads(found, actions, wrong)
    return found


def day_keys(rows: Rows) -> Keys:
    """One number per entity and day."""
    keys: Keys = (rows["entity"].astype(np.int64) << 32) | rows["day"].astype(np.int64)
    return keys


def sum_by_day(rows: Rows) -> Rows:
    """Sums of rows per entity and day, sorted by them; reach is unknown."""
    totals = _sum(
        rows[np.lexsort((rows["line"], rows["file"], rows["day"], rows["entity"]))], "entity", "day"
    )
    totals["reach"] = np.nan
    return totals


def _first_of(rows: Rows, *keys: str) -> npt.NDArray[np.intp]:
    """For each sorted row, the index of the first row of its group."""
    starts = group_starts(*(rows[key] for key in keys))
    return np.repeat(starts, np.diff(np.append(starts, len(rows))))


def _equal(rows: Rows, others: Rows) -> Mask:
    """Where two rows say the same; an unknown reach contradicts nothing."""
    same = np.ones(len(rows), dtype=np.bool_)
    for name in METRICS:
        same &= (rows[name] == others[name]) | np.isnan(rows[name]) | np.isnan(others[name])
    return same


def _close(rows: Rows, others: Rows) -> Mask:
    """Where two sums are the same, as far as sums of decimal fractions can be."""
    same = np.ones(len(rows), dtype=np.bool_)
    for name in SUMMED:
        same &= np.isclose(rows[name], others[name], rtol=1e-9, atol=1e-6)
    return same


def _sum(rows: Rows, *keys: str) -> Rows:
    """Sums of sorted rows per group; single rows stay as they are."""
    starts = group_starts(*(rows[key] for key in keys))
    totals = rows[starts]
    if not len(rows):
        return totals
    for name in SUMMED:
        sums = np.add.reduceat(rows[name], starts)
        several = np.diff(np.append(starts, len(rows))) > 1
        totals[name] = np.where(several, np.round(sums, _DECIMALS), sums)
    totals["reach"] = np.where(totals["cut"] > 0, np.nan, totals["reach"])
    return totals


def _add_leads(found: Resolved, actions: Rows, wrong: Keys) -> None:
    """Add the leads of an actions table to the daily rows: the total where there is one, else its parts."""
    if not len(actions):
        return
    starts = group_starts(actions["entity"], actions["day"])
    keys = day_keys(actions[starts])
    is_total = actions["kind"] == LEAD_TOTAL
    totals = np.add.reduceat(np.where(is_total, actions["leads"], 0.0), starts)
    parts = np.add.reduceat(np.where(is_total, 0.0, actions["leads"]), starts)
    has_total = np.add.reduceat(is_total.astype(np.int64), starts) > 0
    leads = np.where(has_total, totals, parts)
    mine = day_keys(found.rows)
    at = np.searchsorted(mine, keys)
    hit = np.zeros(len(keys), dtype=np.bool_)
    inside = at < len(mine)
    hit[inside] = mine[at[inside]] == keys[inside]
    found.rows["leads"][at[hit]] += leads[hit]
    stray = ~hit & ~np.isin(keys, wrong)
    sizes = np.diff(np.append(starts, len(actions)))
    found.stray_actions = int(sizes[stray].sum())
    found.stray_leads = float(leads[stray].sum())
