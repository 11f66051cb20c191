"""Intervals from what forecasts missed by before: split conformal, by day of the horizon.

Absolute residuals of rolling-origin forecasts are scaled by each series' own scale and pooled over series; an
interval is the forecast plus and minus one of their order statistics times the scale (Lei et al. 2018,
"Distribution-free predictive inference for regression", section 2.2; scaled, section 5.2). With n residuals it
is the one of rank ceil((n + 1) (1 - a)), so that coverage is at least 1 - a where residuals are exchangeable.
They are not quite - later origins differ from earlier ones - so coverage is measured too, and stored.

Signs are not kept: what forecasts erred to one side by on some origins is mostly what the market did in those
weeks, and does not come again. Both sides together are twice the residuals for one end (docs/forecasting.md).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.series import Vector

Matrix = npt.NDArray[np.float64]

_ENOUGH: Final = 100
"""With fewer residuals for a day of the horizon, those of the days around it count too."""
_KEPT: Final = 400
_SCALE_DAYS: Final = 182
_HALF_LIFE: Final = 14.0
_LEAST_RECENT: Final = 0.25


def residual_scale(history: Vector, *, season_length: int = 7) -> float:
    """What errors are measured in to compare them between series: mean absolute seasonal difference of half a year.

    Where that is 0 or unknown: the mean absolute value, else 1. In the unit of the series; above 0.
    """
    newest = history[-_SCALE_DAYS - season_length :]
    lag = season_length if len(newest) > season_length else 1
    difference = np.abs(newest[lag:] - newest[:-lag])
    difference = difference[np.isfinite(difference)]
    if len(difference) and difference.mean() > 0:
        return float(difference.mean())
    return _size(newest)


def interval_scale(history: Vector) -> float:
    """How far a series moves from day to day at present: what its intervals are wide in; in its unit, above 0.

    The mean absolute difference of consecutive known days of the newest half year, where a difference counts
    half as much for every two weeks of its age; but at least a quarter of their plain mean, so that what was
    paused for weeks is not thought to be as quiet when it comes back. Where there is none, or all are 0: the
    mean absolute value, else 1.
    """
    newest = history[-_SCALE_DAYS - 1 :]
    at = np.flatnonzero(np.isfinite(newest))
    if len(at) > 1:
        difference = np.abs(np.diff(newest[at]))
        weight = 0.5 ** ((at[-1] - at[1:]) / _HALF_LIFE)
        recent = float(weight @ difference / weight.sum())
        size = max(recent, _LEAST_RECENT * float(difference.mean()))
        if size > 0:
            return size
    return _size(newest)


def _size(values: Vector) -> float:
    known = values[np.isfinite(values)]
    size = float(np.abs(known).mean()) if len(known) else 0.0
    return size if size > 0 else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualQuantiles:
    """Sorted absolute residuals over `interval_scale`, an array for each day of the horizon.

    `residuals` is how many they were made from, before thinning.
    """

    steps: tuple[Vector, ...]
    residuals: int

    @classmethod
    def of(cls, scaled: Matrix) -> "ResidualQuantiles":
        """From scaled residuals ``(y - f) / scale``, shape (origins, horizon), NaN where missing."""
        horizon = scaled.shape[1]
        absolute = np.abs(scaled)
        steps = []
        for step in range(horizon):
            reach = 0
            while True:
                near = absolute[:, max(step - reach, 0) : step + reach + 1]
                values = near[np.isfinite(near)]
                if len(values) >= _ENOUGH or reach >= horizon:
                    break
                reach += 1
            steps.append(thinned(np.sort(values)))
        return cls(tuple(steps), int(np.isfinite(scaled).sum()))

    @property
    def usable(self) -> bool:
        """Whether there is any residual to tell by."""
        return self.residuals > 0

    def reach(self, level: float, horizon: int) -> Vector:
        """How far an interval goes to each side, in units of the series' own `interval_scale`, shape (horizon,).

        NaN where nothing tells it. Days beyond the calibrated horizon take the last one's residuals, widened by the
        square root of how much farther they are.
        """
        known = len(self.steps)
        each = np.array([conformal_quantile(values, level) for values in self.steps])
        beyond = np.sqrt(np.maximum(np.arange(1, horizon + 1) / known, 1.0))
        return np.asarray(each[np.minimum(np.arange(horizon), known - 1)] * beyond)

    def interval(
        self, point: Vector, *, scale: float, level: float, nonnegative: bool
    ) -> tuple[Vector, Vector]:
        """Ends of the intervals around a point forecast, shape (horizon,) each."""
        reach = self.reach(level, len(point)) * scale
        lower, upper = point - reach, point + reach
        return (np.maximum(lower, 0.0), np.maximum(upper, 0.0)) if nonnegative else (lower, upper)


def conformal_quantile(values: Vector, level: float) -> float:
    """The order statistic of rank ceil((n + 1) level) of ascending values; the largest of too few, NaN of none."""
    n = len(values)
    # Rounded first: (99 + 1) * 0.9 is a hair above 90 in floating point.
    rank = int(np.ceil(round((n + 1) * level, 9)))
    return float(values[min(rank, n) - 1]) if n else float("nan")


def thinned(values: Vector) -> Vector:
    """At most 400 evenly spaced order statistics, the ends among them."""
    if len(values) <= _KEPT:
        return values
    at = np.linspace(0, len(values) - 1, _KEPT).round().astype(int)
    return np.asarray(values[at], dtype=np.float64)


def cross_measured(rows: Matrix, cutoff: npt.NDArray[np.int64], *, level: float) -> tuple[float | None, int]:
    """Coverage of scaled residuals (origins by horizon) by intervals from the other cutoffs', and days measured."""
    inside = measured = 0
    for group in np.unique(cutoff):
        held, others = rows[cutoff == group], rows[cutoff != group]
        if len(others) and (rest := ResidualQuantiles.of(others)).usable:
            reach = rest.reach(level, rows.shape[1])
            inside += int((np.abs(held) <= reach).sum())
            measured += int((np.isfinite(held) & np.isfinite(reach)).sum())
    return (inside / measured, measured) if measured else (None, 0)
