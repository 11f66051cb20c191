"""How much of the last days is in: rows of young days grow for a while, leads longest.

A day of age ``a`` (0: the last one) holds a share of what it will hold in the end. Where the shares are known, the day
is measured against that share of the expectation, with more room; where they are not, such a day is *filling*: what is
above the expectation already is an alarm, what is below it is not.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.completion import CompletionCurve

from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import CHANNELS, EXPOSURE, LEADS, NUMERATOR, REACH

_COMPLETE: Final = 0.995
LEAST_SHARE: Final = 0.05
"""Less of a day than this says nothing about it."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Of the days of one series."""

    factor: FloatArray  # Shape (channels, T): share of its expectation that a count has so far
    slack: FloatArray  # Same shape: variance of the logarithm of that share
    filling: BoolArray  # Shape (T,): days of which nobody knows how much is in

    @classmethod
    def whole(cls, T: int) -> "Completeness":
        """Of T complete days."""
        shape = (len(CHANNELS), T)
        return cls(np.ones(shape), np.zeros(shape), np.zeros(T, dtype=np.bool_))

    @property
    def incomplete(self) -> BoolArray:
        """Shape (T,): days that are not complete, known or not by how much."""
        return np.asarray(self.filling | (self.factor[LEADS] < _COMPLETE))

    def leads_in(self, t: int) -> float | None:
        """Share of a day's leads that is in; None where all are, or nobody knows."""
        share = float(self.factor[LEADS, t])
        return share if share < _COMPLETE and not self.filling[t] else None

    def until(self, last: int) -> "Completeness":
        """Without the days behind `last`."""
        # In one piece, as of whole days: kernels would be compiled anew for anything else.
        factor, slack = (np.ascontiguousarray(one[:, : last + 1]) for one in (self.factor, self.slack))
        return Completeness(factor, slack, self.filling[: last + 1])


def of_days(
    T: int, *, youngest_age: int, curve: CompletionCurve | None = None, filling_days: int = 0
) -> Completeness:
    """Completeness of T consecutive days by the account's curve, without one by `filling_days`.

    `youngest_age` is in days from the last of them to the last loaded day of the account; below 0 for days behind that
    one, of which nothing is on its way.
    """
    ages = youngest_age + np.arange(T)[::-1]
    young = (ages >= 0) & (ages < (filling_days if curve is None else len(curve)))
    out = Completeness.whole(T)
    if curve is None or not young.any():
        out.filling[:] = young
        return out
    at = np.where(young, ages, len(curve))
    delivery, leads = np.array([*curve.delivery, 1.0])[at], np.array([*curve.leads, 1.0])[at]
    delivery_spread = np.array([*curve.delivery_spread, 0.0])[at]
    leads_spread = np.array([*curve.leads_spread, 0.0])[at]
    out.filling[:] = np.minimum(delivery, leads) < LEAST_SHARE
    delivery, leads = np.maximum(delivery, LEAST_SHARE), np.maximum(leads, LEAST_SHARE)
    for c in range(len(CHANNELS)):
        against = EXPOSURE[c] >= 0
        if NUMERATOR[c] == LEADS:
            out.factor[c] = leads / delivery if against else leads
            out.slack[c] = leads_spread**2 + (delivery_spread**2 if against else 0.0)
        elif not against:
            out.factor[c], out.slack[c] = delivery, delivery_spread**2
        elif EXPOSURE[c] == REACH:
            # People are reached once and shown more later: by how much frequency falls short is not known.
            out.slack[c] = np.log(delivery) ** 2
    return out
