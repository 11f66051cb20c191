"""Ratios such as CPL: what is expected to be spent over what it is expected to bring.

One part counts events (leads of a CPL), the other is what they are counted per (spend). The exposure is forecast
by the methods; so are the events, drawn to the rate of `rates` times the exposure, so that no expected count is
0 or a fraction of what the history lets expect. A total is a ratio of sums. Intervals come from the sums of the
events given the very exposure of their days, in the past's horizons: what moves both parts alike cancels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric, Ratio, divide

from adsml_forecasting.models.caution import Caution, CautionKind
from adsml_forecasting.models.ensemble import MemberForecast
from adsml_forecasting.models.prediction import (
    NOTHING,
    ForecastSpec,
    LearnedModels,
    Prediction,
    predict,
)
from adsml_forecasting.models.preparation import Prepared
from adsml_forecasting.models.rates import learn_rate
from adsml_forecasting.models.series import Vector
from adsml_forecasting.models.totals import TotalSpread, total_interval, total_spread

EVENTS: Final[Mapping[Metric, str]] = {
    Metric.CPL: "leads",
    Metric.CTR: "clicks",
    Metric.CPC: "clicks",
    Metric.CPM: "impressions",
    Metric.CONVERSION_RATE: "leads",
    Metric.FREQUENCY: "impressions",
}
"""Which part of a ratio is counted; the other is what it is counted per."""


class RatioMode(StrEnum):
    """How a ratio is forecast; as in the contract."""

    PARTS = "PARTS"
    DIRECT = "DIRECT"


FORECAST_EVENTS: Final = 60.0
"""Events a week from which the forecast of the events weighs as much as their rate times the exposure."""
_MOST_SHAPE: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class RatioParts:
    """A ratio's two parts of one entity, prepared over the same days.

    Attributes
    ----------
    metric, ratio
        Which ratio.
    events, exposure
        Which of its parts is counted, and what per.
    lent
        Events per exposure of the parent or account; None where not known.
    """

    metric: Metric
    ratio: Ratio
    events: Prepared
    exposure: Prepared
    lent: float | None = None

    @property
    def events_above(self) -> bool:
        """Whether the counted part is the numerator."""
        return EVENTS[self.metric] == self.ratio.numerator


def aligned(parts: RatioParts) -> tuple[Vector, Vector]:
    """Events and exposure on the days that both have."""
    one, other = parts.events.series, parts.exposure.series
    first = max(one.first_day, other.first_day)
    last = min(one.last_day, other.last_day)
    if last < first:
        return np.empty(0), np.empty(0)
    return (
        one.values[first - one.first_day : last - one.first_day + 1],
        other.values[first - other.first_day : last - other.first_day + 1],
    )


def predict_ratio(
    parts: RatioParts,
    spec: ForecastSpec,
    *,
    mode: RatioMode = RatioMode.PARTS,
    events: LearnedModels = NOTHING,
    exposure: LearnedModels = NOTHING,
) -> Prediction:
    """Forecast a ratio from its parts.

    Parameters
    ----------
    mode
        DIRECT: the rate of sums over windows times the exposure, whatever the methods say of the events.
    events, exposure
        What registered models know of each part.

    Returns
    -------
    Prediction
        NaN on days, and as a total, where no delivery or no event is expected; a warning says why.

    Raises
    ------
    AdsmlError
        As of `predict`, of either part.
    """
    below = predict(parts.exposure, spec, exposure)
    above = predict(parts.events, spec, events)
    counted, per = aligned(parts)
    rate = learn_rate(counted, per, lent=parts.lent)
    spread = total_spread(counted, horizon=spec.horizon, exposure=per)
    amount = below.point
    total_amount = float(amount.sum())
    said = amount * rate.value if mode is RatioMode.DIRECT else above.point
    expected = expected_events(said, amount, rate.value)
    total_expected = float(expected.sum())
    warnings = [*below.warnings, *above.warnings]
    name, metric = EVENTS[parts.metric], parts.metric.value
    if not total_amount > 0 or parts.exposure.stopped:
        text = f"no delivery is expected: there is no {metric} to forecast"
        warnings.append(Caution(CautionKind.NO_DELIVERY, text))
        amount = expected = np.zeros(spec.horizon)
    elif rate.missed is not None or not total_expected > 0:
        since = "no day of the history has any"
        if rate.missed is not None:
            since = f"none has come for weeks in which {rate.missed:.0f} should have"
        text = f"no {name} can be expected: {since}; there is no {metric} to forecast"
        warnings.append(Caution(CautionKind.FEW_LEADS, text))
        amount = expected = np.zeros(spec.horizon)
    point = _ratio(parts, expected, amount)
    total = float(_ratio(parts, np.array([expected.sum()]), np.array([amount.sum()]))[0])
    reach = spread.reach(spec.level)
    lower, upper = _daily_bounds(parts, counted, per, expected, amount, spec)
    total_lower, total_upper = _bounds(
        parts, float(expected.sum()), float(amount.sum()), spread, reach, parts.events.gap
    )
    return replace(
        above,
        point=point,
        lower=lower,
        upper=upper,
        total=total,
        total_lower=total_lower,
        total_upper=total_upper,
        members=_members(parts, above, below, rate.value),
        warnings=tuple(dict.fromkeys(warnings)),
        interval_method="conformal_on_sums_given_exposure",
        residuals=len(spread.misses),
        coverage=None,
        coverage_samples=0,
    )


def expected_events(forecast: Vector, amount: Vector, rate: float) -> Vector:
    """Events of each day: forecast, and rate times exposure, mixed by how many there are; never less than a part."""
    by_rate = amount * rate
    if not np.isfinite(rate):
        return forecast
    total, usual = float(forecast.sum()), float(by_rate.sum())
    if not usual > 0:
        return np.zeros(len(forecast))
    weight = usual / (usual + FORECAST_EVENTS * len(amount) / 7)
    level = usual * (max(total, usual / _MOST_SHAPE) / usual) ** weight if total > 0 else usual
    # The shape of the week is the forecast's, within reason.
    shape = np.divide(
        forecast / max(total, 1e-300), by_rate / usual, out=np.ones(len(amount)), where=by_rate > 0
    )
    shaped = by_rate * np.clip(shape, 1 / _MOST_SHAPE, _MOST_SHAPE) if total > 0 else by_rate
    return np.asarray(shaped * (level / shaped.sum()), dtype=np.float64)


def _ratio(parts: RatioParts, events: Vector, exposure: Vector) -> Vector:
    top, bottom = (events, exposure) if parts.events_above else (exposure, events)
    out = divide(top, bottom, scale=parts.ratio.scale)
    # Without exposure nothing is counted, whichever part that is.
    return np.where(exposure > 0, out, np.nan)


def _bounds(
    parts: RatioParts, events: float, exposure: float, spread: TotalSpread, reach: float, gap: int
) -> tuple[float, float]:
    """Ends of the ratio of sums from the ends of the events, the exposure being what is expected."""
    if not events > 0 or not exposure > 0:
        return float("nan"), float("nan")
    free = replace(spread, counts=False)
    low, high = total_interval(events, free, reach=reach, gap=gap)
    if not parts.events_above and spread.counts:
        # A ratio is there only with an event at least: its largest value is that of one.
        low = max(low, min(1.0, events))
    ends = _ratio(parts, np.array([max(low, 1e-300), high]), np.array([exposure, exposure]))
    return float(ends.min()), float(ends.max())


def _daily_bounds(
    parts: RatioParts, counted: Vector, per: Vector, expected: Vector, amount: Vector, spec: ForecastSpec
) -> tuple[Vector, Vector]:
    daily = total_spread(counted, horizon=1, exposure=per)
    reach = daily.reach(spec.level)
    ends = [
        _bounds(parts, float(count), float(money), daily, reach, parts.events.gap)
        for count, money in zip(expected, amount, strict=True)
    ]
    lower, upper = np.array(ends).T
    return lower, upper


def _members(
    parts: RatioParts, above: Prediction, below: Prediction, rate: float
) -> tuple[MemberForecast, ...]:
    """Each member's own ratio, where it forecast both parts."""
    others = {member.method: member for member in below.members}
    out = []
    for member in above.members:
        other = others.get(member.method)
        values = np.empty(0)
        if other is not None and len(member.values) and len(other.values):
            values = _ratio(parts, expected_events(member.values, other.values, rate), other.values)
        failure = member.failure or ("" if other is None else other.failure)
        out.append(replace(member, values=values, failure=failure))
    return tuple(out)
