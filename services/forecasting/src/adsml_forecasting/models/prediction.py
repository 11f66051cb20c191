"""One series' forecast with its intervals: by a method or the ensemble, falling back where it must."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.errors import AdsmlError, InsufficientHistory

from adsml_forecasting.models.calibration import Calibration, calibrate
from adsml_forecasting.models.caution import Caution, CautionKind
from adsml_forecasting.models.combining import Combiner, Weights
from adsml_forecasting.models.conformal import ResidualQuantiles, interval_scale
from adsml_forecasting.models.ensemble import MemberForecast, fall_back, forecast_ensemble
from adsml_forecasting.models.horizon import follow_plan
from adsml_forecasting.models.method import INTERMITTENT, MINIMUM_DAYS, Method
from adsml_forecasting.models.methods import MethodFailed, MethodOptions, forecast
from adsml_forecasting.models.origins import forecast_origin
from adsml_forecasting.models.prepared import Prepared
from adsml_forecasting.models.prophet.settings import DEFAULTS, Backend, Combination
from adsml_forecasting.models.rolling_origin import newest_rows
from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.totals import total_interval, total_spread

DEFAULT_MEMBERS: Final[tuple[Method, ...]] = (
    Method.AUTO_ETS,
    Method.AUTO_CES,
    Method.DYNAMIC_OPTIMIZED_THETA,
    Method.PROPHET,
    Method.EMA,
)
"""The ensemble's members where nothing is calibrated: those that rolling origins keep on most data."""
_SHORT_WEIGHTS: Final = {Method.MEAN: 0.7, Method.EMA: 0.1, Method.SEASONAL_NAIVE: 0.1, Method.LINEAR: 0.1}
"""Those of a history below two weeks, by the mean: those that can."""
_SHORT_DAYS: Final = 14
_USUAL_PROFILE: Final = (1.05, 1.05, 1.05, 1.05, 1.05, 0.875, 0.875)
"""Monday first: what a history below two weeks is thought to have for weekdays where nobody lends its own."""
_ORIGINS: Final = 4
_LEAST_FOR_INTERVALS: Final = 6


class Source(StrEnum):
    """What kind of thing answered; as in the contract."""

    MODEL = "MODEL"
    DEFAULTS = "DEFAULTS"
    TRANSFER = "TRANSFER"
    METHOD = "METHOD"
    FALLBACK = "FALLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSpec:
    """What to forecast by: one method or `ENSEMBLE`, so many days, intervals of so much probability.

    Without `members` or `combiner` the calibration's answer, else the defaults. `backend` fits Prophet for the
    forecast itself; the past's forecasts are always the kernel's.
    """

    method: Method = Method.ENSEMBLE
    horizon: int = 7
    level: float = 0.9
    members: tuple[Method, ...] = ()
    combiner: Combiner | None = None
    backend: Backend = Backend.KERNEL


@dataclass(frozen=True, slots=True, eq=False)
class LearnedModels:
    """What registered models know of a series.

    `calibration` is the ensemble's; None: learnt from the series' own past where the past suffices. `tuned`:
    Prophet's hyperparameters come from a registered model.
    """

    calibration: Calibration | None = None
    combination: Combination = DEFAULTS
    tuned: bool = False

    def options(self, backend: Backend = Backend.KERNEL) -> MethodOptions:
        """For methods."""
        pooled = None if self.calibration is None else self.calibration.pooled
        return MethodOptions(self.combination, pooled, backend)


NOTHING: Final = LearnedModels()
"""No model is registered."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A forecast of the days after `as_of` (since 1970-01-01); arrays have shape (horizon,), NaN where there is none.

    `interval_method`, `residuals` and `coverage` say how the intervals were made, and what they measured.
    """

    method: Method
    as_of: int
    point: Vector
    lower: Vector
    upper: Vector
    total: float
    total_lower: float
    total_upper: float
    members: tuple[MemberForecast, ...]
    combiner: Combiner | None
    interval_method: str
    residuals: int
    coverage: float | None
    coverage_samples: int
    history_days: int
    source: Source
    reason: str = ""
    warnings: tuple[Caution, ...] = field(default=())


def default_members(series: DailySeries) -> tuple[Method, ...]:
    """`DEFAULT_MEMBERS`; with more than a third of days at 0, the methods for intermittent series join.

    Below two weeks of history, those that can do with so little.
    """
    if len(series) < _SHORT_DAYS:
        return tuple(method for method in _SHORT_WEIGHTS if len(series) >= MINIMUM_DAYS[method])
    known = series.values[np.isfinite(series.values)]
    return DEFAULT_MEMBERS + INTERMITTENT if (known == 0).mean() > 1 / 3 else DEFAULT_MEMBERS


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """What methods say of the days from the series' end to the horizon's, before any factor."""

    values: Vector
    method: Method
    source: Source
    reason: str = ""
    calibration: Calibration | None = None
    members: tuple[MemberForecast, ...] = ()
    combiner: Combiner | None = None


def predict(prepared: Prepared, spec: ForecastSpec, learned: LearnedModels = NOTHING) -> Prediction:
    """Forecast one series.

    `InsufficientHistory` where a single method that was asked for needs more days, `FailedPrecondition` with
    each one's reason where every member that was asked for by name failed.
    """
    whole = replace(spec, horizon=prepared.gap + spec.horizon)
    series, profile = _lent(prepared, whole)
    by = _ensemble if spec.method is Method.ENSEMBLE else _single
    return _finished(prepared, spec, by(series, whole, learned), profile)


def _lent(prepared: Prepared, spec: ForecastSpec) -> tuple[DailySeries, Vector]:
    """A short history without its weekdays, which are lent, and the factors that put them back."""
    series = prepared.series
    nothing = np.ones(spec.horizon)
    if len(series) >= _SHORT_DAYS or not series.nonnegative:
        return series, nothing
    factors = np.array(prepared.profile or _USUAL_PROFILE)
    # 1970-01-01 was a Thursday.
    weekdays = factors[(series.first_day + np.arange(len(series) + spec.horizon) + 3) % 7]
    past, ahead = weekdays[: len(series)], weekdays[len(series) :]
    if past.min() <= 0:
        return series, nothing
    return replace(series, values=series.values / past), ahead


def _ensemble(series: DailySeries, spec: ForecastSpec, learned: LearnedModels) -> _Point:
    short = len(series) < _SHORT_DAYS
    calibration = learned.calibration
    if calibration is not None and (short or not _serves(calibration, spec)):
        calibration = None
    members = spec.members or (
        tuple(calibration.weights.weights) if calibration is not None else default_members(series)
    )
    if not members:
        return _fallen_back(series, spec, f"{len(series)} days of history are too few for the ensemble")
    combiner = spec.combiner or (Combiner.MEAN if short else Combiner.MEDIAN)
    weights = own = None
    if calibration is not None:
        weights = calibration.weights
    else:
        if short and not spec.members and spec.combiner is None:
            total = sum(_SHORT_WEIGHTS[method] for method in members)
            shares = {one: _SHORT_WEIGHTS[one] / total for one in members}
            weights = Weights(combiner, shares, calibrated=False)
        # What would be inverse-MAPE weights at each cutoff is close enough to equal ones for the width.
        plain = Combiner.MEDIAN if combiner is Combiner.MEDIAN else Combiner.MEAN
        stacked = combiner is Combiner.STACKED
        own = _calibrated(series, spec, members, None if stacked else Weights.equal(plain, members), learned)
    try:
        found = forecast_ensemble(
            series,
            spec.horizon,
            members=members if weights is None else tuple(m for m in members if m in weights.kept),
            combiner=combiner,
            weights=own.weights if own is not None and combiner is Combiner.STACKED else weights,
            options=learned.options(spec.backend),
        )
    except AdsmlError as error:
        if spec.members:
            raise
        return _fallen_back(series, spec, error.message)
    reason = ""
    if short and len(members) > 1 and learned.calibration is None:
        reason = f"below {_SHORT_DAYS} days of history the methods for short ones answer"
    elif short and learned.calibration is not None:
        reason = f"the registered weights need {_SHORT_DAYS} days of history: those for short ones answered"
    elif calibration is None:
        reason = "no ensemble weights are registered for it: the default members and combiner answered"
    return _Point(
        found.point,
        Method.ENSEMBLE,
        Source.DEFAULTS if calibration is None else Source.MODEL,
        reason,
        calibration or own,
        found.members,
        found.weights.combiner,
    )


def _serves(calibration: Calibration, spec: ForecastSpec) -> bool:
    """Whether registered weights are what was asked for."""
    if spec.combiner is not None and spec.combiner is not calibration.weights.combiner:
        return False
    return not spec.members or set(spec.members) == set(calibration.weights.weights)


def _single(series: DailySeries, spec: ForecastSpec, learned: LearnedModels) -> _Point:
    method = spec.method
    if len(series) < MINIMUM_DAYS[method]:
        name = f"{series.name} (method {method})"
        raise InsufficientHistory(name, had=len(series), needed=MINIMUM_DAYS[method])
    options = learned.options(spec.backend)
    try:
        point = forecast(method, series, spec.horizon, options=options)
    except MethodFailed as error:
        return _fallen_back(series, spec, str(error))
    own = _calibrated(series, spec, (method,), Weights.equal(Combiner.MEAN, [method]), learned)
    if method is not Method.PROPHET:
        return _Point(point, method, Source.METHOD, "", own)
    if learned.tuned:
        return _Point(point, method, Source.MODEL, "", own)
    return _Point(point, method, Source.DEFAULTS, "no tuned parameters are registered for it", own)


def _fallen_back(series: DailySeries, spec: ForecastSpec, why: str) -> _Point:
    method, point = fall_back(series, spec.horizon)
    own = _calibrated(series, spec, (method,), Weights.equal(Combiner.MEAN, [method]), NOTHING)
    return _Point(point, method, Source.FALLBACK, f"{why}; {method} answered", own)


def _calibrated(
    series: DailySeries,
    spec: ForecastSpec,
    members: Sequence[Method],
    weights: Weights | None,
    learned: LearnedModels,
) -> Calibration | None:
    """By rolling-origin forecasts of the series' own past; None where it is too short."""
    origins = [
        forecast_origin(
            series,
            rows,
            methods=members,
            horizon=spec.horizon,
            options=learned.options(),
        )
        for rows in newest_rows(len(series), horizon=spec.horizon, count=_ORIGINS)
    ]
    return calibrate([origins], members=members, level=spec.level, weights=weights)


def _naive_residuals(series: DailySeries, *, horizon: int) -> ResidualQuantiles | None:
    """Absolute scaled differences of days one season apart (consecutive ones in a short series), for want of better.

    None with fewer than six days: nothing can be said of so short a series.
    """
    if len(series) < _LEAST_FOR_INTERVALS:
        return None
    lag = 7 if len(series) >= 14 else 1
    difference = series.values[lag:] - series.values[:-lag]
    difference = difference[np.isfinite(difference)]
    if len(difference) < _LEAST_FOR_INTERVALS - 1:
        return None
    rows = np.repeat(np.abs(difference)[:, None] / interval_scale(series.values), horizon, axis=1)
    if lag == 1:
        rows = rows * np.sqrt(np.arange(1, horizon + 1))
    return ResidualQuantiles(tuple(np.sort(rows[:, step]) for step in range(horizon)), len(difference))


def _finished(prepared: Prepared, spec: ForecastSpec, given: _Point, profile: Vector) -> Prediction:
    """Point forecasts with their intervals and total, as the days to come change them."""
    series, gap = prepared.series, prepared.gap
    warnings = list(prepared.notes)
    calibration = given.calibration
    coverage, samples = None, 0
    quantiles: ResidualQuantiles | None
    if calibration is not None:
        quantiles, how = calibration.quantiles, "split_conformal_by_horizon"
        if abs(calibration.level - spec.level) < 1e-9:
            coverage, samples = calibration.coverage, calibration.coverage_samples
    else:
        quantiles = _naive_residuals(series, horizon=gap + spec.horizon)
        how = "naive_differences"
    base = given.values * profile
    point = _ahead(base[gap:], prepared)
    total = float(point.sum())
    lower = upper = np.full(spec.horizon, np.nan)
    total_lower = total_upper = float("nan")
    doubt = _doubt_of_plan(prepared)
    if quantiles is None:
        how = "none"
        text = f"{len(series)} days of history are too few for intervals"
        warnings.append(Caution(CautionKind.SHORT_HISTORY, text))
    else:
        far = quantiles.reach(spec.level, len(base))[gap:] * interval_scale(series.values)
        grown = np.sqrt(np.divide(point, base[gap:], out=np.ones(spec.horizon), where=base[gap:] > 0))
        reach = np.hypot(far * grown, point * doubt)
        lower, upper = point - reach, point + reach
        if series.nonnegative:
            lower = np.maximum(lower, 0.0)
        spread = total_spread(series.values, horizon=spec.horizon)
        standard = (
            spread.reach(spec.level) if calibration is None else calibration.total_reach(spread, spec.level)
        )
        relative = float((point @ doubt) / total) if total > 0 else 0.0
        total_lower, total_upper = total_interval(total, spread, reach=standard, relative=relative, gap=gap)
        if not point.any() and not prepared.factors.any() and not np.isfinite(prepared.planned).any():
            total_lower = total_upper = 0.0
    missing = len(series) - series.known
    if missing:
        text = f"{missing} of {len(series)} days have no value and were estimated"
        warnings.append(Caution(CautionKind.GAPS, text))
    if series.known == int((series.values == 0).sum()):
        text = "every known day is 0: the forecast is 0, which says nothing of when that ends"
        warnings.append(Caution(CautionKind.NO_DELIVERY, text))
    return Prediction(
        method=given.method,
        as_of=prepared.as_of,
        point=point,
        lower=lower,
        upper=upper,
        total=total,
        total_lower=total_lower,
        total_upper=total_upper,
        members=tuple(
            replace(one, values=_ahead((one.values * profile)[gap:], prepared)) if len(one.values) else one
            for one in given.members
        ),
        combiner=given.combiner,
        interval_method=how,
        residuals=0 if quantiles is None else quantiles.residuals,
        coverage=coverage,
        coverage_samples=samples,
        history_days=series.known,
        source=given.source,
        reason=given.reason,
        warnings=tuple(warnings),
    )


def _ahead(point: Vector, prepared: Prepared) -> Vector:
    """A method's forecast of the horizon with what the days to come make of it."""
    out = np.where(prepared.factors > 0, point * prepared.factors, 0.0)
    return follow_plan(out, prepared.planned) if prepared.is_spend else out


def _doubt_of_plan(prepared: Prepared) -> Vector:
    """Relative standard deviation of each day that the response to spend adds, shape (horizon,)."""
    known = np.isfinite(prepared.planned) & (prepared.factors > 0)
    moved = np.abs(np.log(np.where(known, prepared.factors, 1.0)))
    return np.asarray(moved * np.sqrt(prepared.elasticity.variance), dtype=np.float64)
