"""Ratios such as CPL, both ways: from forecasts of their parts, and directly."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.metrics import divide

from adsml_forecasting.models.conformal import residual_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import NOTHING, Learned, Prediction, Wanted, predict
from adsml_forecasting.models.rolling_origin import newest_rows
from adsml_forecasting.models.series import DailySeries, Vector

ORIGINS: Final = 3


class RatioMode(StrEnum):
    """How a ratio is forecast; as the contract's `CplMode`."""

    RATIO_OF_PARTS = "RATIO_OF_PARTS"
    DIRECT = "DIRECT"


@dataclass(frozen=True, slots=True, eq=False)
class RatioSeries:
    """A ratio's parts on the same calendar.

    Attributes
    ----------
    numerator, denominator
        Starting on the same day.
    scale
        What the ratio is multiplied by (100 for percent).
    """

    numerator: DailySeries
    denominator: DailySeries
    scale: float

    @property
    def daily(self) -> DailySeries:
        """The daily ratio; days without a denominator are missing.

        Raises
        ------
        InsufficientHistory
            No day has one.
        """
        rows = min(len(self.numerator), len(self.denominator))
        values = divide(self.numerator.values[:rows], self.denominator.values[:rows], scale=self.scale)
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            raise InsufficientHistory(self.numerator.name, had=0, needed=1, unit="days with a denominator")
        return DailySeries(
            self.numerator.first_day + int(known[0]),
            values[known[0] : known[-1] + 1],
            True,
            self.numerator.name,
        )

    def until(self, rows: int) -> "RatioSeries":
        """The first `rows` days."""
        return replace(
            self,
            numerator=replace(self.numerator, values=self.numerator.values[:rows]),
            denominator=replace(self.denominator, values=self.denominator.values[:rows]),
        )


def predict_ratio(
    ratio: RatioSeries,
    wanted: Wanted,
    *,
    mode: RatioMode | None,
    numerator: Learned = NOTHING,
    denominator: Learned = NOTHING,
    direct: Learned = NOTHING,
) -> tuple[Prediction, RatioMode]:
    """Forecast a ratio.

    Parameters
    ----------
    mode
        None: the one with less error (weighted by the denominator) on rolling origins of a cheap method of
        the same kind; from its parts where that can't be measured.
    numerator, denominator, direct
        What registered models know of each.

    Returns
    -------
    The forecast, and how it was made. The total is the ratio of the sums.
    """
    chosen = mode or better_mode(ratio, wanted)
    if chosen is RatioMode.DIRECT:
        try:
            found = predict(_ended(ratio.daily, ratio), wanted, direct)
            if mode is not None or np.isfinite(found.point).all():
                below = predict(ratio.denominator, replace(wanted, method=Method.EMA, members=()))
                total = float(divide(found.point @ below.point, below.point.sum()))
                return _of_ratio(found, total), chosen
        except InsufficientHistory:
            if mode is not None:
                raise
        chosen = RatioMode.RATIO_OF_PARTS
    above = predict(ratio.numerator, wanted, numerator)
    below = predict(ratio.denominator, wanted, denominator)
    point = divide(above.point, below.point, scale=ratio.scale)
    lower, upper = _spread(ratio, point, wanted, above, below)
    found = replace(
        above,
        point=point,
        lower=lower,
        upper=upper,
        members=tuple(
            replace(
                member,
                values=divide(member.values, other.values, scale=ratio.scale)
                if len(member.values) and len(other.values)
                else member.values[:0],
                failure=member.failure or other.failure,
            )
            for member, other in zip(above.members, below.members, strict=False)
        ),
        warnings=tuple(dict.fromkeys((*above.warnings, *below.warnings, *_no_denominator(ratio)))),
        interval_method="relative_spread_of_parts",
        coverage=None,
        coverage_samples=0,
    )
    total = float(divide(above.total, below.total, scale=ratio.scale))
    return _of_ratio(found, total), chosen


def _ended(daily: DailySeries, ratio: RatioSeries) -> DailySeries:
    """The daily ratio up to the cutoff, even where its last days have no denominator."""
    gap = ratio.numerator.last_day - daily.last_day
    if gap <= 0:
        return daily
    last = daily.filled(season_length=7)[-7:]
    # The last known week stands for the days without a ratio, so that the forecast starts after the cutoff.
    return replace(daily, values=np.concatenate([daily.values, np.resize(last, gap)]))


def _no_denominator(ratio: RatioSeries) -> tuple[str, ...]:
    days = len(ratio.denominator)
    zero = int((ratio.denominator.values == 0).sum())
    return (f"{zero} of {days} days have no denominator",) if zero else ()


def _of_ratio(found: Prediction, total: float) -> Prediction:
    """The total of a ratio is a ratio of sums; its interval is the mean of the days' ends around it."""
    width_low = float(np.nanmean(found.point - found.lower)) if np.isfinite(found.lower).any() else np.nan
    width_high = float(np.nanmean(found.upper - found.point)) if np.isfinite(found.upper).any() else np.nan
    return replace(
        found,
        total=total,
        total_lower=max(total - width_low, 0.0) if np.isfinite(width_low) else np.nan,
        total_upper=total + width_high,
    )


def _spread(
    ratio: RatioSeries, point: Vector, wanted: Wanted, above: Prediction, below: Prediction
) -> tuple[Vector, Vector]:
    """Ends of the ratio from its parts', as independent relative errors; wide where both move together."""

    def relative(one: Prediction, end: Vector) -> Vector:
        return np.abs(divide(end - one.point, one.point))

    # A high ratio comes of a high numerator or a low denominator.
    up = np.hypot(relative(above, above.upper), relative(below, below.lower))
    down = np.hypot(relative(above, above.lower), relative(below, below.upper))
    lower = point * np.maximum(1 - down, 0.0)
    upper = point * (1 + up)
    try:
        daily = ratio.daily
    except InsufficientHistory:
        return lower, upper
    floor = residual_scale(daily.values, season_length=wanted.season_length)
    return np.maximum(lower, 0.0), np.maximum(upper, point + 0.1 * floor)


def better_mode(ratio: RatioSeries, wanted: Wanted) -> RatioMode:
    """Which way has less error on rolling origins, by EMA, which costs nothing and treats both ways alike."""
    cheap = replace(wanted, method=Method.EMA, members=(), combiner=None)
    losses = {RatioMode.RATIO_OF_PARTS: 0.0, RatioMode.DIRECT: 0.0}
    measured = 0.0
    for rows in newest_rows(len(ratio.numerator), horizon=wanted.horizon, count=ORIGINS):
        before = ratio.until(rows)
        weight = ratio.denominator.values[rows : rows + wanted.horizon]
        actual = divide(ratio.numerator.values[rows : rows + wanted.horizon], weight, scale=ratio.scale)
        used = np.isfinite(actual)
        try:
            daily = before.daily
            if len(daily) < 7 or not used.any():
                continue
            parts = divide(_ema(before.numerator, cheap), _ema(before.denominator, cheap), scale=ratio.scale)
            straight = _ema(_ended(daily, before), cheap)
        except InsufficientHistory:
            continue
        for mode, values in ((RatioMode.RATIO_OF_PARTS, parts), (RatioMode.DIRECT, straight)):
            miss = np.abs(np.nan_to_num(values[: len(actual)]) - actual)
            losses[mode] += float((miss * weight)[used].sum())
        measured += float(weight[used].sum())
    if not measured:
        return RatioMode.RATIO_OF_PARTS
    return min(losses, key=lambda mode: losses[mode])


def _ema(series: DailySeries, wanted: Wanted) -> Vector:
    from adsml_forecasting.models.ema import Ema  # noqa: PLC0415

    known = series.until(len(series))
    gap = len(series) - len(known)
    return Ema(season_length=wanted.season_length).fit(known).predict(wanted.horizon + gap)[gap:]
