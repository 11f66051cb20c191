"""What more or less money does to a metric: an elasticity, learnt where spend has moved.

``metric ~ spend ** elasticity`` over weeks, by least squares of logarithms weighted by counts, drawn to what
the account's other entities show, which is drawn to 0.85 +- 0.2: doubling a budget buys 1.8 times the leads.
Beyond the spend seen in the history half of the elasticity is left, since nothing tells where it saturates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_forecasting.models.series import Vector

_DAYS: Final = 7
_PRIOR: Final = 0.85
_PRIOR_VARIANCE: Final = 0.2**2
_BETWEEN_ENTITIES: Final = 0.1**2
_BOUNDS: Final = (0.2, 1.1)
_MOVED: Final = 0.2
"""Standard deviation of the logarithm of weekly spend from which spend is said to have moved."""
_SEEN: Final = 1.25
_BEYOND: Final = 0.5
_LEAST_VARIANCE: Final = 0.15**2


@dataclass(frozen=True, slots=True)
class Elasticity:
    """An exponent and the variance of its estimate."""

    value: float = _PRIOR
    variance: float = _PRIOR_VARIANCE


PRIOR: Final = Elasticity()
PROPORTIONAL: Final = Elasticity(1.0, 0.0)
"""Spend follows its budget."""


def estimate(spend: Vector, values: Vector) -> Elasticity | None:
    """One entity's own, by least squares, from the same days (NaN where missing); None where spend has not moved."""
    weeks = len(spend) // _DAYS
    if weeks < 3:
        return None
    both = np.isfinite(spend) & np.isfinite(values)

    def table(column: Vector) -> Vector:
        whole = np.where(both, column, 0.0)[len(column) - weeks * _DAYS :]
        return np.asarray(whole.reshape(weeks, _DAYS).sum(axis=1), dtype=np.float64)

    money, amount = table(spend), table(values)
    used = (money > 0) & (amount > 0)
    if used.sum() < 3:
        return None
    x, y = np.log(money[used]), np.log(amount[used])
    # The variance of a week's logarithm: chance of its count, and what moves it beside.
    weight = 1 / (1 / amount[used] + _LEAST_VARIANCE)
    centre = weight @ x / weight.sum()
    moved = float(weight @ (x - centre) ** 2)
    if moved / weight.sum() < _MOVED**2:
        return None
    slope = float(weight @ ((x - centre) * y) / moved)
    return Elasticity(slope, 1 / moved)


def pool(found: Sequence[Elasticity]) -> Elasticity:
    """The account's, drawn to the prior."""
    if not found:
        return PRIOR
    weights = np.array([1 / (one.variance + _BETWEEN_ENTITIES) for one in found])
    mean = float(weights @ np.array([one.value for one in found]) / weights.sum())
    return drawn(Elasticity(mean, float(1 / weights.sum()) + _BETWEEN_ENTITIES), PRIOR)


def drawn(found: Elasticity, prior: Elasticity) -> Elasticity:
    """An estimate, such as an entity's own, drawn to what is known before, such as the account's."""
    precision = 1 / prior.variance + 1 / found.variance
    mean = (prior.value / prior.variance + found.value / found.variance) / precision
    return Elasticity(float(np.clip(mean, *_BOUNDS)), 1 / precision)


def levels(smooth: Vector) -> Vector:
    """Those of `smoothed` spend above 0."""
    return smooth[np.isfinite(smooth) & (smooth > 0)]


def has_moved(smooth: Vector) -> bool:
    """Whether `smoothed` spend has varied enough to matter."""
    level = levels(smooth)
    return len(level) > _DAYS and float(np.std(np.log(level))) > _MOVED


def smoothed(spend: Vector) -> Vector:
    """Mean spend of each day's block of constant budget: the days around it that spend about as much.

    A running median of five days, which keeps the edges of budget moves, over weekday-free money.
    """
    n = len(spend)
    at = np.clip(np.arange(n)[:, None] + np.arange(-2, 3), 0, max(n - 1, 0))
    with np.errstate(all="ignore"):
        return np.asarray(np.nanmedian(spend[at], axis=1) if n else spend, dtype=np.float64)


def response(planned: Vector, usual: float, elasticity: Elasticity, *, seen: tuple[float, float]) -> Vector:
    """What a plan (NaN where none is: as usual) multiplies the forecast by, shape of `planned`.

    `usual` is the spend a day that is expected without a plan, above 0; `seen` the least and most spent a day at any
    time, over which the elasticity was learnt.
    """
    low, high = seen[0] / _SEEN, seen[1] * _SEEN
    inner = np.clip(planned, min(low, usual), max(high, usual))
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.where(inner > 0, planned / inner, 1.0)
        out = (inner / usual) ** elasticity.value * beyond ** (_BEYOND * elasticity.value)
    out = np.where(planned <= 0, 0.0, out)
    return np.asarray(np.where(np.isnan(planned), 1.0, out), dtype=np.float64)


def outside(planned: Vector, seen: tuple[float, float]) -> bool:
    """Whether a day's plan is farther from the spend seen than a quarter of it."""
    named = planned[np.isfinite(planned) & (planned > 0)]
    return bool(len(named) and (named.max() > seen[1] * _SEEN or named.min() < seen[0] / _SEEN))
