"""Several metrics, one primary: Holm's adjustment of the others."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    Rejecting those below alpha keeps the chance of any false rejection at alpha, whatever the metrics' dependence.
    NaN stays NaN and does not count.
    """
    p = np.asarray(p_values, dtype=np.float64)
    out = np.full(p.size, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * (order.size - np.arange(order.size))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order.size else steps
    return [float(value) for value in out]
