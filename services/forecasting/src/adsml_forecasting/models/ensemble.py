"""Several methods as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory

from adsml_forecasting.models.combining import CLASSIC_DAYS, Combiner, Weights, combine, inverse_mape
from adsml_forecasting.models.method import CLASSIC, FALLBACKS, MINIMUM_DAYS, Method
from adsml_forecasting.models.methods import USUAL, MethodFailed, MethodOptions, forecast
from adsml_forecasting.models.series import DailySeries, Vector


@dataclass(frozen=True, slots=True, eq=False)
class MemberForecast:
    """One member's part: what it counted (0 where pruned or failed), its days (none where it failed), why it failed."""

    method: Method
    weight: float
    values: Vector
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleForecast:
    """A combined forecast, shape (horizon,), with its parts."""

    point: Vector
    weights: Weights
    members: tuple[MemberForecast, ...]


def forecast_ensemble(
    series: DailySeries,
    horizon: int,
    *,
    season_length: int = 7,
    members: Sequence[Method] = CLASSIC,
    combiner: Combiner = Combiner.INVERSE_MAPE,
    weights: Weights | None = None,
    options: MethodOptions = USUAL,
) -> EnsembleForecast:
    """Members combined; survives any of them failing.

    Without `weights` `INVERSE_MAPE` measures its own on the newest 14 days, other combiners count all alike.
    Where every member failed `FailedPrecondition` names each one's reason, `InsufficientHistory` where days are
    what they lack.
    """
    if weights is None:
        weights = Weights.equal(combiner, members)
        if combiner is Combiner.INVERSE_MAPE:
            weights = _classic_weights(series, members, season_length, options) or weights
    forecasts: dict[Method, Vector] = {}
    failures: dict[Method, str] = {}
    for method in members:
        try:
            forecasts[method] = forecast(
                method, series, horizon, season_length=season_length, options=options
            )
        except MethodFailed as error:
            failures[method] = str(error)
    if not forecasts:
        reasons = "; ".join(failures.values())
        needed = min(MINIMUM_DAYS[method] for method in failures)
        if len(series) < needed:
            short = InsufficientHistory(series.name, had=len(series), needed=needed)
            short.message = f"{short.message}: {reasons}"
            raise short
        raise FailedPrecondition(f"no member could forecast {series.name}: {reasons}")
    point, used = combine(weights, forecasts)
    parts = tuple(
        MemberForecast(one, used.get(one, 0.0), forecasts.get(one, np.empty(0)), failures.get(one, ""))
        for one in members
    )
    return EnsembleForecast(point, weights, parts)


def _classic_weights(
    series: DailySeries, members: Sequence[Method], season_length: int, options: MethodOptions
) -> Weights | None:
    """Inverse MAPE on the newest days, members fitted on the days before; None where one of them cannot be weighed."""
    rows = len(series) - CLASSIC_DAYS
    if rows < 1:
        return None
    try:
        before = series.until(rows)
        gap = rows - len(before)
        found = {
            method: forecast(
                method, before, CLASSIC_DAYS + gap, season_length=season_length, options=options
            )[gap:]
            for method in members
        }
    except (InsufficientHistory, MethodFailed):
        return None
    return inverse_mape(series.values[rows:], found)


def fall_back(series: DailySeries, horizon: int, *, season_length: int = 7) -> tuple[Method, Vector]:
    """The first fallback that can forecast the series: every series with a known day has one."""
    for method in FALLBACKS:
        try:
            return method, forecast(method, series, horizon, season_length=season_length)
        except MethodFailed:
            continue
    raise InsufficientHistory(series.name, had=0, needed=1)
