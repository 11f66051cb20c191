"""One row per entity and day out of all the rows that an export holds for it.

A row fetched again later replaces the earlier one. Rows that say the same collapse. The parts of a breakdown
are summed, except reach, which counts people and can't be. Contradictions are refused, both lines named.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import METRICS
from adsml_ingest.breakdowns import CutLeads
from adsml_ingest.staging import DAILY, LEAD_TOTAL, Rows, empty_rows, group_starts

SUMMED: Final = ("spend", "impressions", "clicks", "leads")
_SYNC_GAP: Final = 900.0
"""Seconds between rows of one entity and day that can't belong to one sync."""
_TOLERANCE: Final = 0.01
_ROUNDING: Final = 0.02
_DECIMALS: Final = 6
"""Sums are rounded to these, so that they don't depend on the order of what is added."""

Keys = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Resolved:
    """What became of some staged rows."""

    rows: Rows  # one per entity and day, sorted by them; leads are NaN where no row tells them
    conflicts: list[tuple[Any, Any]]
    """Pairs of staged rows, or sums, that contradict each other; nothing of their entity and day is in `rows`."""
    copies: list[tuple[Any, Any]]  # pairs of rows of one file that say the same
    rejected: Rows  # all staged rows of the entities and days of conflicts
    counts: Counter[str]
    """``superseded``: rows that a later fetch replaced; ``duplicates``: rows that said what another said; ``summed``:
    rows of breakdowns that went into sums; ``conflicts``; ``stray_actions``: actions without a daily row."""
    stray_leads: float = 0.0  # of the stray actions


def resolve(staged: Rows, cut_leads: npt.NDArray[np.int8], *, by_name: Collection[int] = ()) -> Resolved:
    """Settle all rows of some entities, in any order.

    Parameters
    ----------
    cut_leads
        What each way to part a day says of leads, by its number: `breakdowns.CutLeads`.
    by_name
        Files that name entities by name only: two equal rows of one are two entities of one name, no copies.
    """
    staged, stale = _last_syncs(staged)
    groups = [staged[name] for name in ("cell", "cut", "kind", "day", "entity")]
    # Within a group: fetched last first, then known reach before unknown, then as in the files.
    within = [staged["line"], staged["file"], np.isnan(staged["reach"]), -staged["stamp"]]
    rows = staged[np.lexsort((*within, *groups))]
    first = _first_of(rows, "entity", "day", "kind", "cut", "cell")
    current = rows["stamp"] == rows["stamp"][first]
    same = _equal(rows, rows[first])
    alone = first == np.arange(len(rows))
    twin = ~alone & (rows["file"] == rows["file"][first]) & np.isin(rows["file"], list(by_name))
    clash = np.flatnonzero(current & (~same | twin))
    copies = np.flatnonzero(current & same & ~alone & ~twin & (rows["file"] == rows["file"][first]))
    daily, actions = rows[alone & (rows["kind"] == DAILY)], rows[alone & (rows["kind"] != DAILY)]

    totals = _sum(daily, "entity", "day", "cut")
    said = cut_leads[totals["cut"]]
    untold = (said >= CutLeads.UNTOLD) | ((said == CutLeads.MAYBE) & (totals["leads"] == 0))
    totals["leads"] = np.where(untold, np.nan, totals["leads"])
    # The total first, then breakdowns that tell leads.
    totals = totals[np.lexsort((totals["cut"], np.isnan(totals["leads"]), totals["day"], totals["entity"]))]
    above = _first_of(totals, "entity", "day")
    differ = np.flatnonzero(_contradicts(totals, totals[above], cut_leads[totals["cut"]]))
    unique = totals[above == np.arange(len(totals))]

    wrong = np.unique(np.concatenate([day_keys(rows[clash]), day_keys(totals[differ])]))
    bad = np.isin(day_keys(unique), wrong)
    conflicts = [(rows[first[index]], rows[index]) for index in clash]
    conflicts += [(totals[above[index]], totals[index]) for index in differ]
    same_said = int(np.count_nonzero(current & same & ~alone & ~twin))
    resolved = Resolved(
        unique[~bad],
        conflicts,
        [(rows[first[index]], rows[index]) for index in copies],
        staged[np.isin(day_keys(staged), wrong)] if len(wrong) else empty_rows(0),
        Counter(
            superseded=int(np.count_nonzero(~current)) + stale,
            duplicates=same_said + len(totals) - len(unique) - len(differ),
            summed=int(np.count_nonzero(daily["cut"] > 0)),
            conflicts=len(conflicts),
        ),
    )
    _add_leads(resolved, actions, wrong)
    return resolved


def _last_syncs(staged: Rows) -> tuple[Rows, int]:
    """Without the parts of a day that an earlier sync brought; how many those were.

    A sync speaks for the whole day of an entity: what it no longer holds is gone. The parts of one sync are
    stamped as they come, within minutes.
    """
    parts = np.flatnonzero((staged["cut"] > 0) & (staged["stamp"] > 0) & (staged["kind"] == DAILY))
    if not len(parts):
        return staged, 0
    rows = staged[parts]
    order = np.lexsort((-rows["stamp"], rows["cut"], rows["day"], rows["entity"]))
    rows = rows[order]
    starts = group_starts(rows["entity"], rows["day"], rows["cut"])
    gap = np.zeros(len(rows), dtype=np.int64)
    gap[1:] = (rows["stamp"][:-1] - rows["stamp"][1:]) > _SYNC_GAP
    gap[starts] = 0
    passed = np.cumsum(gap)
    earlier = passed > np.repeat(passed[starts], np.diff(np.append(starts, len(rows))))
    keep = np.ones(len(staged), dtype=np.bool_)
    keep[parts[order[earlier]]] = False
    return staged[keep], int(np.count_nonzero(earlier))


def day_keys(rows: Rows) -> Keys:
    """One number per entity and day."""
    keys: Keys = (rows["entity"].astype(np.int64) << 32) | rows["day"].astype(np.int64)
    return keys


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


def _contradicts(rows: Rows, others: Rows, said: npt.NDArray[np.int8]) -> Mask:
    """Where the sums of a breakdown are not those of the total, or of another breakdown, beside it.

    Each part is rounded for itself, hence a tolerance. Leads that a breakdown can't tell contradict nothing,
    nor does a breakdown of a part of the delivery, nor one that was fetched long before what stands beside it.
    """
    differ = np.zeros(len(rows), dtype=np.bool_)
    for name in SUMMED:
        near = np.isclose(
            rows[name], others[name], rtol=_TOLERANCE, atol=_ROUNDING if name == "spend" else 1e-6
        )
        differ |= ~near & ~np.isnan(rows[name]) & ~np.isnan(others[name])
    stale = (rows["stamp"] > 0) & (others["stamp"] - rows["stamp"] > _SYNC_GAP)
    found: Mask = differ & ~stale & (said != CutLeads.PARTIAL)
    return found


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
    found.counts["stray_actions"] = int(sizes[stray].sum())
    found.stray_leads = float(leads[stray].sum())
