"""Rows of one entity and day that contradict each other, or only look like copies: what tells them apart.

Columns that the import does not use are not read for a million good rows. Where two rows of one file stand for one
entity and day, the file is read once more, and a column that tells them apart is named.
"""

import json
from typing import Any, Final

import numpy as np

from adsml_ingest import days, numerals
from adsml_ingest.batch import LEVELS, METRICS, Batch, Table
from adsml_ingest.problems import Problem
from adsml_ingest.resolve import Resolved
from adsml_ingest.source import ignore
from adsml_ingest.state import ImportState

_LOOKED_AT: Final = 20_000
"""Pairs of rows of a file. If none of so many differs by a column, none does."""
Pair = tuple[Any, Any]


class ClashReport:
    """Gathers pairs of rows part by part, and says of each file what tells them apart."""

    def __init__(self, state: ImportState) -> None:
        self._state = state
        self._conflicts: list[Pair] = []
        self._copies: dict[int, list[Pair]] = {}

    def add(self, found: Resolved) -> None:
        """The pairs of one part."""
        self._conflicts += found.conflicts
        for pair in found.copies:
            pairs = self._copies.setdefault(int(pair[0]["file"]), [])
            if len(pairs) < _LOOKED_AT:
                pairs.append(pair)

    def conclude(self) -> None:
        """Report every conflict, and copies that are none."""
        columns: dict[tuple[int, int], str] = {}
        own = [pair for pair in self._conflicts if pair[0]["file"] == pair[1]["file"]]
        for number in {*(int(one["file"]) for one, _ in own), *self._copies}:
            pairs = [pair for pair in own if pair[0]["file"] == number][:_LOOKED_AT]
            columns |= self._parting_columns(number, [*pairs, *self._copies.get(number, [])])

        def column_of(later: Any) -> str:
            return columns.get((int(later["file"]), int(later["line"])), "")

        for earlier, later in self._conflicts:
            self._state.problems.add(self._problem(earlier, later, column_of(later)))
        for earlier, later in (pair for pairs in self._copies.values() for pair in pairs):
            if column_of(later):
                self._state.counts.update(duplicates=-1, conflicts=1)
                self._state.problems.add(self._problem(earlier, later, column_of(later)))

    def _parting_columns(self, number: int, pairs: list[Pair]) -> dict[tuple[int, int], str]:
        """By file and line of the later row of a pair, the unused column that tells it from the earlier."""
        table = self._state.files[number].table
        if table is None or not pairs:
            return {}
        rows = _rows_at(table, {int(row["line"]) for pair in pairs for row in pair})
        used = {str(name).casefold() for name in table.labels.values()}
        parting: dict[tuple[int, int], str] = {}
        for earlier, later in pairs:
            first, *others = self._standing_for(rows, earlier, later) or [{}]
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
        self, rows: dict[int, list[dict[str, Any]]], earlier: Any, later: Any
    ) -> list[dict[str, Any]]:
        """The rows of a pair; of all that begin on one line, as in JSON without line breaks, those of its entity."""
        found = [
            one for line in sorted({int(earlier["line"]), int(later["line"])}) for one in rows.get(line, [])
        ]
        if len(found) <= 2:
            return found
        entity = self._state.tree.id_of(int(later["entity"]))
        day = days.to_date(int(later["day"])).isoformat()

        def fits(row: dict[str, Any]) -> bool:
            texts = [str(value) for value in row.values()]
            return entity in texts and any(text.startswith(day) for text in texts)

        return [one for one in found if fits(one)]

    def _problem(self, earlier: Any, later: Any, column: str) -> Problem:
        state, code = self._state, int(later["entity"])
        one, other = state.files[int(earlier["file"])], state.files[int(later["file"])]
        table = other.table
        place = table.place if table else "line"
        entity_id, level = state.tree.id_of(code), LEVELS[state.tree.levels[code]]
        who = f"{level} {entity_id}"
        where = f"{one.table.place if one.table else 'line'} {int(earlier['line'])}"
        where += f" of {one.path}" if one is not other else ""
        day = days.to_date(int(later["day"]))
        cuts = [state.cuts[int(row["cut"])] for row in (earlier, later)]
        if column:
            what = f"{who} on {day} has several rows, told apart by the column '{column}', which is not used"
            cure = f"remove the breakdown '{column}' from the report, or sum over it before"
        elif table is not None and table.by_name and one is other:
            what = f"{who} on {day} is in {where} too: two entities of one name, or the same twice"
            cure = f"add the column of {level} ids (Ad ID, Ad set ID, Campaign ID)"
        else:
            what = f"{who} on {day} has {_difference(earlier, later)} in {where}"
            cure = "keep one row per entity and day"
            if cuts[0] is not cuts[1]:
                broken = next(cut for cut in reversed(cuts) if cut.columns)
                what += f", by {broken.shown}"
                cure = (
                    f"leave out the breakdown by {broken.shown}, or export both again at one time: one of "
                    "them is older"
                )
            elif entity_id.isdigit() and len(entity_id) > 15 and entity_id.endswith("000"):
                cure = "the id looks rounded to 15 digits by a spreadsheet: export again, with the ids kept as text"
            elif one is not other:
                cure = "import them one after the other, the older first, or leave the older out"
        return Problem(str(other.path), "conflict", what, cure, line=int(later["line"]), place=place)


def _difference(earlier: Any, later: Any) -> str:
    known = [name for name in METRICS if not np.isnan(earlier[name]) and not np.isnan(later[name])]
    differing = [name for name in known if earlier[name] != later[name]]
    mine = ", ".join(f"{name} {later[name]:g}" for name in differing)
    theirs = ", ".join(f"{name} {earlier[name]:g}" for name in differing)
    return f"{mine} here and {theirs}"


def _rows_at(table: Table, lines: set[int]) -> dict[int, list[dict[str, Any]]]:
    """The rows that begin on some lines of a file, with all their columns."""
    wanted = np.array(sorted(lines))
    rows: dict[int, list[dict[str, Any]]] = {}
    for batch in (table.whole or table.batches)(ignore):
        for row in np.flatnonzero(np.isin(batch.lines, wanted)).tolist():
            whole = _whole(table, batch, row)
            if whole is not None:
                rows.setdefault(int(batch.lines[row]), []).append(whole)
    return rows


def _whole(table: Table, batch: Batch, row: int) -> dict[str, Any] | None:
    """A row with all its columns; None if it can't be read."""
    if table.whole is not None:
        return {name: cells[row] for name, cells in batch.cells.items()}
    try:
        value = json.loads(batch.raw(row))
    except (ValueError, RecursionError):
        return None
    inner = value.get("_airbyte_data", value) if isinstance(value, dict) else value
    return inner if isinstance(inner, dict) else None


def _tells_apart(name: str, one: Any, other: Any) -> bool:
    """Whether two cells of an unused column name two things: keys of a load and derived numbers don't."""
    if name.startswith("_") or one == other or isinstance(other, dict | list) or one is None or other is None:
        return False
    texts = [str(one).strip(), str(other).strip()]
    if texts[0] == texts[1]:
        return False
    return any(
        numerals.number(text.rstrip("%"), decimal=".") is None for text in texts
    ) or name.casefold().endswith(("_id", " id"))
