"""The distinct cells of a column: what is said of one is said of all its copies, at the price of one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Column = Sequence[Any] | npt.NDArray[Any]


def factorize(cells: Column) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Code of each cell, and the distinct cells; None and NaN have code -1.

    Cells that can't be compared, such as lists, count as their text.
    """
    if isinstance(cells, np.ndarray):
        codes, distinct = pd.factorize(cells)
        return codes, distinct.tolist()
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:
        column[:] = [cell if isinstance(cell, str | int | float | None) else str(cell) for cell in cells]
        codes, distinct = pd.factorize(column)
    return codes, list(distinct)


def look_up(cells: Column, value_of: Callable[[Any], Any], *, nothing: Any, dtype: Any) -> npt.NDArray[Any]:
    """The value of each cell, worked out once for each distinct one; `nothing` for None and NaN."""
    codes, distinct = factorize(cells)
    values = np.full(len(distinct) + 1, nothing, dtype=dtype)
    for index, cell in enumerate(distinct):
        values[index] = value_of(cell)
    return values[codes]
