"""Rows that name no entity, or are called Total: totals if they are the sum of the others, else faults."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest import days
from adsml_ingest.staging import READ, Rows, group_starts
from adsml_ingest.state import ImportState, ReadFile, UnnamedRow
from adsml_ingest.tree import BLANK

_TOLERANCE: Final = {"spend": 0.05, "impressions": 0.5}
Sums = dict[tuple[int, int, int], npt.NDArray[np.float64]]
"""Spend, impressions and number of rows, by entity (`BLANK`: all), day (`days.BAD`: all) and cut."""


def judge_unnamed(state: ImportState) -> None:
    """Tell the totals among the rows that name nothing; all others are faults.

    A report of one day ends with a row that names nothing, and so does every row but the first of a group in a
    pivot. Only the sums of the other rows tell them apart. Where entities are known by name only, a total may have a
    name in a language that nobody thought of.
    """
    for number, file in enumerate(state.files):
        by_name = file.table is not None and file.table.by_name
        if not (file.unnamed or by_name):
            continue
        sums = _sums(state, number, over_days=any(row.rows["day"][0] == days.BAD for row in file.unnamed))
        for row in file.unnamed:
            more = _exceeds(row, sums, len(state.cuts))
            if more is None:
                state.reject(file, row.raw, row.problem)
                continue
            file.totals += 1
            file.rows -= 1
            if more:
                what = "is empty, and the row sums up more than the days that are in the file: left out as a total"
                state.warnings.add(replace(row.problem, kind="larger_total", what=what, cure=""))
        if by_name:
            _drop_named_totals(state, number, file, sums)


def _drop_named_totals(state: ImportState, number: int, file: ReadFile, sums: Sums) -> None:
    """Leave out a name whose every row is the sum of two or more other rows of its day."""
    for part in state.staging.parts(READ):
        rows = part[(part["file"] == number) & (part["cut"] == 0)]
        for entity in np.unique(rows["entity"]).tolist():
            own = rows[rows["entity"] == entity]
            if (own["impressions"] > 0).all() and all(_is_half(row, sums) for row in own):
                file.totals += len(own)
                file.total_names.append(entity)
                name = state.tree.id_of(entity)
                if file.table is not None:
                    file.table.notes.append(
                        f"'{name}' is the sum of all other rows on each of its days: taken for a total, left out"
                    )


def _is_half(row: Any, sums: Sums) -> bool:
    total = sums.get((BLANK, int(row["day"]), 0))
    return (
        total is not None
        and total[-1] > 2
        and all(
            abs(2 * float(row[name]) - total[index]) <= slack
            for index, (name, slack) in enumerate(_TOLERANCE.items())
        )
    )


def _exceeds(row: UnnamedRow, sums: Sums, cuts: int) -> float | None:
    """By how much a row is more than the sum of the rows that it may sum up; None if it is none of theirs.

    One without a day may sum up more days than the file holds.
    """
    values = row.rows[0]
    day = int(values["day"])
    # A total of a whole table may have a name in a language that nobody thought of.
    above = (row.parent, BLANK) if day == days.BAD else (row.parent,)
    for below in (sums.get((one, day, cut)) for one in above for cut in range(cuts)):
        if below is None:
            continue
        more = [float(values[name]) - below[index] for index, name in enumerate(_TOLERANCE)]
        slack = [one + 0.001 * abs(below[index]) for index, one in enumerate(_TOLERANCE.values())]
        if all(abs(one) <= most for one, most in zip(more, slack, strict=True)):
            return 0.0
        if day == days.BAD and all(one >= -most for one, most in zip(more, slack, strict=True)):
            return float(max(more))
    return None


def _sums(state: ImportState, number: int, *, over_days: bool) -> Sums:
    """Sums of the rows of a file, of each way to part a day for itself; over all days too, if they are needed."""
    sums: Sums = {}
    for part in state.staging.parts(READ):
        rows = part[part["file"] == number]
        parents = state.tree.parents[rows["entity"]]
        grand = np.where(parents >= 0, state.tree.parents[np.maximum(parents, 0)], BLANK)
        every = np.full(len(rows), BLANK)
        for above in (every, parents, grand):
            chosen = (above >= 0) | (above is every)
            _add(sums, above[chosen], rows["day"][chosen], rows[chosen])
        if over_days:
            for above in (every, rows["entity"], parents, grand):
                chosen = (above >= 0) | (above is every)
                _add(sums, above[chosen], np.full(np.count_nonzero(chosen), days.BAD), rows[chosen])
    return sums


def _add(sums: Sums, above: npt.NDArray[Any], when: npt.NDArray[Any], rows: Rows) -> None:
    order = np.lexsort((rows["cut"], when, above))
    if not len(order):
        return
    keys = above[order], when[order], rows["cut"][order]
    starts = group_starts(*keys)
    columns = [np.add.reduceat(rows[name][order], starts) for name in _TOLERANCE]
    columns.append(np.diff(np.append(starts, len(order))).astype(np.float64))
    for index, key in enumerate(zip(*(one[starts].tolist() for one in keys), strict=True)):
        total = sums.setdefault(key, np.zeros(len(columns)))
        total += [column[index] for column in columns]
