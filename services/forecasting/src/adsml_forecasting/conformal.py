"""Intervals from what forecasts missed by before: split conformal, by day of the horizon.

Residuals of rolling-origin forecasts are scaled by each series' own scale, kept with their sign and pooled
over series; an interval is the forecast plus two of their order statistics times the scale (Lei et al. 2018,
"Distribution- free predictive inference for regression", with signed scores as in Linusson et al. 2014,
"Signed-error conformal regression"). With n residuals the ends are the order statistics of ranks floor((n +
1) a / 2) and ceil((n + 1) (1 - a / 2)), so that coverage is at least 1 - a where residuals are exchangeable.
They are not quite - later origins differ from earlier ones - so coverage is measured too, and stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.series import Vector

Matrix = npt.NDArray[np.float64]

ENOUGH: Final = 100
"""With fewer residuals for a day of the horizon, those of the days around it count too."""
KEPT: Final = 400
"""So many evenly spaced order statistics are kept per day of the horizon."""
_SCALE_DAYS: Final = 182


def residual_scale(history: Vector, *, season_length: int) -> float:
    """Typical size of a series' surprises: mean absolute seasonal difference of its newest half year.

    Where that is 0 or unknown: the mean absolute value, else 1. In the unit of the series; above 0.
    """
    newest = history[-_SCALE_DAYS - season_length :]
    lag = season_length if len(newest) > season_length else 1
    difference = np.abs(newest[lag:] - newest[:-lag])
    difference = difference[np.isfinite(difference)]
    if len(difference) and difference.mean() > 0:
        return float(difference.mean())
    size = float(np.nanmean(np.abs(newest)))
    return size if size > 0 else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualQuantiles:
    """Sorted scaled residuals for each day of the horizon.

    Attributes
    ----------
    steps
        One sorted array per day of the horizon; empty where there are none.
    residuals
        How many they were made from, before thinning.
    """

    steps: tuple[Vector, ...]
    residuals: int

    @classmethod
    def of(cls, scaled: Matrix) -> "ResidualQuantiles":
        """From scaled signed residuals ``(y - f) / scale``, shape (origins, horizon), NaN where missing."""
        horizon = scaled.shape[1]
        steps = []
        for step in range(horizon):
            reach = 0
            while True:
                near = scaled[:, max(step - reach, 0) : step + reach + 1]
                values = near[np.isfinite(near)]
                if len(values) >= ENOUGH or reach >= horizon:
                    break
                reach += 1
            steps.append(_thinned(np.sort(values)))
        return cls(tuple(steps), int(np.isfinite(scaled).sum()))

    @property
    def usable(self) -> bool:
        """Whether there is any residual to tell by."""
        return self.residuals > 0

    def interval(
        self,
        point: Vector,
        *,
        scale: float,
        level: float,
        nonnegative: bool,
        factor: float = 1.0,
    ) -> tuple[Vector, Vector]:
        """Ends of the intervals, shape (horizon,) each.

        Days beyond the calibrated horizon take the last one's residuals, widened by the square root of how
        much farther they are.

        Parameters
        ----------
        scale
            The series' own, see `residual_scale`.
        level
            Nominal probability.
        factor
            How much wider than the residuals say.
        """
        lower = np.full(len(point), np.nan)
        upper = np.full(len(point), np.nan)
        for step in range(len(point)):
            values = self.steps[min(step, len(self.steps) - 1)]
            if not len(values):
                continue
            beyond = np.sqrt((step + 1) / len(self.steps)) if step >= len(self.steps) else 1.0
            low, high = _ends(values, level)
            spread = scale * factor * beyond
            lower[step] = point[step] + min(low * spread, 0.0)
            upper[step] = point[step] + max(high * spread, 0.0)
        if nonnegative:
            lower, upper = np.maximum(lower, 0.0), np.maximum(upper, 0.0)
        return lower, upper


def _ends(values: Vector, level: float) -> tuple[float, float]:
    n = len(values)
    tail = (1.0 - level) / 2
    low = int(np.floor((n + 1) * tail))
    high = int(np.ceil((n + 1) * (1.0 - tail)))
    # Too few residuals for the level: the most extreme ones, and what was measured tells the rest.
    return float(values[max(low, 1) - 1]), float(values[min(high, n) - 1])


def _thinned(values: Vector) -> Vector:
    """At most `KEPT` order statistics, the ends among them."""
    if len(values) <= KEPT:
        return values
    at = np.linspace(0, len(values) - 1, KEPT).round().astype(int)
    return np.asarray(values[at], dtype=np.float64)


def covered(lower: Matrix, upper: Matrix, actual: Matrix) -> tuple[float | None, int]:
    """Share of days inside, and how many were measured; None without any."""
    known = np.isfinite(actual) & np.isfinite(lower) & np.isfinite(upper)
    count = int(known.sum())
    if not count:
        return None, 0
    return float(((actual >= lower) & (actual <= upper))[known].mean()), count


def cross_measured(
    scaled: Sequence[Vector], groups: Sequence[int], *, level: float
) -> tuple[float | None, int]:
    """Coverage of intervals made from all groups (cutoffs) but one, measured on that one, over all groups.

    Parameters
    ----------
    scaled
        Scaled residuals of each origin, shape (horizon,) each.
    groups
        Which cutoff each origin belongs to.
    """
    rows = np.array(scaled)
    labels = np.asarray(groups)
    inside = measured = 0
    for group in np.unique(labels):
        held = rows[labels == group]
        rest = ResidualQuantiles.of(rows[labels != group]) if (labels != group).any() else None
        if rest is None or not rest.usable:
            continue
        zero = np.zeros(rows.shape[1])
        lower, upper = rest.interval(zero, scale=1.0, level=level, nonnegative=False)
        share, count = covered(np.tile(lower, (len(held), 1)), np.tile(upper, (len(held), 1)), held)
        inside += round((share or 0.0) * count)
        measured += count
    return (inside / measured, measured) if measured else (None, 0)
