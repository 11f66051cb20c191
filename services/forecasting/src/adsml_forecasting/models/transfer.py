"""A new entity's forecast: its parent's shape, its own level drawn to that of its donors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.tiers import Tier

from adsml_forecasting.models.conformal import residual_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import NOTHING, Learned, Prediction, Source, Wanted, predict
from adsml_forecasting.models.series import DailySeries, Vector

UNCERTAIN_DAYS: Final = 2.0
"""Intervals are wider by this over (this + own days), for what a lender cannot tell of a newcomer."""
_LEAST_SPREAD: Final = 0.1
_USUAL_SPREAD: Final = 0.5
"""Variance of the logarithm of levels between siblings: at least, and where donors are too few to tell."""
_SIGMA_OF_SEASONAL_DIFFERENCE: Final = 0.886
"""Standard deviation over the mean absolute difference of two normal values, sqrt(pi) / 2."""
LEVEL_DAYS: Final = 28
"""Days that a parent's or donor's level is taken from."""
LEAST_DONOR_DAYS: Final = 14
_MOST_DONORS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class DonorSeries:
    """An entity whose days may be borrowed.

    Attributes
    ----------
    key
        The caller's handle for it.
    tier
        None where it is not known.
    """

    key: int
    series: DailySeries
    tier: Tier | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Transferred:
    """A forecast carried over, and how.

    Attributes
    ----------
    own_days, own_weight, shrinkage_days
        Usable days of its own n, n / (n + k), and k (`shrinkage`).
    donors
        Handles and weights (sum 1), the heaviest first.
    interval_factor
        How much wider than the lender's own intervals, relative to the level.
    """

    prediction: Prediction
    own_days: int
    own_weight: float
    shrinkage_days: float
    parent_used: bool
    donors: tuple[tuple[DonorSeries, float], ...]
    interval_factor: float


def recent_level(series: DailySeries, *, until: int | None = None) -> float:
    """Mean of the newest four weeks' known days, up to a day."""
    values = series.values if until is None else series.values[: max(until - series.first_day + 1, 0)]
    newest = values[-LEVEL_DAYS:]
    known = newest[np.isfinite(newest)]
    return float(known.mean()) if len(known) else float("nan")


def pick(donors: Sequence[DonorSeries], tier: Tier | None) -> list[DonorSeries]:
    """Donors with two weeks or more; those of the tier where there are at least two, else all."""
    usable = [one for one in donors if one.series.known >= LEAST_DONOR_DAYS]
    same = [one for one in usable if tier is not None and one.tier is tier]
    chosen = same if len(same) >= 2 else usable
    return sorted(chosen, key=lambda one: -one.series.known)[:_MOST_DONORS]


def _relative_to(own: DailySeries, lender: DailySeries) -> float:
    """Own level over the lender's on the days both have, so that weekday and market cancel."""
    days = np.arange(own.first_day, own.last_day + 1)
    at = days - lender.first_day
    inside = (at >= 0) & (at < len(lender))
    theirs = np.where(inside, lender.values[np.clip(at, 0, len(lender) - 1)], np.nan)
    both = np.isfinite(own.values) & np.isfinite(theirs)
    if not both.any() or theirs[both].sum() <= 0:
        return float("nan")
    return float(own.values[both].sum() / theirs[both].sum())


def shrinkage(donors: Sequence[DailySeries], *, mine: float, borrowed: float, season_length: int) -> float:
    """How many days of its own weigh as much as what siblings tell: the k of n / (n + k).

    Empirical Bayes (Efron & Morris 1975): k is the variance of one day relative to the level over the variance
    of levels between siblings. A day's variance grows with the level as counts do, by the donors' median index
    of dispersion, so a large entity is believed after a day and a small one is not.

    Parameters
    ----------
    mine, borrowed
        The two levels in question, NaN where there is none; the larger one says how noisy a day is.
    """
    levels = np.array([recent_level(one) for one in donors])
    fine = np.isfinite(levels) & (levels > 0)
    if not fine.any():
        return 1.0
    noise = [
        (_SIGMA_OF_SEASONAL_DIFFERENCE * residual_scale(one.values, season_length=season_length)) ** 2 / level
        for one, level, used in zip(donors, levels, fine, strict=True)
        if used
    ]
    spread = float(np.var(np.log(levels[fine]))) if fine.sum() > 2 else _USUAL_SPREAD
    level = np.nanmax([mine, borrowed])
    if not level > 0:
        return 1.0
    return float(np.median(noise)) / (float(level) * max(spread, _LEAST_SPREAD))


def forecast_new(
    own: DailySeries | None,
    *,
    parent: DailySeries | None,
    donors: Sequence[DonorSeries],
    tier: Tier | None,
    wanted: Wanted,
    cutoff: int,
    learned: Learned = NOTHING,
) -> Transferred:
    """Forecast an entity with little or no history.

    The shape of the days to come is the lender's: the parent's forecast over the parent's recent level, or
    the donors' mean where there is no parent. The level is ``w * own + (1 - w) * borrowed`` with ``w = n / (n
    + k)`` and k from `shrinkage`. Own is the lender's recent level times what the entity had of it on the
    days it has; borrowed is the median level of the donors (the parent's share per donor where there are
    none).

    Parameters
    ----------
    own
        Its own days; None without any.
    cutoff
        Last day of history, days since 1970-01-01.

    Raises
    ------
    FailedPrecondition
        Neither a parent nor a donor with history.
    """
    chosen = pick(donors, tier)
    lender = parent if parent is not None and parent.known >= LEAST_DONOR_DAYS else None
    parent_used = lender is not None
    if lender is None:
        if not chosen:
            raise FailedPrecondition(
                "there is neither a parent nor a donor with history: a parent or donor needs "
                f"{LEAST_DONOR_DAYS} days",
                metadata={"days_needed": str(LEAST_DONOR_DAYS)},
            )
        lender = _sum(chosen)
    lender = _to(lender, cutoff)
    base = predict(lender, replace(wanted, method=Method.ENSEMBLE, members=(), combiner=None), learned)
    gap = cutoff - lender.last_day
    level = recent_level(lender)
    shape = base.point / level if level > 0 else np.ones(wanted.horizon)
    days = 0 if own is None else own.known
    levels = [value for value in (recent_level(one.series) for one in chosen) if np.isfinite(value)]
    borrowed = float(np.median(levels)) if levels else float("nan")
    mine = float("nan")
    if own is not None:
        share = _relative_to(own, lender)
        mine = share * level if np.isfinite(share) else recent_level(own)
    shrinkage_days = shrinkage(
        [one.series for one in chosen], mine=mine, borrowed=borrowed, season_length=wanted.season_length
    )
    weight = days / (days + shrinkage_days)
    if not np.isfinite(borrowed):
        # A parent alone: nothing says how large a share of it a newcomer takes but its own days.
        borrowed, weight = (mine, 1.0) if np.isfinite(mine) else (level, 0.0)
    if not np.isfinite(mine):
        mine, weight = borrowed, 0.0
    blended = weight * mine + (1 - weight) * borrowed
    point = blended * shape
    factor = 1.0 + UNCERTAIN_DAYS / (days + UNCERTAIN_DAYS)
    lower, upper = _bounds(base, point, chosen, blended, level, factor, wanted)
    total = float(point.sum())
    heavy = [(one, 1.0 / len(chosen)) for one in chosen]
    prediction = replace(
        base,
        method=Method.TRANSFER,
        cutoff=cutoff,
        point=point,
        lower=lower,
        upper=upper,
        total=total,
        total_lower=float(lower.sum()),
        total_upper=float(upper.sum()),
        members=(),
        combiner=None,
        interval_method="transferred_" + base.interval_method,
        coverage=None,
        coverage_samples=0,
        history_days=days,
        source=Source.TRANSFER,
        reason="",
        warnings=(
            *base.warnings,
            *((f"the lender's history ends {gap} days before the cutoff",) if gap else ()),
        ),
    )
    return Transferred(prediction, days, weight, shrinkage_days, parent_used, tuple(heavy), factor)


def _to(series: DailySeries, cutoff: int) -> DailySeries:
    return series.until(max(cutoff - series.first_day + 1, 1))


def _sum(donors: Sequence[DonorSeries]) -> DailySeries:
    """The donors' mean by day."""
    first = min(one.series.first_day for one in donors)
    last = max(one.series.last_day for one in donors)
    table = np.full((len(donors), last - first + 1), np.nan)
    for row, one in enumerate(donors):
        at = one.series.first_day - first
        table[row, at : at + len(one.series)] = one.series.values
    counts = np.isfinite(table).sum(axis=0)
    values = np.where(counts > 0, np.nansum(table, axis=0) / np.maximum(counts, 1), np.nan)
    return DailySeries(first, values, all(one.series.nonnegative for one in donors), "donors")


def _bounds(
    base: Prediction,
    point: Vector,
    donors: Sequence[DonorSeries],
    level: float,
    lender_level: float,
    factor: float,
    wanted: Wanted,
) -> tuple[Vector, Vector]:
    """Half widths of the lender's intervals at the entity's size: a small entity is noisier than its parent.

    The relative width grows as the donors' own surprises do against the lender's, or as counts do (the square
    root of how much smaller it is) where there are none; then by `factor`.
    """
    relative_size = max(level / lender_level, 1e-9) if lender_level > 0 else 1.0
    spread = relative_size**0.5
    ratios = [
        residual_scale(one.series.values, season_length=wanted.season_length) / recent_level(one.series)
        for one in donors
        if recent_level(one.series) > 0
    ]
    if ratios and lender_level > 0:
        width = float(np.nanmean(base.upper - base.lower)) / lender_level
        own_width = 3.3 * float(np.median(ratios))
        if np.isfinite(width) and width > 0:
            spread = relative_size * max(own_width / width, 1.0)
    lower = point - (base.point - base.lower) * spread * factor
    upper = point + (base.upper - base.point) * spread * factor
    return np.maximum(lower, 0.0), np.maximum(upper, point)
