"""Rows that name no entity, or are called Total: totals if they are the sum of the others, else faults."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.rejects import Rejects
from adsml_ingest.rows import UnnamedRow
from adsml_ingest.staging import Rows, Staging
from adsml_ingest.tree import BLANK

if TYPE_CHECKING:
    from adsml_ingest.reading import ReadFile, Reading

_READ: Final = "read"
_TOLERANCE: Final = {"spend": 0.05, "impressions": 0.5}


def judge_unnamed(reading: "Reading", staging: Staging, rejects: Rejects) -> None:
    """Tell the totals among the rows that name nothing; all others are faults.

    A report of one day ends with a row that names nothing, and so does every row but the first of a group in a
    pivot. Only the sums of the other rows tell them apart. Where entities are known by name only, a total may have a
    name in a language that nobody thought of.
    """
    for number, file in enumerate(reading.files):
        if file.table is None or not (file.unnamed or file.table.by_name):
            continue
        sums = _sums(reading, staging, number)
        for row in file.unnamed:
            if _is_total(row, sums):
                file.counts.totals += 1
                file.counts.rows -= 1
                continue
            file.counts.rejected += 1
            reading.findings.problems.add(row.problem)
            rejects.write(file.table, row.raw, f"{row.problem.place} {row.problem.line}: {row.problem.text}")
        if file.table.by_name:
            _drop_named_totals(reading, staging, number, file, sums)


def _drop_named_totals(
    reading: "Reading", staging: Staging, number: int, file: "ReadFile", sums: "Sums"
) -> None:
    """Leave out a name whose every row is the sum of two or more other rows of its day."""
    for part in staging.parts(_READ):
        rows = part[(part["file"] == number) & (part["cut"] == 0)]
        for entity in np.unique(rows["entity"]).tolist():
            own = rows[rows["entity"] == entity]
            if (own["impressions"] > 0).all() and all(_is_half(row, sums) for row in own):
                name = reading.tree.id_of(entity)
                file.counts.totals += len(own)
                file.total_names.append(entity)
                what = (
                    f"'{name}' is the sum of all other rows on each of its days: taken for a total, left out"
                )
                if file.table is not None:
                    file.table.notes.append(what)


def _is_half(row: Any, sums: "Sums") -> bool:
    total = sums.get((BLANK, int(row["day"])))
    return (
        total is not None
        and total[-1] > 2
        and all(
            abs(2 * float(row[name]) - total[index]) <= slack
            for index, (name, slack) in enumerate(_TOLERANCE.items())
        )
    )


def _is_total(row: UnnamedRow, sums: "Sums") -> bool:
    values = row.rows[0]
    below = sums.get((row.parent, int(values["day"])))
    if below is None:
        return False
    return all(
        abs(float(values[name]) - below[index]) <= slack + 0.001 * abs(below[index])
        for index, (name, slack) in enumerate(_TOLERANCE.items())
    )


Sums = dict[tuple[int, int], npt.NDArray[np.float64]]
"""Spend, impressions and number of rows, by entity above (`BLANK`: of all) and day."""


def _sums(reading: "Reading", staging: Staging, number: int) -> Sums:
    """Sums of the rows of a file."""
    sums: Sums = {}
    tree = reading.tree
    for part in staging.parts(_READ):
        rows = part[part["file"] == number]
        parents = tree.parents[rows["entity"]]
        grand = np.where(parents >= 0, tree.parents[np.maximum(parents, 0)], BLANK)
        _add(sums, np.full(len(rows), BLANK), rows)
        for above in (parents, grand):
            _add(sums, above[above >= 0], rows[above >= 0])
    return sums


def _add(sums: Sums, above: npt.NDArray[np.integer], rows: Rows) -> None:
    keys, where = np.unique(np.stack([above, rows["day"]], axis=1), axis=0, return_inverse=True)
    columns = [np.bincount(where.ravel(), rows[name], minlength=len(keys)) for name in _TOLERANCE]
    columns.append(np.bincount(where.ravel(), minlength=len(keys)).astype(np.float64))
    for index, (entity, day) in enumerate(keys.tolist()):
        total = sums.setdefault((entity, day), np.zeros(len(columns)))
        total += [column[index] for column in columns]
