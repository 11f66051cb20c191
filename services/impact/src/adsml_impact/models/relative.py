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
def to_relative(  # noqa: PLR0912
    A: FloatArray,
    B: FloatArray,
    t: int,
    L: int,
    days: int,
    weekly: bool,
    r: FloatArray,
    level: FloatArray,
    valid: BoolArray,
    profile: FloatArray,
) -> None:
    """Put the units around one date on one scale and take the weekday profile off.

    `r` is (N, L + days); `profile` (N, 7) is by day index modulo 7 and means 0 over a week.
    """
    N = A.shape[0]
    ratio = B.size > 0
    for i in range(N):
        a = 0.0
        b = 0.0 if ratio else float(L)
        for d in range(t - L, t):
            a += A[i, d]
            if ratio:
                b += B[i, d]
        a /= L
        b /= L
        valid[i] = a > 0.0 and b > 0.0
        level[i] = a
        for d in range(L + days):
            if not valid[i]:
                r[i, d] = 0.0
            elif ratio:
                r[i, d] = 1.0 + A[i, t - L + d] / a - B[i, t - L + d] / b
            else:
                r[i, d] = A[i, t - L + d] / a
    for i in range(N):
        for p in range(7):
            profile[i, p] = 0.0
    if not weekly or L < 14 or L % 7 != 0:
        return
    weeks = L // 7
    pooled = np.zeros(7)
    units = 0
    for i in range(N):
        if valid[i]:
            units += 1
            for d in range(L):
                profile[i, (t - L + d) % 7] += (r[i, d] - 1.0) / weeks
            for p in range(7):
                pooled[p] += profile[i, p]
    if units == 0:
        return
    for i in range(N):
        if valid[i]:
            for p in range(7):
                profile[i, p] = (weeks * profile[i, p] + _PRIOR_WEEKS * pooled[p] / units) / (
                    weeks + _PRIOR_WEEKS
                )
            for d in range(L + days):
                r[i, d] -= profile[i, (t - L + d) % 7]


@compiled
def change_from_baseline(
    A: FloatArray,
    B: FloatArray,
    i: int,
    t: int,
    L: int,
    first: int,
    H: int,
    r: FloatArray,
    profile: FloatArray,
) -> float:
    """A unit's change from its baseline to the H days from `first` on; NaN for a ratio without one."""
    if B.size == 0:
        total = 0.0
        for d in range(H):
            total += r[i, first - t + L + d] - 1.0
        return total / H
    a = 0.0
    b = 0.0
    seasonal = 0.0
    for d in range(first, first + H):
        a += A[i, d]
        b += B[i, d]
        seasonal += profile[i, d % 7]
    if a <= 0.0 or b <= 0.0:
        return np.nan
    base_a = 0.0
    base_b = 0.0
    for d in range(t - L, t):
        base_a += A[i, d]
        base_b += B[i, d]
    return float(np.log(a / b) - np.log(base_a / base_b) - seasonal / H)
