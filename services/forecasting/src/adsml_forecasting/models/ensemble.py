"""Several methods as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory

from adsml_forecasting.models.combining import CLASSIC_DAYS, Combiner, Weights, combine, inverse_mape
from adsml_forecasting.models.factory import make
from adsml_forecasting.models.forecaster import Forecaster, MethodFailed, forecast
from adsml_forecasting.models.method import CLASSIC, FALLBACKS, MINIMUM_DAYS, Method
from adsml_forecasting.models.pooled_regression import PooledRegression
from adsml_forecasting.models.prophet.settings import DEFAULTS, Backend, Combination
from adsml_forecasting.models.series import DailySeries, Vector


@dataclass(frozen=True, slots=True, eq=False)
class MemberForecast:
    """One member's part.

    Attributes
    ----------
    weight
        What it counted, 0 to 1; 0 where it was pruned or failed.
    values
        Shape (horizon,), empty where it failed.
    failure
        Why it was left out, empty where it took part.
    """

    method: Method
    weight: float
    values: Vector
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleForecast:
    """A combined forecast with its parts.

    Attributes
    ----------
    point
        Shape (horizon,).
    method
        `ENSEMBLE`, or the fallback that answered where no member could.
    calibrated
        Whether the weights rest on measured errors.
    """

    point: Vector
    method: Method
    combiner: Combiner
    members: tuple[MemberForecast, ...]
    calibrated: bool


def all_failed(series: DailySeries, failures: Mapping[Method, str]) -> FailedPrecondition:
    """The error that names each member's reason."""
    reasons = "; ".join(failures.values())
    needed = min(MINIMUM_DAYS[method] for method in failures)
    if len(series) < needed:
        error = InsufficientHistory(series.name, had=len(series), needed=needed)
        error.message = f"{error.message}: {reasons}"
        return error
    return FailedPrecondition(f"no member could forecast {series.name}: {reasons}")


@dataclass(slots=True, kw_only=True)
class EnsembleForecaster:
    """Members combined; survives any of them failing.

    Parameters
    ----------
    season_length
        Days per season.
    members
        Which; Prophet, EMA and linear unless said otherwise.
    combiner
        How they are combined where there are no weights.
    weights
        Calibrated ones. None: `INVERSE_MAPE` measures its own on the newest 14 days, the others count alike.
    combination
        Prophet's hyperparameters.
    pooled
        What was learnt from many series.
    backend
        What fits Prophet.
    """

    season_length: int
    members: Sequence[Method] = CLASSIC
    combiner: Combiner = Combiner.INVERSE_MAPE
    weights: Weights | None = None
    combination: Combination = DEFAULTS
    pooled: PooledRegression | None = None
    backend: Backend = Backend.KERNEL
    method: Method = Method.ENSEMBLE
    series_: DailySeries | None = field(default=None, init=False)
    weights_: Weights | None = field(default=None, init=False)

    @property
    def minimum_days(self) -> int:
        """That of the member with the least."""
        return min(MINIMUM_DAYS[member] for member in self.members)

    def _make(self, method: Method) -> Forecaster:
        return make(
            method,
            season_length=self.season_length,
            combination=self.combination,
            pooled=self.pooled,
            backend=self.backend,
        )

    def fit(self, series: DailySeries) -> Self:
        """Keep the series, and weigh the members where that is due."""
        self.series_ = series
        if self.weights is not None:
            self.weights_ = self.weights
        elif self.combiner is Combiner.INVERSE_MAPE:
            self.weights_ = self._classic(series)
        else:
            self.weights_ = Weights.equal(self.combiner, self.members)
        return self

    def _classic(self, series: DailySeries) -> Weights:
        """Inverse MAPE on the newest days, members fitted on the days before; else equal."""
        equal = Weights.equal(Combiner.INVERSE_MAPE, self.members)
        rows = len(series) - CLASSIC_DAYS
        if rows < 1:
            return equal
        try:
            before = series.until(rows)
        except InsufficientHistory:
            return equal
        gap = rows - len(before)
        found: dict[Method, Vector] = {}
        for method in self.members:
            try:
                found[method] = forecast(
                    self._make(method), before, CLASSIC_DAYS + gap, season_length=self.season_length
                )[gap:]
            except MethodFailed:
                # It can't be weighed against the others: they all count alike rather than without it.
                return equal
        return inverse_mape(series.values[rows:], found)

    def predict(self, horizon: int) -> Vector:
        """The combination, shape (horizon,); see `explain` for its parts."""
        return self.explain(horizon).point

    def explain(self, horizon: int) -> EnsembleForecast:
        """The combination with every member's forecast and weight.

        Raises
        ------
        FailedPrecondition
            Every member failed; names each one's reason. `InsufficientHistory` where days are what they lack.
        """
        if self.series_ is None or self.weights_ is None:
            raise ValueError("fit before predict")
        forecasts: dict[Method, Vector] = {}
        failures: dict[Method, str] = {}
        for method in self.members:
            try:
                forecasts[method] = forecast(
                    self._make(method), self.series_, horizon, season_length=self.season_length
                )
            except MethodFailed as error:
                failures[method] = str(error)
        if not forecasts:
            raise all_failed(self.series_, failures)
        point, used = combine(self.weights_, forecasts)
        nothing = np.empty(0)
        return EnsembleForecast(
            point,
            Method.ENSEMBLE,
            self.weights_.combiner,
            tuple(
                MemberForecast(
                    method,
                    used.get(method, 0.0),
                    forecasts.get(method, nothing),
                    failures.get(method, ""),
                )
                for method in self.members
            ),
            self.weights_.calibrated,
        )


def fall_back(series: DailySeries, horizon: int, *, season_length: int) -> tuple[Method, Vector]:
    """The first fallback that can forecast the series: every series with a known day has one.

    Raises
    ------
    InsufficientHistory
        No known day at all.
    """
    for method in FALLBACKS:
        try:
            made = make(method, season_length=season_length)
            return method, forecast(made, series, horizon, season_length=season_length)
        except MethodFailed:
            continue
    raise InsufficientHistory(series.name, had=0, needed=1)
