"""Prophet on the compiled posterior: the same model and `predict`, without starting a process for each fit.

`MapBackend` sits on Prophet's own seam (`IStanBackend` in `prophet/models.py`), `MapProphet` is `Prophet`
with that backend. What the compiled posterior does not cover goes to Stan, and the backend says so: logistic
growth, full sampling, options meant for Stan, and fits that did not converge.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from prophet import Prophet
from prophet.models import CmdStanPyBackend, IStanBackend, TrendIndicator

from adsml_forecasting.models.prophet.map import MapEstimate, MapStatus, fit_map
from adsml_forecasting.models.prophet.posterior import Design, Prior, Vector
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination, ProphetSettings

_TYPE: Final = "ADSML_MAP"


def _floats(values: Any) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def design_and_prior(stan_data: dict[str, Any]) -> tuple[Design, Prior]:
    """What Prophet hands to Stan (`ModelInputData`, as a dict), as the compiled posterior takes it."""
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
        precision=1.0 / _floats(stan_data["sigmas"]) ** 2,
        additive=_floats(stan_data["s_a"]),
        multiplicative=_floats(stan_data["s_m"]),
        linear=stan_data["trend_indicator"] == TrendIndicator.LINEAR.value,
    )
    return design, prior


def _start(stan_init: dict[str, Any]) -> Vector:
    return np.concatenate(
        [[stan_init["m"], stan_init["k"]], _floats(stan_init["delta"]), _floats(stan_init["beta"])]
    )


class MapBackend(IStanBackend):
    """Prophet's backend by `fit_map`, with Stan behind it.

    Attributes
    ----------
    estimate
        The newest fit; None before the first and where Stan made it.
    fallback
        Why Stan made the newest fit; None where it did not.
    """

    estimate: MapEstimate | None
    fallback: str | None

    def __init__(self) -> None:
        super().__init__()
        self.estimate = None
        self.fallback = None
        self._stan: CmdStanPyBackend | None = None

    @staticmethod
    def get_type() -> str:
        """The name under which `MapProphet` loads it."""
        return _TYPE

    def load_model(self) -> None:
        """Nothing to load; Stan's model is when it is needed."""

    def fit(
        self, stan_init: dict[str, Any], stan_data: dict[str, Any], **kwargs: Any
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Maximise the posterior; parameters as Stan's, each of shape (1, length).

        Parameters
        ----------
        kwargs
            ``init``: where to start, as of `prophet.utilities.warm_start_params`. Any other is for Stan.
        """
        others = sorted(set(kwargs) - {"init"})
        if others:
            return self._by_stan(f"options for Stan: {', '.join(others)}", stan_init, stan_data, kwargs)
        if stan_data["trend_indicator"] == TrendIndicator.LOGISTIC.value:
            return self._by_stan("logistic growth", stan_init, stan_data, kwargs)
        design, prior = design_and_prior(stan_data)
        if "init" in kwargs:
            stan_init = CmdStanPyBackend.sanitize_custom_inits(stan_init, kwargs["init"])
        estimate = fit_map(design, prior, start=_start(stan_init))
        if estimate.status is MapStatus.ITERATION_LIMIT:
            return self._by_stan("the fit did not converge", stan_init, stan_data, kwargs)
        self.estimate, self.fallback, self.stan_fit = estimate, None, None
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

    def sampling(
        self, stan_init: dict[str, Any], stan_data: dict[str, Any], samples: int, **kwargs: Any
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Sample the posterior, by Stan."""
        draws = self._use_stan("full sampling").sampling(stan_init, stan_data, samples, **kwargs)
        self._keep_stan_fit()
        return dict(draws)

    def cleanup(self) -> None:
        """Remove what Stan left on disk, if Stan was used."""
        if self._stan is not None:
            self._stan.cleanup()

    def _use_stan(self, reason: str) -> CmdStanPyBackend:
        self.estimate, self.fallback = None, reason
        if self._stan is None:
            self._stan = CmdStanPyBackend()
            self._stan.newton_fallback = self.newton_fallback
        return self._stan

    def _keep_stan_fit(self) -> None:
        if self._stan is not None:
            self.stan_fit = self._stan.stan_fit

    def _by_stan(
        self, reason: str, stan_init: dict[str, Any], stan_data: dict[str, Any], kwargs: dict[str, Any]
    ) -> dict[str, npt.NDArray[np.float64]]:
        fitted = self._use_stan(reason).fit(stan_init, stan_data, **kwargs)
        self._keep_stan_fit()
        return dict(fitted)


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


def prophet_model(
    settings: ProphetSettings,
    combination: Combination = DEFAULTS,
    *,
    uncertainty_samples: int = 0,
    interval_width: float = 0.8,
    stan_backend: str | None = None,
) -> MapProphet:
    """An unfitted Prophet with the given settings and hyperparameters, as the tuner understands them.

    Parameters
    ----------
    uncertainty_samples
        0 for point forecasts only, which is far faster.
    stan_backend
        "CMDSTANPY" for Stan; None for the compiled posterior.
    """
    model = MapProphet(
        growth=settings.growth,
        n_changepoints=settings.n_changepoints,
        changepoint_range=settings.changepoint_range,
        yearly_seasonality=settings.yearly_seasonality,
        weekly_seasonality=settings.weekly_seasonality,
        daily_seasonality=False,
        holidays=None if settings.holidays is None else settings.holidays.copy(),
        holidays_prior_scale=settings.holidays_prior_scale,
        holidays_mode=settings.holidays_mode,
        scaling=settings.scaling,
        seasonality_mode=combination.seasonality_mode,
        seasonality_prior_scale=combination.seasonality_prior_scale,
        changepoint_prior_scale=combination.changepoint_prior_scale,
        uncertainty_samples=uncertainty_samples,
        interval_width=interval_width,
        stan_backend=stan_backend,
    )
    for regressor in settings.regressors:
        model.add_regressor(
            regressor.name,
            prior_scale=regressor.prior_scale,
            standardize=regressor.standardize,
            mode=regressor.mode,
        )
    return model
