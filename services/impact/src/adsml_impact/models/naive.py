"""What people usually compute, labelled as what it is."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from adsml_impact.models.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class NaiveComparison:
    """The two-sample comparison of daily values before and after.

    Shown to be recognised, not believed: days are not independent, weekdays differ and nothing is compared
    with; when nothing happened it rejects 10 to 34% of the time on ad accounts.
    None: too few values, or they do not vary.
    """

    # after less before as a share of before, from window totals; None where before is 0 or missing
    relative_change: float | None
    # Welch (1947), Biometrika 34:28-35; None where values do not vary or are fewer than two a side
    t_statistic: float | None
    p_value: float | None
    cohens_d: float | None  # with the pooled standard deviation; None where that is 0


def naive_comparison(
    before: FloatArray, after: FloatArray, *, before_total: float, after_total: float
) -> NaiveComparison:
    """Compare daily values, NaN (a ratio without its denominator) left out, and the metric over each window."""
    x, y = before[np.isfinite(before)], after[np.isfinite(after)]
    change = (after_total / before_total - 1.0) if before_total else np.nan
    relative = float(change) if np.isfinite(change) else None
    if x.size < 2 or y.size < 2:
        return NaiveComparison(relative, None, None, None)
    vx, vy = float(x.var(ddof=1)), float(y.var(ddof=1))
    a, b = vx / x.size, vy / y.size
    if not a + b > 0:
        return NaiveComparison(relative, None, None, None)
    difference = float(y.mean() - x.mean())
    pooled = ((x.size - 1) * vx + (y.size - 1) * vy) / (x.size + y.size - 2)
    t = difference / np.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / (x.size - 1) + b**2 / (y.size - 1))
    return NaiveComparison(
        relative, float(t), 2.0 * float(stdtr(df, -abs(t))), float(difference / np.sqrt(pooled))
    )
