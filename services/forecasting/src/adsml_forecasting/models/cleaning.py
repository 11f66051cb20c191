"""Days that are no level: a spike or an outage of one or two days, whatever their size.

Each day is compared on the square root's scale, which makes the spread of counts the same at every level
(Bartlett 1936), with the medians of the four weeks around it and of its own weekday. Medians do not move with
what they are meant to find.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.series import Vector

Days = npt.NDArray[np.bool_]

REACH: Final = 14
"""Days before and after that a day is compared with."""
_WEEKS: Final = 4
_LEAST_NEAR: Final = 7
_LIMIT: Final = 6.0
"""Robust standard deviations that an ordinary day never differs by."""
_COUNTING_SPREAD: Final = 0.5
"""Standard deviation of the square root of a Poisson count."""
_RELATIVE_SPREAD: Final = 0.1
_LONGEST_RUN: Final = 2
_MOST: Final = 0.04
"""With more of the days flagged than this, that is how the series is."""
_OF_NORMAL: Final = 1.4826


def outlying_days(values: Vector, *, season_length: int = 7, explained: Days | None = None) -> Days:
    """Which days stand alone, far above or below all days around them; of values not negative, NaN where missing.

    Runs of more than two days are a level of their own (see `steps`), and so are the last two days together.
    `explained` are days that something known accounts for (a change, a named day): never flagged.
    """
    n = len(values)
    known = np.isfinite(values)
    nothing = np.zeros(n, dtype=bool)
    if known.sum() <= _LEAST_NEAR or (values[known] < 0).any():
        return nothing
    root = np.sqrt(values)
    near = _median_around(root, 1, REACH, least=_LEAST_NEAR)
    same = _median_around(root, season_length, _WEEKS, least=2)
    high, low = np.fmax(near, same), np.fmin(near, same)
    middle = np.where(root > high, high, np.where(root < low, low, root))
    miss = np.where(np.isfinite(near), root - np.where(np.isfinite(same), same, near), np.nan)
    spread = _OF_NORMAL * _median_around(np.abs(miss), 1, REACH, least=_LEAST_NEAR)
    counts = bool((values[known] == np.round(values[known])).all())
    least = np.maximum(_RELATIVE_SPREAD * middle, _COUNTING_SPREAD if counts else 0.0)
    with np.errstate(invalid="ignore"):
        flagged = np.abs(root - middle) > _LIMIT * np.fmax(spread, least)
    # Next to nothing is no outage, and a first unit of money no spike.
    flagged &= known & np.isfinite(near) & (np.fmax(root, high) > 0)
    if explained is not None:
        flagged &= ~explained
    flagged &= ~_long_runs(flagged, known)
    return nothing if flagged.sum() > max(_LONGEST_RUN, _MOST * known.sum()) else flagged


def _median_around(values: Vector, step: int, reach: int, *, least: int) -> Vector:
    """Median of the `reach` values before and after each, `step` apart, without itself; NaN with fewer than `least`."""
    n = len(values)
    offsets = step * np.array([at for at in range(-reach, reach + 1) if at])
    at = np.arange(n)[:, None] + offsets
    inside = (at >= 0) & (at < n)
    table = np.where(inside, values[np.clip(at, 0, n - 1)], np.nan)
    table.sort(axis=1)
    counts = np.isfinite(table).sum(axis=1)
    rows = np.arange(n)
    middle = (table[rows, np.maximum(counts - 1, 0) // 2] + table[rows, np.maximum(counts, 1) // 2]) / 2
    return np.where(counts >= least, middle, np.nan)


def _long_runs(flagged: Days, known: Days) -> Days:
    """Flagged days in runs of more than two, or in a run of two at the end."""
    out = np.zeros(len(flagged), dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flagged.astype(np.int8), [0]])))
    last = int(np.flatnonzero(known)[-1])
    for start, end in edges.reshape(-1, 2):
        length = end - start
        if length > _LONGEST_RUN or (length == _LONGEST_RUN and end > last):
            out[start:end] = True
    return out
