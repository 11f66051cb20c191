"""A new entity's forecast: its parent's shape, its own level drawn to that of its donors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.metrics import Metric
from adsml_common.domain.tiers import Tier
from scipy.special import ndtri

from adsml_forecasting.models.intervals import residual_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import (
    NOTHING,
    ForecastSpec,
    LearnedModels,
    Prediction,
    Source,
    predict,
)
from adsml_forecasting.models.prepared import Caution, CautionKind, Prepared, day_text
from adsml_forecasting.models.ratios import DISPERSION, aligned, parts_of, ratio_of
from adsml_forecasting.models.series import DailySeries, Vector

_UNCERTAIN_DAYS: Final = 2.0
"""Intervals are wider by this over (this + own days), for what a lender cannot tell of a newcomer."""
_LEAST_SPREAD: Final = 0.1
_USUAL_SPREAD: Final = 0.5
"""Variance of the logarithm of levels between siblings: at least, and where donors are too few to tell."""
_SIGMA_OF_SEASONAL_DIFFERENCE: Final = 0.886
"""Standard deviation over the mean absolute difference of two normal values, sqrt(pi) / 2."""
_LEVEL_DAYS: Final = 28
"""Days that a parent's or donor's level is taken from."""
_LEAST_DONOR_DAYS: Final = 14
_MOST_DONORS: Final = 20
_RATE_DAYS: Final = 56
_LENT_EVENTS: Final = 8.0
"""Events that the rate of parent and donors is worth beside the entity's own."""


@dataclass(frozen=True, slots=True, eq=False)
class DonorSeries:
    """An entity whose days may be borrowed, by the caller's handle for it."""

    key: int
    series: DailySeries
    tier: Tier | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TransferTask:
    """One column of an entity with little or no history, and who may lend it days.

    `own` and `parent` are None where there is no usable day; `learned` is what registered models know of the parent.
    """

    own: DailySeries | None
    parent: DailySeries | None
    donors: tuple[DonorSeries, ...]
    learned: LearnedModels = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class Transferred:
    """A forecast carried over, and how.

    From n usable days of its own: `own_weight` is n / (n + k) with k `shrinkage_days` (`shrinkage`). Donors
    come with their weights (sum 1), the heaviest first; intervals are wider by a factor than the lender's own,
    relative to the level.
    """

    prediction: Prediction
    own_days: int
    own_weight: float
    shrinkage_days: float
    parent_used: bool
    donors: tuple[tuple[DonorSeries, float], ...]
    interval_factor: float


def _recent_level(series: DailySeries) -> float:
    """Mean of the newest four weeks' known days."""
    newest = series.values[-_LEVEL_DAYS:]
    known = newest[np.isfinite(newest)]
    return float(known.mean()) if len(known) else float("nan")


def pick(donors: Sequence[DonorSeries], tier: Tier | None) -> list[DonorSeries]:
    """Donors with two weeks or more; those of the tier where there are at least two, else all."""
    usable = [one for one in donors if one.series.known >= _LEAST_DONOR_DAYS]
    same = [one for one in usable if tier is not None and one.tier is tier]
    return sorted(same if len(same) >= 2 else usable, key=lambda one: -one.series.known)[:_MOST_DONORS]


def _own_level(own: DailySeries, lender: DailySeries) -> float:
    """The lender's recent level times the share of it on the days both have, so that weekday and market cancel."""
    mine, theirs = aligned(own, lender)
    both = np.isfinite(mine) & np.isfinite(theirs)
    if not both.any() or theirs[both].sum() <= 0:
        return _recent_level(own)
    return float(mine[both].sum() / theirs[both].sum()) * _recent_level(lender)


def _between(levels: Sequence[float]) -> float:
    """Variance of the logarithm of siblings' levels above 0."""
    known = np.array([one for one in levels if one > 0])
    return max(float(np.var(np.log(known))) if len(known) > 2 else _USUAL_SPREAD, _LEAST_SPREAD)


def shrinkage(donors: Sequence[DailySeries], *, mine: float, borrowed: float) -> float:
    """How many days of its own weigh as much as what siblings tell: the k of n / (n + k).

    Empirical Bayes (Efron & Morris 1975): k is the variance of one day relative to the level over the variance
    of levels between siblings. A day's variance grows with the level as counts do, by the donors' median index
    of dispersion, so a large entity is believed after a day and a small one is not. Of the two levels in
    question (NaN where there is none) the larger one says how noisy a day is.
    """
    levels = [_recent_level(one) for one in donors]
    noise = [
        (_SIGMA_OF_SEASONAL_DIFFERENCE * residual_scale(one)) ** 2 / level
        for one, level in zip(donors, levels, strict=True)
        if level > 0
    ]
    level = np.nanmax([mine, borrowed]) if noise else 0.0
    return float(np.median(noise)) / (float(level) * _between(levels)) if level > 0 else 1.0


def forecast_new(
    tasks: Mapping[str, TransferTask], metric: Metric, *, tier: Tier | None, spec: ForecastSpec, as_of: int
) -> Transferred:
    """Forecast a metric of an entity with little or no history, from tasks by column (`parts_of`).

    A ratio is forecast from its parts: what is counted per (spend) carried over as a column is, and the events
    (leads) by the rate of those who lend, drawn to the entity's own events. Its total is the ratio of sums.
    `FailedPrecondition` where there is neither a parent nor a donor with history.
    """
    if not metric.is_ratio:
        return forecast_column(tasks[metric.value], tier=tier, spec=spec, as_of=as_of)
    counted, per = parts_of(metric)
    exposure = forecast_column(tasks[per], tier=tier, spec=spec, as_of=as_of)
    lent = _lent_rate(tasks[counted], tasks[per])
    seen, exposed = (
        0.0 if one.own is None else float(np.nansum(one.own.values)) for one in (tasks[counted], tasks[per])
    )
    # What is known of the rate is worth so many events; what comes of it varies as counts in bunches do.
    known = seen + _LENT_EVENTS
    rate = known / (exposed + _LENT_EVENTS / lent) if lent > 0 else float("nan")
    quantile = float(ndtri((1 + spec.level) / 2))

    def ratios(events: Vector, exposures: Vector) -> Vector:
        """Expected, and the ends, lower ones first."""
        spread = quantile * np.sqrt(DISPERSION * events + (events / np.sqrt(known) * DISPERSION) ** 2)
        ends = np.maximum(events - spread, np.minimum(1.0, events)), events + spread
        bounds = np.sort([ratio_of(metric, end, exposures) for end in ends], axis=0)
        return np.vstack([ratio_of(metric, events, exposures), bounds])

    amount = exposure.prediction.point
    expected = amount * rate
    point, lower, upper = ratios(expected, amount)
    total = ratios(np.array([expected.sum()]), np.array([amount.sum()]))[:, 0].tolist()
    warnings = exposure.prediction.warnings
    if not np.isfinite(rate):
        text = f"neither parent nor donors have {counted}: there is no {metric.value} to forecast"
        warnings = (*warnings, Caution(CautionKind.FEW_LEADS, text))
    prediction = replace(
        exposure.prediction,
        point=point,
        lower=lower,
        upper=upper,
        total=total[0],
        total_lower=total[1],
        total_upper=total[2],
        interval_method="transferred_rate",
        warnings=warnings,
    )
    return replace(exposure, prediction=prediction, own_weight=seen / known, interval_factor=1.0)


def _lent_rate(events: TransferTask, exposure: TransferTask) -> float:
    """Events per exposure of parent and donors in their newest weeks; NaN without any exposure."""
    counted = per = 0.0
    by_key = {one.key: one.series for one in events.donors}
    lenders = [
        (events.parent, exposure.parent),
        *((by_key.get(one.key), one.series) for one in exposure.donors),
    ]
    for top, bottom in lenders:
        if bottom is not None:
            per += float(np.nansum(bottom.values[-_RATE_DAYS:]))
            if top is not None:
                first = bottom.last_day - _RATE_DAYS + 1
                counted += float(np.nansum(top.values[max(first - top.first_day, 0) :]))
    return counted / per if per > 0 else float("nan")


def forecast_column(task: TransferTask, *, tier: Tier | None, spec: ForecastSpec, as_of: int) -> Transferred:
    """Forecast one column of an entity with little or no history.

    The shape of the days to come is the lender's: the parent's forecast over the parent's recent level, or
    the donors' mean where there is no parent. The level is ``w * own + (1 - w) * borrowed`` with ``w = n / (n
    + k)`` and k from `shrinkage`. Own is the lender's recent level times what the entity had of it on the
    days it has; borrowed is the median level of the donors.
    """
    own, parent = task.own, task.parent
    chosen = pick(task.donors, tier)
    parent_used = parent is not None and parent.known >= _LEAST_DONOR_DAYS
    if parent is None or not parent_used:
        if not chosen:
            raise FailedPrecondition(
                "there is neither a parent nor a donor with history: a parent or donor needs "
                f"{_LEAST_DONOR_DAYS} days",
                metadata={"days_needed": str(_LEAST_DONOR_DAYS)},
            )
        parent = _mean(chosen)
    lender = parent.until(max(as_of - parent.first_day + 1, 1))
    prepared = replace(Prepared.of_series(lender, horizon=spec.horizon), as_of=max(as_of, lender.last_day))
    base = predict(prepared, spec, task.learned)
    level = _recent_level(lender)
    shape = base.point / level if level > 0 else np.ones(spec.horizon)
    days = 0 if own is None else own.known
    levels = [value for value in (_recent_level(one.series) for one in chosen) if np.isfinite(value)]
    borrowed = float(np.median(levels)) if levels else float("nan")
    mine = float("nan") if own is None else _own_level(own, lender)
    shrinkage_days = shrinkage([one.series for one in chosen], mine=mine, borrowed=borrowed)
    weight = days / (days + shrinkage_days)
    if not np.isfinite(borrowed):
        # A parent alone: nothing says how large a share of it a newcomer takes but its own days.
        borrowed, weight = (mine, 1.0) if np.isfinite(mine) else (level, 0.0)
    if not np.isfinite(mine):
        mine, weight = borrowed, 0.0
    blended = weight * mine + (1 - weight) * borrowed
    point = blended * shape
    factor = 1.0 + _UNCERTAIN_DAYS / (days + _UNCERTAIN_DAYS)
    lower, upper = _bounds(base, point, chosen, blended, level, factor)
    total = float(point.sum())
    total_lower = total_upper = float("nan")
    if np.isfinite(lower).all():
        # Days vary each by itself; the level is wrong for all of them together, with the posterior variance of a
        # mean of two sources that weigh as they are precise.
        apart = np.sqrt((((upper - lower) / 2) ** 2).sum())
        together = float(ndtri((1 + spec.level) / 2)) * total * np.sqrt(_between(levels) * (1 - weight))
        half = float(np.hypot(apart, together))
        total_lower, total_upper = max(total - half, 0.0), total + half
    warnings = base.warnings
    if (gap := as_of - lender.last_day) > 0:
        text = f"the lender's history ends {gap} days before {day_text(as_of)}"
        warnings = (*warnings, Caution(CautionKind.STALE_DATA, text))
    prediction = replace(
        base,
        method=Method.TRANSFER,
        as_of=as_of,
        point=point,
        lower=lower,
        upper=upper,
        total=total,
        total_lower=total_lower,
        total_upper=total_upper,
        members=(),
        combiner=None,
        interval_method="transferred_" + base.interval_method,
        coverage=None,
        coverage_samples=0,
        history_days=days,
        source=Source.TRANSFER,
        reason="",
        warnings=warnings,
    )
    donors = tuple((one, 1.0 / len(chosen)) for one in chosen)
    return Transferred(prediction, days, weight, shrinkage_days, parent_used, donors, factor)


def _mean(donors: Sequence[DonorSeries]) -> DailySeries:
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
) -> tuple[Vector, Vector]:
    """Half widths of the lender's intervals at the entity's size: a small entity is noisier than its parent.

    The relative width grows as the donors' own surprises do against the lender's, or as counts do (the square
    root of how much smaller it is) where there are none; then by `factor`.
    """
    relative_size = max(level / lender_level, 1e-9) if lender_level > 0 else 1.0
    spread = relative_size**0.5
    levels = [(one.series, _recent_level(one.series)) for one in donors]
    ratios = [residual_scale(series) / level for series, level in levels if level > 0]
    if ratios and lender_level > 0:
        width = float(np.nanmean(base.upper - base.lower)) / lender_level
        own_width = 3.3 * float(np.median(ratios))
        if np.isfinite(width) and width > 0:
            spread = relative_size * max(own_width / width, 1.0)
    lower = point - (base.point - base.lower) * spread * factor
    upper = point + (base.upper - base.point) * spread * factor
    return np.maximum(lower, 0.0), np.maximum(upper, point)
