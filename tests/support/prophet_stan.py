"""Prophet fitted by the compiled posterior, on Prophet's own seam: for comparing what is built around the fit.

What Stan finds lies within its tolerance of the maximum, so Prophet by Stan can't hold folds and designs to 1e-4.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from adsml_forecasting.models.prophet.posterior import Design, Prior
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, Seasons
from adsml_forecasting.models.series import Vector
from prophet import Prophet
from prophet.models import IStanBackend

from support.prophet_map import MapEstimate, MapStatus, fit_map

_TYPE = "ADSML_MAP"


def _floats(values: Any) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def design_and_prior(stan_data: dict[str, Any]) -> tuple[Design, Prior]:
    """What Prophet hands to Stan (`ModelInputData`, as a dict), as the compiled posterior takes it.

    Its seasons, all of one mode and scale; none are a column of zeros there.
    """
    t, knots = _floats(stan_data["t"]), _floats(stan_data["t_change"])
    design = Design(
        y=_floats(stan_data["y"]),
        t=t,
        knots=knots,
        # As `get_changepoint_matrix` in prophet.stan: a change counts from t >= t_change.
        starts=np.searchsorted(t, knots, "left").astype(np.int64),
        x=_floats(stan_data["X"]),
    )
    prior = Prior(
        tau=float(stan_data["tau"]),
        precision=float(1.0 / _floats(stan_data["sigmas"])[0] ** 2),
        multiplicative=float(_floats(stan_data["s_m"])[0]),
    )
    assert np.ptp(stan_data["sigmas"]) == np.ptp(stan_data["s_m"]) == 0
    return design, prior


def _start(stan_init: dict[str, Any]) -> Vector:
    return np.concatenate(
        [[stan_init["m"], stan_init["k"]], _floats(stan_init["delta"]), _floats(stan_init["beta"])]
    )


class MapBackend(IStanBackend):
    """Prophet's backend by `fit_map`."""

    @staticmethod
    def get_type() -> str:
        return _TYPE

    def load_model(self) -> None:
        pass

    def fit(
        self, stan_init: dict[str, Any], stan_data: dict[str, Any], **kwargs: Any
    ) -> dict[str, npt.NDArray[np.float64]]:
        design, prior = design_and_prior(stan_data)
        estimate: MapEstimate = fit_map(design, prior, start=_start(stan_init))
        assert estimate.status is not MapStatus.ITERATION_LIMIT
        reached = design.t[:, None] >= design.knots
        trend = (estimate.k + reached @ estimate.delta) * design.t + (
            estimate.m - reached @ (design.knots * estimate.delta)
        )
        values = {
            "lp__": estimate.log_posterior,
            "k": estimate.k,
            "m": estimate.m,
            "delta": estimate.delta,
            "sigma_obs": estimate.sigma_obs,
            "beta": estimate.beta,
            "trend": trend,
        }
        return {name: _floats(value).reshape((1, -1)) for name, value in values.items()}

    def sampling(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def cleanup(self) -> None:
        pass


class MapProphet(Prophet):
    """`Prophet`, fitted by `MapBackend` unless another backend is named.

    Copies that Prophet makes of it (`prophet.diagnostics.cross_validation`) are fitted so too.
    """

    def _load_stan_backend(self, stan_backend: str | None) -> None:
        # Prophet finds backends in an enum that nothing can be added to; this is where it looks.
        if stan_backend is None or stan_backend == _TYPE:
            self.stan_backend = MapBackend()
        else:
            super()._load_stan_backend(stan_backend)


def prophet_model(seasons: Seasons | None, combination: Combination = DEFAULTS) -> MapProphet:
    """An unfitted Prophet with the given seasons (None: its own) and hyperparameters, as the tuner understands them."""
    return MapProphet(
        yearly_seasonality="auto" if seasons is None else seasons.yearly,
        weekly_seasonality="auto" if seasons is None else seasons.weekly,
        daily_seasonality=False,
        uncertainty_samples=0,
        **asdict(combination),
    )
