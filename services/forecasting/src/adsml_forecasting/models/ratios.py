"""Ratios such as CPL: what is expected to be spent over what it is expected to bring.

One part counts events (leads of a CPL), the other is what they are counted per (spend). The exposure is forecast
by the methods; so are the events, drawn to the rate of `rates` times the exposure, so that no expected count is
0 or a fraction of what the history lets expect. A total is a ratio of sums. For intervals both parts are drawn
jointly: an exposure, then events given that exposure, each as far from what is expected as the past's horizons were
(`totals`), so that what moves both parts alike cancels; what the draws say is then scaled by those misses' own order
statistics (conformal).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric, Ratio, divide
from scipy.special import ndtri

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
from adsml_forecasting.models.totals import TotalSpread, total_spread

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


FORECAST_EVENTS: Final = 600.0
"""Events a week from which the forecast of the events weighs as much as their rate times the exposure."""
_MOST_SHAPE: Final = 2.0
_DRAWS: Final = 2000


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
    one, other = parts.events.levelled, parts.exposure.levelled
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
    spread = total_spread(counted, horizon=spec.horizon, exposure=per, rates=rate.path)
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
    own = total_spread(per, horizon=spec.horizon)
    lower, upper = _daily_bounds(parts, counted, per, rate.path, expected, amount, spec)
    total_lower, total_upper = _bounds(
        parts, float(expected.sum()), float(amount.sum()), spread, own, spec.level
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
        interval_method="joint_resampling_conformal",
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
    parts: RatioParts, events: float, exposure: float, spread: TotalSpread, own: TotalSpread, level: float
) -> tuple[float, float]:
    """Ends of the ratio of sums; `spread` is of events given exposure, `own` of the exposure."""
    if not events > 0 or not exposure > 0:
        return float("nan"), float("nan")
    point = float(_ratio(parts, np.array([events]), np.array([exposure]))[0])
    # The same draws for every question: an answer must not change from one asking to the next.
    rng = np.random.Generator(np.random.PCG64(0))
    varies = min(own.unit(exposure) / exposure, 1.0)
    share = np.exp(varies * rng.standard_normal(_DRAWS) - varies**2 / 2)
    mean = events * share * np.exp(spread.relative * rng.standard_normal(_DRAWS) - spread.relative**2 / 2)
    square = spread.scale**2
    if spread.counts and square > 1:
        drawn = rng.poisson(rng.gamma(mean / (square - 1), square - 1)).astype(np.float64)
    elif spread.counts:
        drawn = np.round(mean + np.sqrt(square * mean) * rng.standard_normal(_DRAWS))
    else:
        drawn = mean + np.sqrt(square * mean) * rng.standard_normal(_DRAWS)
    amounts = exposure * share
    # A ratio of events below is there only with an event at least.
    used = np.ones(_DRAWS, dtype=bool) if parts.events_above else drawn >= (1 if spread.counts else 1e-9)
    if not used.any():
        return point, point
    ratios = _ratio(parts, np.maximum(drawn[used], 0.0), amounts[used])
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    stretch = spread.reach(level) / float(ndtri((1 + level) / 2))
    low, high = min(float(low), point), max(float(high), point)
    return (point * (low / point) ** stretch if low > 0 else 0.0), point * (high / point) ** stretch


def _daily_bounds(
    parts: RatioParts,
    counted: Vector,
    per: Vector,
    rates: Vector,
    expected: Vector,
    amount: Vector,
    spec: ForecastSpec,
) -> tuple[Vector, Vector]:
    daily = total_spread(counted, horizon=1, exposure=per, rates=rates)
    own = total_spread(per, horizon=1)
    ends = [
        _bounds(parts, float(count), float(money), daily, own, spec.level)
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
