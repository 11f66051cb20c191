"""Units of different size on one scale, weekdays taken off.

A market-wide movement must cancel whatever a unit's size. A count or an amount is divided by the unit's mean
over its baseline, ``r = Y / mean(Y)``; a ratio N/D is linearised there, ``r = 1 + N / mean(N) - D / mean(D)``
(delta method), while its change over a window is the exact ``log(sum N / sum D) - log(baseline's)``: a ratio
of sums.
"""

from typing import Final

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import BoolArray, FloatArray

_PRIOR_WEEKS: Final = 4.0
"""Weight, in weeks, of the units' common weekday profile in each unit's own."""


def as_parts(numerator: FloatArray, denominator: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Numerator and denominator as compiled code takes them: empty for no denominator."""
    A = np.ascontiguousarray(numerator, dtype=np.float64)
    return A, np.empty((0, 0)) if denominator is None else np.ascontiguousarray(denominator, dtype=np.float64)


@compiled
def to_relative(
    A: FloatArray,
    B: FloatArray,
    t: int,
    L: int,
    days: int,
    weekly: bool,
    r: FloatArray,
    valid: BoolArray,
    profile: FloatArray,
) -> None:
    """Put the units around one date on one scale and take the weekday profile off.

    `r` is (N, L + days); `profile` (N, 7) is by day index modulo 7 and means 0 over a week.
    """
    ratio = B.size > 0
    r[:] = 0.0
    profile[:] = 0.0
    for i in range(A.shape[0]):
        a = A[i, t - L : t].sum() / L
        b = B[i, t - L : t].sum() / L if ratio else 1.0
        valid[i] = a > 0.0 and b > 0.0
        if valid[i] and ratio:
            r[i] = 1.0 + A[i, t - L : t + days] / a - B[i, t - L : t + days] / b
        elif valid[i]:
            r[i] = A[i, t - L : t + days] / a
    if not weekly or L < 14 or L % 7 != 0 or not valid.any():
        return
    weeks = L // 7
    pooled = np.zeros(7)
    for k in np.flatnonzero(valid):
        for p in range(7):
            profile[k, (t - L + p) % 7] = ((r[k, p:L:7] - 1.0) / weeks).sum()
        pooled += profile[k]
    usual = _PRIOR_WEEKS * pooled / np.count_nonzero(valid)
    position = (t - L + np.arange(L + days)) % 7
    for k in np.flatnonzero(valid):
        profile[k] = (weeks * profile[k] + usual) / (weeks + _PRIOR_WEEKS)
        r[k] -= profile[k][position]


@compiled
def change_from_baseline(
    A: FloatArray,
    B: FloatArray,
    i: int,
    t: int,
    L: int,
    washout: int,
    H: int,
    r: FloatArray,
    profile: FloatArray,
) -> float:
    """A unit's change from its baseline to the H days after the washout; NaN for a ratio without one."""
    if B.size == 0:
        return float((r[i, L + washout : L + washout + H] - 1.0).sum() / H)
    first = t + washout
    a, b = A[i, first : first + H].sum(), B[i, first : first + H].sum()
    if a <= 0.0 or b <= 0.0:
        return np.nan
    seasonal = 0.0
    for d in range(first, first + H):
        seasonal += profile[i, d % 7]
    base = A[i, t - L : t].sum() / B[i, t - L : t].sum()
    return float(np.log(a / b) - np.log(base) - seasonal / H)
