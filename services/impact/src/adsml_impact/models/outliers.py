"""Single days far out of line: found against the days around them and against what all units did that day."""

from typing import Final

import numpy as np

from adsml_impact.models.arrays import BoolArray, FloatArray

_AROUND: Final = 15
"""Days whose median a day is held against."""
_FAR: Final = 6.0
"""Robust standard deviations, on the scale of square roots (on which a count's own noise is 1/2)."""
_FAR_IN_LOGS: Final = 4.5
"""And on that of logarithms (on which that of large units is even)."""
_TIMES: Final = 3.0
"""And at least so many times the median, or less than one part in so many, beyond what the units did together."""
_MOST_SHARE: Final = 0.06
"""More such days than this are how a unit is."""
_FEWEST_UNITS: Final = 4


def running_median(Y: FloatArray) -> FloatArray:
    """Median of the `_AROUND` days centred on each, fewer at the ends; (N, T)."""
    half = min(_AROUND, Y.shape[1]) // 2
    padded = np.pad(Y, ((0, 0), (half, half)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
    return np.asarray(np.nanmedian(windows, axis=2))


def replace_outliers(
    Y: FloatArray, *, change: int, counts: bool, delivered: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Replace single days far out of line by what was to be expected: values, and where they were, each (N, T).

    A day on which all units moved alike (a holiday, a sale) is not out of line. Row 0, the treated, is looked at before
    and after the change apart, so that what the change did is never taken for a fault.

    Parameters
    ----------
    Y
        (N, T) daily values, not negative, none missing.
    counts
        Whether they are counts, whose own noise is known.
    delivered
        (N, T): days on which the unit was shown at all; on others a 0 is no fault.
    """
    middle = running_median(Y)
    for part in (slice(None, change), slice(change, None)):
        if Y[:1, part].size:
            middle[:1, part] = running_median(Y[:1, part])
    usual, shown = np.zeros(Y.shape[0]), delivered.any(axis=1)
    usual[shown] = np.nanmedian(np.where(delivered, Y, np.nan)[shown], axis=1)
    unit = np.where(counts, 1.0, 0.01 * usual + 1e-12)[:, None]
    apart = np.log((Y + unit) / (middle + unit))
    known = delivered & (middle > 0)
    market = np.zeros(Y.shape[1])
    if Y.shape[0] >= _FEWEST_UNITS:
        enough = known.sum(axis=0) >= _FEWEST_UNITS
        market[enough] = np.nanmedian(np.where(known, apart, np.nan)[:, enough], axis=0)
    expected = middle * np.exp(market)
    off = np.sqrt(Y) - np.sqrt(expected)
    spread = 1.4826 * np.median(np.abs(off), axis=1)
    least = 0.5 if counts else 0.1 * np.sqrt(usual)
    spread = np.maximum(spread, least)[:, None] + 1e-12
    beyond = np.abs(apart - market)
    usual_beyond = 1.4826 * np.median(beyond, axis=1)[:, None]
    far = (np.abs(off) > _FAR * spread) & (beyond > np.maximum(np.log(_TIMES), _FAR_IN_LOGS * usual_beyond))
    far &= delivered
    for part in (slice(None, change), slice(change, None)):
        days = far[:1, part]
        if days.sum() > max(_MOST_SHARE * days.size, 1):
            far[:1, part] = False
    often = far.sum(axis=1) > max(_MOST_SHARE * Y.shape[1], 1)
    far[often] = False
    return np.where(far, expected, Y), far
