"""Rows that name no entity, or are called Total: totals if they are the sum of the others, else faults."""

from typing import TYPE_CHECKING, Final

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
    pivot. Only the sums of the other rows tell them apart.
    """
    for number, file in enumerate(reading.files):
        if not file.unnamed:
            continue
        sums = _sums(reading, staging, number, file)
        for row in file.unnamed:
            if _is_total(row, sums):
                file.counts.totals += 1
                file.counts.rows -= 1
                continue
            file.counts.rejected += 1
            reading.findings.problems.add(row.problem)
            if file.table is not None:
                rejects.write(
                    file.table, row.raw, f"{row.problem.place} {row.problem.line}: {row.problem.text}"
                )


def _is_total(row: UnnamedRow, sums: dict[tuple[int, int], npt.NDArray[np.float64]]) -> bool:
    values = row.rows[0]
    below = sums.get((row.parent, int(values["day"])))
    if below is None:
        return False
    return all(
        abs(float(values[name]) - below[index]) <= slack + 0.001 * abs(below[index])
        for index, (name, slack) in enumerate(_TOLERANCE.items())
    )


def _sums(
    reading: "Reading", staging: Staging, number: int, file: "ReadFile"
) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """Spend and impressions of a file by day, and by day and entity above its rows."""
    sums: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
    tree = reading.tree
    for part in staging.parts(_READ):
        rows = part[part["file"] == number]
        parents = tree.parents[rows["entity"]]
        grand = np.where(parents >= 0, tree.parents[np.maximum(parents, 0)], BLANK)
        for above in (np.full(len(rows), BLANK), parents, grand):
            _add(sums, above, rows)
    return sums


def _add(
    sums: dict[tuple[int, int], npt.NDArray[np.float64]], above: npt.NDArray[np.integer], rows: Rows
) -> None:
    keys, where = np.unique(np.stack([above, rows["day"]], axis=1), axis=0, return_inverse=True)
    values = [np.bincount(where.ravel(), rows[name], minlength=len(keys)) for name in _TOLERANCE]
    for index, (entity, day) in enumerate(keys.tolist()):
        total = sums.setdefault((entity, day), np.zeros(len(_TOLERANCE)))
        total += [column[index] for column in values]
