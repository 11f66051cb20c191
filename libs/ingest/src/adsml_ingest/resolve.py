"""One row per entity and day out of all the rows that an export holds for it.

A row fetched again later replaces the earlier one. Rows that say the same collapse. The parts of a breakdown are
summed, except reach, which counts people and can't be. Contradictions are refused, both lines named.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest import dates, numerals
from adsml_ingest.batch import LEVELS, METRICS, Batch, CutLeads, Table
from adsml_ingest.numerals import BoolArray
from adsml_ingest.problems import Problem
from adsml_ingest.staging import DAILY, LEAD_TOTAL, Rows, empty_rows, group_starts
from adsml_ingest.state import ImportState

SUMMED: Final = ("spend", "impressions", "clicks", "leads")
_SYNC_GAP: Final = 900.0  # seconds between rows of one entity and day that can't belong to one sync
_TOLERANCE: Final = 0.01
_ROUNDING: Final = 0.02
_DECIMALS: Final = 6  # sums are rounded to these, so that they don't depend on the order of what is added

Keys = npt.NDArray[np.int64]
LOOKED_AT: Final = 20_000  # pairs of rows of a file: if none of so many differs by a column, none does
Pair = tuple[Any, Any]


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
        What each way to part a day says of leads, by its number: `batch.CutLeads`.
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
    pairs = [(rows[name], rows[name][first]) for name in METRICS]
    # An unknown reach contradicts nothing.
    same = np.all([(one == other) | np.isnan(one) | np.isnan(other) for one, other in pairs], axis=0)
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
    first = _first_of(rows, "entity", "day", "cut")
    gap = np.diff(rows["stamp"], prepend=rows["stamp"][:1]) < -_SYNC_GAP
    passed = np.cumsum(gap & (first != np.arange(len(rows))))
    earlier = passed > passed[first]
    keep = np.ones(len(staged), dtype=np.bool_)
    keep[parts[order[earlier]]] = False
    return staged[keep], int(np.count_nonzero(earlier))


def day_keys(rows: Rows) -> Keys:
    """One number per entity and day."""
    return (rows["entity"].astype(np.int64) << 32) | rows["day"].astype(np.int64)


def _first_of(rows: Rows, *keys: str) -> npt.NDArray[np.intp]:
    """For each sorted row, the index of the first row of its group."""
    starts = group_starts(*(rows[key] for key in keys))
    return np.repeat(starts, np.diff(np.append(starts, len(rows))))


def _contradicts(rows: Rows, others: Rows, said: npt.NDArray[np.int8]) -> BoolArray:
    """Where the sums of a breakdown are not those of the total, or of another breakdown, beside it.

    Each part is rounded for itself, hence a tolerance. Leads that a breakdown can't tell contradict nothing,
    nor does a breakdown of a part of the delivery, nor one that was fetched long before what stands beside it.
    """
    differ = np.zeros(len(rows), dtype=np.bool_)
    for name in SUMMED:
        slack = _ROUNDING if name == "spend" else 1e-6
        near = np.isclose(rows[name], others[name], rtol=_TOLERANCE, atol=slack)
        differ |= ~near & ~np.isnan(rows[name]) & ~np.isnan(others[name])
    stale = (rows["stamp"] > 0) & (others["stamp"] - rows["stamp"] > _SYNC_GAP)
    found: BoolArray = differ & ~stale & (said != CutLeads.PARTIAL)
    return found


def _sum(rows: Rows, *keys: str) -> Rows:
    """Sums of sorted rows per group; single rows stay as they are."""
    starts = group_starts(*(rows[key] for key in keys))
    totals = rows[starts]
    several = np.diff(np.append(starts, len(rows))) > 1
    for name in SUMMED if len(rows) else ():
        sums = np.add.reduceat(rows[name], starts)
        totals[name] = np.where(several, np.round(sums, _DECIMALS), sums)
    totals["reach"][totals["cut"] > 0] = np.nan
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
    hit = np.isin(keys, mine)
    found.rows["leads"][np.searchsorted(mine, keys[hit])] += leads[hit]
    stray = ~hit & ~np.isin(keys, wrong)
    sizes = np.diff(np.append(starts, len(actions)))
    found.counts["stray_actions"] = int(sizes[stray].sum())
    found.stray_leads = float(leads[stray].sum())


def report_clashes(state: ImportState, conflicts: list[Pair], copies: Mapping[int, list[Pair]]) -> None:
    """Report pairs of rows that contradict each other, and copies that are none: what tells them apart.

    Columns that the import does not use are not read for a million good rows. Where two rows of one file (`copies`: by
    its number) stand for one entity and day, it is read once more, and a column that tells them apart is named.
    """
    columns: dict[tuple[int, int], str] = {}
    own = [pair for pair in conflicts if pair[0]["file"] == pair[1]["file"]]
    for number in {*(int(one["file"]) for one, _ in own), *copies}:
        pairs = [pair for pair in own if pair[0]["file"] == number][:LOOKED_AT]
        columns |= _parting_columns(state, number, [*pairs, *copies.get(number, [])])

    def column_of(later: Any) -> str:
        return columns.get((int(later["file"]), int(later["line"])), "")

    apart = [pair for pairs in copies.values() for pair in pairs if column_of(pair[1])]
    state.counts.update(duplicates=-len(apart), conflicts=len(apart))
    for earlier, later in (*conflicts, *apart):
        state.problems.add(_problem(state, earlier, later, column_of(later)))


def _parting_columns(state: ImportState, number: int, pairs: list[Pair]) -> dict[tuple[int, int], str]:
    """By file and line of the later row of a pair, the unused column that tells it from the earlier."""
    table = state.files[number].table
    if table is None or not pairs:
        return {}
    rows = _rows_at(table, {int(row["line"]) for pair in pairs for row in pair})
    used = {str(name).casefold() for name in table.labels.values()}
    parting: dict[tuple[int, int], str] = {}
    for earlier, later in pairs:
        first, *others = _standing_for(state, rows, earlier, later) or [{}]
        columns = (
            name
            for other in others
            for name, value in other.items()
            if _tells_apart(name, first.get(name), value) and name.casefold() not in used
        )
        column = next(columns, None)
        if column is not None:
            parting[number, int(later["line"])] = column
    return parting


def _standing_for(
    state: ImportState, rows: dict[int, list[dict[str, Any]]], earlier: Any, later: Any
) -> list[dict[str, Any]]:
    """The rows of a pair; of all that begin on one line, as in JSON without line breaks, those of its entity."""
    lines = sorted({int(earlier["line"]), int(later["line"])})
    found = [one for line in lines for one in rows.get(line, [])]
    if len(found) <= 2:
        return found
    entity = state.tree.id_of(int(later["entity"]))
    day = dates.to_date(int(later["day"])).isoformat()

    def fits(row: dict[str, Any]) -> bool:
        texts = [str(value) for value in row.values()]
        return entity in texts and any(text.startswith(day) for text in texts)

    return [one for one in found if fits(one)]


def _problem(state: ImportState, earlier: Any, later: Any, column: str) -> Problem:
    code = int(later["entity"])
    one, other = state.files[int(earlier["file"])], state.files[int(later["file"])]
    entity_id, level = state.tree.id_of(code), LEVELS[state.tree.levels[code]]
    where = f"{one.place} {int(earlier['line'])}" + (f" of {one.path}" if one is not other else "")
    who = f"{level} {entity_id} on {dates.to_date(int(later['day']))}"
    cuts = [state.cuts[int(row["cut"])] for row in (earlier, later)]
    if column:
        what = f"{who} has several rows, told apart by the column '{column}', which is not used"
        cure = f"remove the breakdown '{column}' from the report, or sum over it before"
    elif other.table is not None and other.table.by_name and one is other:
        what = f"{who} is in {where} too: two entities of one name, or the same twice"
        cure = f"add the column of {level} ids (Ad ID, Ad set ID, Campaign ID)"
    else:
        what = f"{who} has {_difference(earlier, later)} in {where}"
        cure = "keep one row per entity and day"
        if cuts[0] is not cuts[1]:
            broken = next(cut.columns for cut in reversed(cuts) if cut.columns)
            what += f", by {broken}"
            cure = (
                f"leave out the breakdown by {broken}, or export both again at one time: one of them is older"
            )
        elif entity_id.isdigit() and len(entity_id) > 15 and entity_id.endswith("000"):
            cure = (
                "the id looks rounded to 15 digits by a spreadsheet: export again, with the ids kept as text"
            )
        elif one is not other:
            cure = "import them one after the other, the older first, or leave the older out"
    return other.problem("conflict", what, cure, int(later["line"]))


def _difference(earlier: Any, later: Any) -> str:
    known = [name for name in METRICS if not np.isnan(earlier[name]) and not np.isnan(later[name])]
    differing = [name for name in known if earlier[name] != later[name]]
    mine, theirs = (", ".join(f"{name} {row[name]:g}" for name in differing) for row in (later, earlier))
    return f"{mine} here and {theirs}"


def _rows_at(table: Table, lines: set[int]) -> dict[int, list[dict[str, Any]]]:
    """The rows that begin on some lines of a file, with all their columns."""
    wanted = np.array(sorted(lines))
    rows: dict[int, list[dict[str, Any]]] = {}
    for batch in (table.whole or table.batches)():
        for row in np.flatnonzero(np.isin(batch.lines, wanted)).tolist():
            whole = _whole(table, batch, row)
            if whole is not None:
                rows.setdefault(int(batch.lines[row]), []).append(whole)
    return rows


def _whole(table: Table, batch: Batch, row: int) -> dict[str, Any] | None:
    """A row with all its columns; None if it can't be read."""
    if table.whole is not None:
        return {name: cells[row] for name, cells in batch.cells.items()}
    value = None
    with suppress(ValueError, RecursionError):
        value = json.loads(batch.raw(row))
    inner = value.get("_airbyte_data", value) if isinstance(value, dict) else value
    return inner if isinstance(inner, dict) else None


def _tells_apart(name: str, one: Any, other: Any) -> bool:
    """Whether two cells of an unused column name two things: keys of a load and derived numbers don't."""
    if name.startswith("_") or isinstance(other, dict | list) or one is None or other is None:
        return False
    texts = {str(one).strip(), str(other).strip()}
    words = any(numerals.number(text.rstrip("%"), decimal=".") is None for text in texts)
    return len(texts) > 1 and (words or name.casefold().endswith(("_id", " id")))
