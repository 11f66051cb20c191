"""One series' forecast with its intervals: by a method or the ensemble, falling back where it must."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.errors import AdsmlError, FailedPrecondition, InsufficientHistory

from adsml_forecasting.models.calibration import (
    CLASSIC_DAYS,
    Calibration,
    Combiner,
    Weights,
    calibrate,
    combine,
    inverse_mape,
)
from adsml_forecasting.models.horizon import follow_plan
from adsml_forecasting.models.intervals import ResidualQuantiles, interval_scale, total_interval, total_spread
from adsml_forecasting.models.method import (
    CLASSIC,
    FALLBACKS,
    INTERMITTENT,
    MINIMUM_DAYS,
    STATISTICAL,
    Method,
)
from adsml_forecasting.models.methods import USUAL, MethodFailed, MethodOptions, forecast
from adsml_forecasting.models.origins import forecast_origin, newest_rows
from adsml_forecasting.models.prepared import Caution, CautionKind, Prepared
from adsml_forecasting.models.prophet.settings import DEFAULTS, Backend, Combination
from adsml_forecasting.models.series import DailySeries, Vector

DEFAULT_MEMBERS: Final = (*STATISTICAL, Method.PROPHET, Method.EMA)
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

    `calibration` is the ensemble's; None: learnt from the series' own past where the past suffices. `tuned` are
    Prophet's hyperparameters; None: its defaults.
    """

    calibration: Calibration | None = None
    tuned: Combination | None = None

    def options(self, backend: Backend = Backend.KERNEL) -> MethodOptions:
        """For methods."""
        pooled = None if self.calibration is None else self.calibration.pooled
        return MethodOptions(self.tuned or DEFAULTS, pooled, backend)


NOTHING: Final = LearnedModels()
"""No model is registered."""


@dataclass(frozen=True, slots=True, eq=False)
class MemberForecast:
    """One member's part: what it counted (0 where pruned or failed), its days (none where it failed), why it failed."""

    method: Method
    weight: float
    values: Vector
    failure: str = ""


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
class PointForecast:
    """What methods say of the days from the series' end to the horizon's, before any factor; members with `weights`."""

    point: Vector
    method: Method = Method.ENSEMBLE
    source: Source = Source.DEFAULTS
    reason: str = ""
    calibration: Calibration | None = None
    members: tuple[MemberForecast, ...] = ()
    weights: Weights | None = None


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


def _ensemble(series: DailySeries, spec: ForecastSpec, learned: LearnedModels) -> PointForecast:
    short = len(series) < _SHORT_DAYS
    calibration = learned.calibration
    if calibration is not None and (
        short
        or spec.combiner not in (None, calibration.weights.combiner)
        or (spec.members and set(spec.members) != set(calibration.members))
    ):
        # The registered weights are not what was asked for.
        calibration = None
    members = spec.members or (default_members(series) if calibration is None else calibration.members)
    if not members:
        return _fallen_back(series, spec, f"{len(series)} days of history are too few for the ensemble")
    combiner = spec.combiner or (Combiner.MEAN if short else Combiner.MEDIAN)
    own, weights, kept = None, None if calibration is None else calibration.weights, members
    if short and not spec.members and spec.combiner is None:
        total = sum(_SHORT_WEIGHTS[method] for method in members)
        shares = {one: _SHORT_WEIGHTS[one] / total for one in members}
        weights = Weights(combiner, shares, calibrated=False)
    if weights is not None:
        kept = tuple(method for method in members if method in weights.kept)
    if calibration is None:
        own = _calibrated(series, spec, learned, members, combiner)
        if combiner is Combiner.STACKED and own is not None:
            weights = own.weights
    try:
        found = forecast_ensemble(
            series,
            spec.horizon,
            members=kept,
            combiner=combiner,
            weights=weights,
            options=learned.options(spec.backend),
        )
    except AdsmlError as error:
        if spec.members:
            raise
        return _fallen_back(series, spec, error.message)
    source, reason = Source.DEFAULTS if calibration is None else Source.MODEL, ""
    if short and learned.calibration is not None:
        reason = f"the registered weights need {_SHORT_DAYS} days of history: those for short ones answered"
    elif short and len(members) > 1:
        reason = f"below {_SHORT_DAYS} days of history the methods for short ones answer"
    elif calibration is None:
        reason = "no ensemble weights are registered for it: the default members and combiner answered"
    return replace(found, source=source, reason=reason, calibration=calibration or own)


def forecast_ensemble(
    series: DailySeries,
    horizon: int,
    *,
    members: Sequence[Method] = CLASSIC,
    combiner: Combiner = Combiner.INVERSE_MAPE,
    weights: Weights | None = None,
    options: MethodOptions = USUAL,
) -> PointForecast:
    """Members combined; survives any of them failing.

    Without `weights` `INVERSE_MAPE` measures its own on the newest 14 days, other combiners count all alike.
    Where every member failed `FailedPrecondition` names each one's reason, `InsufficientHistory` where days are
    what they lack.
    """
    if weights is None:
        weights = Weights.equal(combiner, members)
        if combiner is Combiner.INVERSE_MAPE and (rows := len(series) - CLASSIC_DAYS) > 0:
            before = forecast_origin(series, rows, methods=members, horizon=CLASSIC_DAYS, options=options)
            if not before.failures:
                weights = inverse_mape(before.actual, before.forecasts)
    found = forecast_origin(series, len(series), methods=members, horizon=horizon, options=options)
    if not found.forecasts:
        reasons = "; ".join(found.failures.values())
        needed = min(MINIMUM_DAYS[method] for method in members)
        if len(series) < needed:
            short = InsufficientHistory(series.name, had=len(series), needed=needed)
            short.message = f"{short.message}: {reasons}"
            raise short
        raise FailedPrecondition(f"no member could forecast {series.name}: {reasons}")
    point, used = combine(weights, found.forecasts)
    parts = tuple(
        MemberForecast(
            one, used.get(one, 0.0), found.forecasts.get(one, np.empty(0)), found.failures.get(one, "")
        )
        for one in members
    )
    return PointForecast(point, members=parts, weights=weights)


def _single(series: DailySeries, spec: ForecastSpec, learned: LearnedModels) -> PointForecast:
    method = spec.method
    if len(series) < MINIMUM_DAYS[method]:
        name = f"{series.name} (method {method})"
        raise InsufficientHistory(name, had=len(series), needed=MINIMUM_DAYS[method])
    try:
        point = forecast(method, series, spec.horizon, options=learned.options(spec.backend))
    except MethodFailed as error:
        return _fallen_back(series, spec, str(error))
    own = _calibrated(series, spec, learned, (method,))
    source, reason = Source.METHOD, ""
    if method is Method.PROPHET:
        source = Source.MODEL
        if learned.tuned is None:
            source, reason = Source.DEFAULTS, "no tuned parameters are registered for it"
    return PointForecast(point, method, source, reason, own)


def _fallen_back(series: DailySeries, spec: ForecastSpec, why: str) -> PointForecast:
    """By the first fallback that can forecast the series: every series with a known day has one."""
    for method in FALLBACKS:
        with contextlib.suppress(MethodFailed):
            point = forecast(method, series, spec.horizon)
            own = _calibrated(series, spec, NOTHING, (method,))
            return PointForecast(point, method, Source.FALLBACK, f"{why}; {method} answered", own)
    raise InsufficientHistory(series.name, had=0, needed=1)


def _calibrated(
    series: DailySeries,
    spec: ForecastSpec,
    learned: LearnedModels,
    members: Sequence[Method],
    combiner: Combiner = Combiner.MEAN,
) -> Calibration | None:
    """By rolling-origin forecasts of the series' own past; None where it is too short."""
    # What would be inverse-MAPE weights at each cutoff is close enough to equal ones for the width.
    plain = Weights.equal(Combiner.MEDIAN if combiner is Combiner.MEDIAN else Combiner.MEAN, members)
    weights = None if combiner is Combiner.STACKED else plain
    origins = [
        forecast_origin(series, rows, methods=members, horizon=spec.horizon, options=learned.options())
        for rows in newest_rows(len(series), horizon=spec.horizon, count=_ORIGINS)
    ]
    return calibrate([origins], members=members, level=spec.level, weights=weights)


def _naive_residuals(series: DailySeries, horizon: int) -> ResidualQuantiles | None:
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


def _finished(prepared: Prepared, spec: ForecastSpec, given: PointForecast, profile: Vector) -> Prediction:
    """Point forecasts with their intervals and total, as the days to come change them."""
    series, gap, calibration = prepared.series, prepared.gap, given.calibration
    warnings = list(prepared.notes)
    base = given.point * profile
    point = _ahead(base[gap:], prepared)
    total = float(point.sum())
    lower = upper = np.full(spec.horizon, np.nan)
    total_lower = total_upper = float("nan")
    how = "naive_differences" if calibration is None else "split_conformal_by_horizon"
    quantiles = _naive_residuals(series, len(base)) if calibration is None else calibration.quantiles
    if quantiles is None:
        how = "none"
        text = f"{len(series)} days of history are too few for intervals"
        warnings.append(Caution(CautionKind.SHORT_HISTORY, text))
    else:
        # Relative standard deviation of each day that the response to spend adds.
        known = np.isfinite(prepared.planned) & (prepared.factors > 0)
        moved = np.abs(np.log(np.where(known, prepared.factors, 1.0)))
        doubt = moved * np.sqrt(prepared.elasticity.variance)
        far = quantiles.reach(spec.level, len(base))[gap:] * interval_scale(series.values)
        grown = np.sqrt(np.divide(point, base[gap:], out=np.ones(spec.horizon), where=base[gap:] > 0))
        reach = np.hypot(far * grown, point * doubt)
        lower, upper = point - reach, point + reach
        if series.nonnegative:
            lower = np.maximum(lower, 0.0)
        spread = total_spread(series.values, horizon=spec.horizon)
        standard = spread.reach(spec.level, None if calibration is None else calibration.totals)
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
    measured = calibration if calibration and abs(calibration.level - spec.level) < 1e-9 else None
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
        combiner=None if given.weights is None else given.weights.combiner,
        interval_method=how,
        residuals=0 if quantiles is None else quantiles.residuals,
        coverage=None if measured is None else measured.coverage,
        coverage_samples=0 if measured is None else measured.coverage_samples,
        history_days=series.known,
        source=given.source,
        reason=given.reason,
        warnings=tuple(warnings),
    )


def _ahead(point: Vector, prepared: Prepared) -> Vector:
    """A method's forecast of the horizon with what the days to come make of it."""
    out = np.where(prepared.factors > 0, point * prepared.factors, 0.0)
    return follow_plan(out, prepared.planned) if prepared.is_spend else out
