"""One series' forecast with its intervals: by a method or the ensemble, falling back where it must."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.errors import AdsmlError, InsufficientHistory

from adsml_forecasting.models.calibration import Calibration, calibrate
from adsml_forecasting.models.combining import Combiner, Weights
from adsml_forecasting.models.conformal import ResidualQuantiles, interval_scale
from adsml_forecasting.models.ensemble import EnsembleForecaster, MemberForecast, fall_back
from adsml_forecasting.models.factory import make
from adsml_forecasting.models.forecaster import MethodFailed, forecast
from adsml_forecasting.models.method import INTERMITTENT, MINIMUM_DAYS, Method
from adsml_forecasting.models.origins import Origin, forecast_origin
from adsml_forecasting.models.pooled_regression import PooledRegression
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination
from adsml_forecasting.models.rolling_origin import newest_rows
from adsml_forecasting.models.series import DailySeries, Vector

DEFAULT_MEMBERS: Final[tuple[Method, ...]] = (
    Method.AUTO_ETS,
    Method.AUTO_CES,
    Method.DYNAMIC_OPTIMIZED_THETA,
    Method.PROPHET,
    Method.EMA,
)
"""The ensemble's members where nothing is calibrated: those that rolling origins keep on most data."""
ORIGINS: Final = 4
_LEAST_FOR_INTERVALS: Final = 6


class Source(StrEnum):
    """What kind of thing answered; as in the contract."""

    MODEL = "MODEL"
    DEFAULTS = "DEFAULTS"
    TRANSFER = "TRANSFER"
    METHOD = "METHOD"
    FALLBACK = "FALLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to forecast by.

    Attributes
    ----------
    method
        One, or `ENSEMBLE`.
    horizon
        Days.
    level
        Nominal probability of the intervals.
    members, combiner
        Of the ensemble; empty and None: the calibration's, else the default.
    season_length
        Days per season.
    """

    method: Method = Method.ENSEMBLE
    horizon: int = 7
    level: float = 0.9
    members: tuple[Method, ...] = ()
    combiner: Combiner | None = None
    season_length: int = 7


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What registered models know of a series.

    Attributes
    ----------
    calibration
        Of the ensemble; None: learnt from the series' own past where the past suffices.
    combination
        Prophet's hyperparameters.
    tuned
        Whether those come from a registered model.
    """

    calibration: Calibration | None = None
    combination: Combination = DEFAULTS
    tuned: bool = False

    @property
    def pooled(self) -> PooledRegression | None:
        """The regression learnt with the ensemble's weights."""
        return None if self.calibration is None else self.calibration.pooled


NOTHING: Final = Learned()
"""No model is registered."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A forecast.

    Attributes
    ----------
    cutoff
        Last day used, days since 1970-01-01.
    point, lower, upper
        Shape (horizon,); NaN where there is none.
    total, total_lower, total_upper
        Of the horizon as a whole.
    interval_method, residuals, coverage, coverage_samples
        How the intervals were made, and what they measured.
    """

    method: Method
    cutoff: int
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
    warnings: tuple[str, ...] = field(default=())


def default_members(series: DailySeries) -> tuple[Method, ...]:
    """`DEFAULT_MEMBERS`; with more than a third of days at 0, the methods for intermittent series join."""
    known = series.values[np.isfinite(series.values)]
    return DEFAULT_MEMBERS + INTERMITTENT if (known == 0).mean() > 1 / 3 else DEFAULT_MEMBERS


def predict(series: DailySeries, wanted: Wanted, learned: Learned = NOTHING) -> Prediction:
    """Forecast one series.

    Parameters
    ----------
    series
        Its days until the cutoff.
    wanted
        By what.
    learned
        What registered models add.

    Raises
    ------
    InsufficientHistory
        A single method that was asked for needs more days.
    FailedPrecondition
        Every member that was asked for by name failed; names each one's reason.
    """
    if wanted.method is not Method.ENSEMBLE:
        return _single(series, wanted, learned)
    calibration = learned.calibration
    if calibration is not None and not _serves(calibration, wanted):
        calibration = None
    members = wanted.members or (
        tuple(calibration.weights.weights) if calibration is not None else default_members(series)
    )
    weights = None if calibration is None else calibration.weights
    source = Source.DEFAULTS if calibration is None else Source.MODEL
    combiner = wanted.combiner or Combiner.MEDIAN
    forecaster = EnsembleForecaster(
        season_length=wanted.season_length,
        members=members if weights is None else tuple(m for m in members if weights.weights.get(m, 0) > 0),
        combiner=combiner,
        weights=weights,
        combination=learned.combination,
        pooled=learned.pooled,
    )
    own: Calibration | None = None
    if calibration is None:
        own = _own_calibration(series, wanted, members, combiner, learned)
        if own is not None and combiner is Combiner.STACKED:
            forecaster.weights = own.weights
    try:
        found = forecaster.fit(series).explain(wanted.horizon)
    except AdsmlError as error:
        if wanted.members:
            raise
        return _fallen_back(series, wanted, error.message)
    reason = ""
    if calibration is None:
        reason = "no ensemble weights are registered for it: the default members and combiner answered"
    return _finished(
        series,
        wanted,
        found.point,
        calibration or own,
        method=Method.ENSEMBLE,
        members=found.members,
        combiner=found.combiner,
        source=source,
        reason=reason,
    )


def _serves(calibration: Calibration, wanted: Wanted) -> bool:
    """Whether registered weights are what was asked for."""
    if wanted.combiner is not None and wanted.combiner is not calibration.weights.combiner:
        return False
    return not wanted.members or set(wanted.members) == set(calibration.weights.weights)


def _single(series: DailySeries, wanted: Wanted, learned: Learned) -> Prediction:
    needed = MINIMUM_DAYS[wanted.method]
    if len(series) < needed:
        raise InsufficientHistory(f"{series.name} (method {wanted.method})", had=len(series), needed=needed)
    try:
        forecaster = make(
            wanted.method,
            season_length=wanted.season_length,
            combination=learned.combination,
            pooled=learned.pooled,
        )
        point = forecast(forecaster, series, wanted.horizon)
    except MethodFailed as error:
        return _fallen_back(series, wanted, str(error))
    one = Weights.equal(Combiner.MEAN, [wanted.method])
    found = _origins(series, wanted, (wanted.method,), learned)
    own = _calibrated(found, wanted, (wanted.method,), one)
    tuned = wanted.method is Method.PROPHET and learned.tuned
    defaults = wanted.method is Method.PROPHET and not learned.tuned
    return _finished(
        series,
        wanted,
        point,
        own,
        method=wanted.method,
        source=Source.MODEL if tuned else Source.DEFAULTS if defaults else Source.METHOD,
        reason="no tuned parameters are registered for it" if defaults else "",
    )


def _fallen_back(series: DailySeries, wanted: Wanted, why: str) -> Prediction:
    method, point = fall_back(series, wanted.horizon, season_length=wanted.season_length)
    one = Weights.equal(Combiner.MEAN, [method])
    own = _calibrated(_origins(series, wanted, (method,), NOTHING), wanted, (method,), one)
    return _finished(
        series, wanted, point, own, method=method, source=Source.FALLBACK, reason=f"{why}; {method} answered"
    )


def _origins(
    series: DailySeries, wanted: Wanted, members: Sequence[Method], learned: Learned
) -> list[Origin]:
    """Rolling-origin forecasts of the series' own past; none where it is too short."""
    if series.budget is not None:
        # Regressors of the horizon are not those of the past's horizons: judged without them.
        series = replace(series, budget=None)
    return [
        forecast_origin(
            series,
            rows,
            methods=members,
            horizon=wanted.horizon,
            season_length=wanted.season_length,
            combination=learned.combination,
            pooled=learned.pooled,
        )
        for rows in newest_rows(len(series), horizon=wanted.horizon, count=ORIGINS)
    ]


def _calibrated(
    origins: Sequence[Origin], wanted: Wanted, members: Sequence[Method], weights: Weights | None
) -> Calibration | None:
    return calibrate(
        [origins],
        members=members,
        season_length=wanted.season_length,
        level=wanted.level,
        weights=weights,
    )


def _own_calibration(
    series: DailySeries, wanted: Wanted, members: Sequence[Method], combiner: Combiner, learned: Learned
) -> Calibration | None:
    # What would be inverse-MAPE weights at each cutoff is close enough to equal ones for the width.
    weights = None if combiner is Combiner.STACKED else Weights.equal(_plain(combiner), members)
    return _calibrated(_origins(series, wanted, members, learned), wanted, members, weights)


def _plain(combiner: Combiner) -> Combiner:
    return Combiner.MEDIAN if combiner is Combiner.MEDIAN else Combiner.MEAN


def naive_residuals(series: DailySeries, *, horizon: int, season_length: int) -> ResidualQuantiles | None:
    """Absolute scaled differences of days one season apart (consecutive ones in a short series), for want of better.

    None with fewer than six days: nothing can be said of so short a series.
    """
    if len(series) < _LEAST_FOR_INTERVALS:
        return None
    lag = season_length if len(series) >= 2 * season_length else 1
    difference = series.values[lag:] - series.values[:-lag]
    difference = difference[np.isfinite(difference)]
    if len(difference) < _LEAST_FOR_INTERVALS - 1:
        return None
    rows = np.repeat(np.abs(difference)[:, None] / interval_scale(series.values), horizon, axis=1)
    if lag == 1:
        rows = rows * np.sqrt(np.arange(1, horizon + 1))
    return ResidualQuantiles(tuple(np.sort(rows[:, step]) for step in range(horizon)), len(difference))


def _finished(
    series: DailySeries,
    wanted: Wanted,
    point: Vector,
    calibration: Calibration | None,
    *,
    method: Method,
    source: Source,
    reason: str,
    members: tuple[MemberForecast, ...] = (),
    combiner: Combiner | None = None,
) -> Prediction:
    scale = interval_scale(series.values)
    warnings: list[str] = []
    quantiles: ResidualQuantiles | None
    coverage, samples = None, 0
    if calibration is not None:
        quantiles, how = calibration.quantiles, "split_conformal_by_horizon"
        if abs(calibration.level - wanted.level) < 1e-9:
            coverage, samples = calibration.coverage, calibration.coverage_samples
    else:
        quantiles = naive_residuals(series, horizon=wanted.horizon, season_length=wanted.season_length)
        how = "naive_differences"
    lower = upper = np.full(wanted.horizon, np.nan)
    if quantiles is None:
        how = "none"
        warnings.append(f"{len(series)} days of history are too few for intervals")
    else:
        lower, upper = quantiles.interval(
            point, scale=scale, level=wanted.level, nonnegative=series.nonnegative
        )
    missing = len(series) - series.known
    if missing:
        warnings.append(f"{missing} of {len(series)} days have no value and were estimated")
    zeros = int((series.values == 0).sum())
    if zeros == series.known:
        warnings.append("every known day is 0: the forecast is 0, which says nothing of when that ends")
    return Prediction(
        method=method,
        cutoff=series.last_day,
        point=point,
        lower=lower,
        upper=upper,
        total=float(point.sum()),
        # Days that err together are the worst case: the sum of the ends covers at least what was asked for
        # where days err alike, and more where their errors cancel.
        total_lower=float(lower.sum()),
        total_upper=float(upper.sum()),
        members=members,
        combiner=combiner,
        interval_method=how,
        residuals=0 if quantiles is None else quantiles.residuals,
        coverage=coverage,
        coverage_samples=samples,
        history_days=series.known,
        source=source,
        reason=reason,
        warnings=tuple(warnings),
    )
