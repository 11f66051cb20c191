"""Ratios such as CPL: what is expected to be spent over what it is expected to bring.

One part counts events (leads of a CPL), the other is what they are counted per (spend). The exposure is forecast
by the methods; so are the events, drawn to their rate (`learn_rate`) times the exposure, so that no expected count is
0 or a fraction of what the history lets expect. A total is a ratio of sums. For intervals both parts are drawn
jointly: an exposure, then events given that exposure, each as far from what is expected as the past's horizons were
(`total_spread`), so that what moves both parts alike cancels; what the draws say is then scaled by those misses' own
order statistics (conformal).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.metrics import RATIOS, Metric, divide
from scipy.special import ndtri

from adsml_forecasting.models.intervals import TotalSpread, total_spread
from adsml_forecasting.models.prediction import (
    ForecastSpec,
    LearnedModels,
    MemberForecast,
    Prediction,
    predict,
)
from adsml_forecasting.models.prepared import Caution, CautionKind, Prepared
from adsml_forecasting.models.series import DailySeries, Vector

EVENTS: Final[Mapping[Metric, str]] = {
    Metric.CPL: "leads",
    Metric.CTR: "clicks",
    Metric.CPC: "clicks",
    Metric.CPM: "impressions",
    Metric.CONVERSION_RATE: "leads",
    Metric.FREQUENCY: "impressions",
}
"""Which part of a ratio is counted; the other is what it is counted per."""
FORECAST_EVENTS: Final = 600.0
"""Events a week from which the forecast of the events weighs as much as their rate times the exposure."""
_MOST_SHAPE: Final = 2.0
_DRAWS: Final = 2000
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


class RatioMode(StrEnum):
    """How a ratio is forecast; as in the contract."""

    PARTS = "PARTS"
    DIRECT = "DIRECT"


def parts_of(metric: Metric) -> tuple[str, ...]:
    """The columns that a metric is forecast from: its own, or a ratio's events and what they are counted per."""
    ratio = RATIOS.get(metric)
    if ratio is None:
        return (metric.value,)
    counted = EVENTS[metric]
    return counted, ratio.numerator if ratio.denominator == counted else ratio.denominator


def aligned(*parts: DailySeries) -> list[Vector]:
    """Values on the days that all have."""
    first = max(one.first_day for one in parts)
    last = max(min(one.last_day for one in parts), first - 1)
    return [one.values[first - one.first_day : last - one.first_day + 1] for one in parts]


def ratio_of(metric: Metric, events: Vector, exposure: Vector) -> Vector:
    """Numerator over denominator, NaN where the denominator is not above 0."""
    ratio = RATIOS[metric]
    top, bottom = (events, exposure) if EVENTS[metric] == ratio.numerator else (exposure, events)
    return divide(top, bottom, scale=ratio.scale)


def predict_ratio(
    metric: Metric,
    parts: Sequence[Prepared],
    spec: ForecastSpec,
    *,
    mode: RatioMode = RatioMode.PARTS,
    learned: Sequence[LearnedModels],
    lent: float | None = None,
) -> Prediction:
    """Forecast a ratio from its parts (`parts_of`), prepared over the same days, and what models know of each.

    By DIRECT the rate of sums over windows times the exposure counts, whatever the methods say of the events. `lent`
    are events per exposure of the account. NaN, with a warning, where no delivery or no event is expected; errors as
    of `predict`, of either part.
    """
    above, below = (predict(part, spec, known) for part, known in zip(parts, learned, strict=True))
    counted, per = aligned(*(part.levelled for part in parts))
    rate = learn_rate(counted, per, lent=lent)
    amount = below.point
    said = amount * rate.value if mode is RatioMode.DIRECT else above.point
    expected = expected_events(said, amount, rate.value)
    warnings = [*below.warnings, *above.warnings]
    name = EVENTS[metric]
    if not float(amount.sum()) > 0 or parts[1].stopped:
        text = f"no delivery is expected: there is no {metric.value} to forecast"
        warnings.append(Caution(CautionKind.NO_DELIVERY, text))
        amount = expected = np.zeros(spec.horizon)
    elif rate.missed is not None or not float(expected.sum()) > 0:
        since = "no day of the history has any"
        if rate.missed is not None:
            since = f"none has come for weeks in which {rate.missed:.0f} should have"
        text = f"no {name} can be expected: {since}; there is no {metric.value} to forecast"
        warnings.append(Caution(CautionKind.FEW_LEADS, text))
        amount = expected = np.zeros(spec.horizon)
    spread = total_spread(counted, horizon=spec.horizon, exposure=per, rates=rate.path)
    own = total_spread(per, horizon=spec.horizon)
    sums = float(expected.sum()), float(amount.sum())
    daily = total_spread(counted, horizon=1, exposure=per, rates=rate.path)
    daily_own = total_spread(per, horizon=1)
    lower, upper = np.array(
        [
            _bounds(metric, float(count), float(money), daily, daily_own, spec.level)
            for count, money in zip(expected, amount, strict=True)
        ]
    ).T
    total_lower, total_upper = _bounds(metric, *sums, spread, own, spec.level)
    return replace(
        above,
        point=_ratio(metric, expected, amount),
        lower=lower,
        upper=upper,
        total=float(_ratio(metric, *(np.array([one]) for one in sums))[0]),
        total_lower=total_lower,
        total_upper=total_upper,
        members=_members(metric, above, below, rate.value),
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


def _ratio(metric: Metric, events: Vector, exposure: Vector) -> Vector:
    """`ratio_of`, and nothing without exposure: then nothing is counted, whichever part that is."""
    return np.where(exposure > 0, ratio_of(metric, events, exposure), np.nan)


def _bounds(
    metric: Metric, events: float, exposure: float, spread: TotalSpread, own: TotalSpread, level: float
) -> tuple[float, float]:
    """Ends of the ratio of sums; `spread` is of events given exposure, `own` of the exposure."""
    if not events > 0 or not exposure > 0:
        return float("nan"), float("nan")
    point = float(_ratio(metric, np.array([events]), np.array([exposure]))[0])
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
    # A ratio of events below is there only with an event at least.
    used = np.ones(_DRAWS, dtype=bool)
    if EVENTS[metric] != RATIOS[metric].numerator:
        used = drawn >= (1 if spread.counts else 1e-9)
    if not used.any():
        return point, point
    ratios = _ratio(metric, np.maximum(drawn[used], 0.0), (exposure * share)[used])
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    stretch = spread.reach(level) / float(ndtri((1 + level) / 2))
    low, high = min(float(low), point), max(float(high), point)
    return (point * (low / point) ** stretch if low > 0 else 0.0), point * (high / point) ** stretch


def _members(metric: Metric, above: Prediction, below: Prediction, rate: float) -> tuple[MemberForecast, ...]:
    """Each member's own ratio, where it forecast both parts."""
    others = {member.method: member for member in below.members}
    out = []
    for member in above.members:
        other = others.get(member.method)
        values = np.empty(0)
        if other is not None and len(member.values) and len(other.values):
            values = _ratio(metric, expected_events(member.values, other.values, rate), other.values)
        failure = member.failure or ("" if other is None else other.failure)
        out.append(replace(member, values=values, failure=failure))
    return tuple(out)


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

    A Gamma posterior of a Poisson rate that wanders: each day adds to the variance of its logarithm, so that what is
    known of a busy entity fades within days and of a quiet one within weeks (a discounted Gamma-Poisson filter: West &
    Harrison 1997, "Bayesian forecasting and dynamic models", section 14). What the filter says is drawn to the
    entity's whole history, and that to the account's rate: with few events the rate stays near what is known, with many
    it is what they say. `lent` is the parent's or account's rate; None where it is not known.
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
