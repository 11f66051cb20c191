"""What Prophet hands to Stan, as the compiled posterior takes it: for comparing the two."""

from typing import Any

import numpy as np
from adsml_forecasting.models.prophet.posterior import Design, Prior
from prophet.models import TrendIndicator


def _floats(values: Any) -> Any:
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
