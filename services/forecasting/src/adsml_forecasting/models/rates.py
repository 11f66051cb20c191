"""Events per unit of exposure, such as leads per unit of spend: a Gamma posterior of a Poisson rate.

The rate wanders: each day adds to the variance of its logarithm, so that what is known of a busy entity fades
within days and of a quiet one within weeks (a discounted Gamma-Poisson filter: West & Harrison 1997, "Bayesian
forecasting and dynamic models", section 14). What the filter says is drawn to the entity's whole history, and that
to the account's rate: with few events the rate stays near what is known, with many it is what they say.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_forecasting.models.series import Vector

WANDERING: Final = 0.0005
"""Variance that a day adds to the logarithm of the rate."""
DISPERSION: Final = 2.0
"""Variance of a day's events over their mean: leads come in bunches."""
OWN_EVENTS: Final = 24.0
"""Events that the entity's own whole history is worth, in the filter's units."""
LENT_EVENTS: Final = 30.0
"""Events that the account's rate is worth."""
_LONGEST: Final = 365
_DRY: Final = 4.6
"""So many events missed in a row (1 in 100 by chance) and the old rate is no longer believed."""
_DRY_DAYS: Final = 28


@dataclass(frozen=True, slots=True)
class Rate:
    """Events per unit of exposure: above 0, NaN where nothing tells it.

    `path` is what it would have been after each day by the days up to it, shape (n,), NaN before the first
    event. `missed` are events that the exposure since the last one should have brought; None where the newest
    four weeks hold events, or too little was missed to tell.
    """

    value: float
    path: Vector
    missed: float | None = None


def learn_rate(events: Vector, exposure: Vector, *, lent: float | None = None) -> Rate:
    """The rate of the coming days, from events and exposure of the same days, NaN where missing, shape (n,).

    `lent` is the parent's or account's rate; None where it is not known.
    """
    both = np.isfinite(events) & np.isfinite(exposure)
    count = np.where(both, events, 0.0)[-_LONGEST:]
    amount = np.where(both, exposure, 0.0)[-_LONGEST:]
    path = np.full(len(events), np.nan)
    given = LENT_EVENTS if lent is not None and lent > 0 else 0.0
    totals = np.cumsum(count) + given
    exposed = np.cumsum(amount) + (given / lent if lent else 0.0)
    shape = scale = 0.0
    first = len(events) - len(count)
    for at, (day_count, day_amount) in enumerate(
        zip((count / DISPERSION).tolist(), (amount / DISPERSION).tolist(), strict=True)
    ):
        kept = 1.0 / (1.0 + WANDERING * shape)
        shape, scale = kept * shape + day_count, kept * scale + day_amount
        if totals[at] > 0 and exposed[at] > 0:
            long_run = totals[at] / exposed[at]
            path[first + at] = (shape + OWN_EVENTS) / (scale + OWN_EVENTS / long_run)
    value = float(path[-1]) if len(path) else float("nan")
    if not np.isfinite(value):
        return Rate(float("nan"), path)
    seen = np.flatnonzero(count > 0)
    last = int(seen[-1]) if len(seen) else -1
    if len(count) - 1 - last >= _DRY_DAYS:
        # What the days with events alone would let expect: the dry ones must not excuse themselves.
        before = count[: last + 1].sum() / max(amount[: last + 1].sum(), 1e-300) if last >= 0 else lent
        missed = float(amount[last + 1 :].sum() * (before or 0.0))
        if missed > _DRY:
            return Rate(value, path, missed)
    return Rate(value, path)
