"""Linear trend with a weekday profile."""

from typing import Final

import numpy as np

from adsml_forecasting.models.series import DailySeries, Vector

_WINDOW: Final = 56


def linear_trend(series: DailySeries, horizon: int) -> Vector:
    """Least squares on a line and one addend per weekday over the newest eight weeks, continued."""
    rows = min(len(series), _WINDOW)
    y = series.values[-rows:]
    known = np.isfinite(y)
    columns = _columns(np.arange(1.0 - rows, 1.0), series.season_length)
    # The smallest solution where weekdays are missing.
    coefficients = np.asarray(np.linalg.lstsq(columns[known], y[known], rcond=1e-8)[0], dtype=np.float64)
    return np.asarray(_columns(np.arange(1.0, horizon + 1), series.season_length) @ coefficients)


def _columns(at: Vector, season_length: int) -> Vector:
    days = np.arange(season_length)
    # Sum-to-zero weekdays: the line stays the level, and a weekday never seen is an average one.
    season = (np.mod(at[:, None], season_length) == days) - 1.0 / season_length
    return np.hstack([np.ones((len(at), 1)), at[:, None] / _WINDOW, season])
