"""Intervals from what forecasts missed by before: split conformal, by day of the horizon.

Absolute residuals of rolling-origin forecasts are scaled by each series' own scale and pooled over series; an
interval is the forecast plus and minus one of their order statistics times the scale (Lei et al. 2018,
"Distribution-free predictive inference for regression", section 2.2; scaled, section 5.2). With n residuals it
is the one of rank ceil((n + 1) (1 - a)), so that coverage is at least 1 - a where residuals are exchangeable.
They are not quite - later origins differ from earlier ones - so coverage is measured too, and stored.

Signs are not kept: what forecasts erred to one side by on some origins is mostly what the market did in those
weeks, and does not come again. Both sides together are twice the residuals for one end (docs/forecasting.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.series import Vector

Matrix = npt.NDArray[np.float64]

ENOUGH: Final = 100
"""With fewer residuals for a day of the horizon, those of the days around it count too."""
KEPT: Final = 400
"""So many evenly spaced order statistics are kept per day of the horizon."""
_SCALE_DAYS: Final = 182
_HALF_LIFE: Final = 14.0
_LEAST_RECENT: Final = 0.25


def residual_scale(history: Vector, *, season_length: int) -> float:
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
    """How far a series moves from day to day at present: what its intervals are wide in.

    The mean absolute difference of consecutive known days of the newest half year, where a difference counts
    half as much for every two weeks of its age; but at least a quarter of their plain mean, so that what was
    paused for weeks is not thought to be as quiet when it comes back. Where there is none, or all are 0: the
    mean absolute value, else 1.

    Parameters
    ----------
    history
        NaN where missing, shape (days,).

    Returns
    -------
    In the unit of the series; above 0
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
    """Sorted absolute residuals over `interval_scale`, for each day of the horizon.

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
        """From scaled residuals ``(y - f) / scale``, shape (origins, horizon), NaN where missing."""
        horizon = scaled.shape[1]
        absolute = np.abs(scaled)
        steps = []
        for step in range(horizon):
            reach = 0
            while True:
                near = absolute[:, max(step - reach, 0) : step + reach + 1]
                values = near[np.isfinite(near)]
                if len(values) >= ENOUGH or reach >= horizon:
                    break
                reach += 1
            steps.append(thinned(np.sort(values)))
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
            The series' own, see `interval_scale`.
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
            reach = _reach(values, level) * scale * factor * beyond
            lower[step], upper[step] = point[step] - reach, point[step] + reach
        if nonnegative:
            lower, upper = np.maximum(lower, 0.0), np.maximum(upper, 0.0)
        return lower, upper


def _reach(values: Vector, level: float) -> float:
    n = len(values)
    # Rounded first: (99 + 1) * 0.9 is a hair above 90 in floating point. With too few residuals for the level
    # it is the largest, and what was measured tells the rest.
    rank = int(np.ceil(round((n + 1) * level, 9)))
    return float(values[min(rank, n) - 1])


def thinned(values: Vector) -> Vector:
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
