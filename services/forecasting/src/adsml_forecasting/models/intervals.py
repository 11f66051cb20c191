"""How far forecasts may miss: days by split conformal, sums of a horizon by those of the past.

Days: absolute residuals of rolling-origin forecasts are scaled by each series' own scale and pooled over series; an
interval is the forecast plus and minus one of their order statistics times the scale (Lei et al. 2018,
"Distribution-free predictive inference for regression", section 2.2; scaled, section 5.2). With n residuals it
is the one of rank ceil((n + 1) (1 - a)), so that coverage is at least 1 - a where residuals are exchangeable.
They are not quite - later origins differ from earlier ones - so coverage is measured too, and stored. Signs are not
kept: what forecasts erred to one side by on some origins is mostly what the market did in those weeks, and does not
come again. Both sides together are twice the residuals for one end (docs/forecasting.md).

Sums of consecutive days are compared with what the mean of the days before let expect, from every day of the
newest half year. The variance of a miss has a part that grows as counts do, with what was expected, and one that
grows with its square, since levels wander; both are told by likelihood, and drawn to those of independent days
where few horizons fit into the history. A registered calibration brings the order statistics of the misses of its
ensemble over that spread, pooled over an account; without one they are the series' own, drawn to the normal's.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from adsml_forecasting.models.series import DailySeries, Matrix, Vector

Days = npt.NDArray[np.bool_]

_HALF_YEAR: Final = 182
_ENOUGH: Final = 100
"""With fewer residuals for a day of the horizon, those of the days around it count too."""
_KEPT: Final = 400
_HALF_LIFE: Final = 14.0
_LEAST_RECENT: Final = 0.25
_WINDOWS: Final = (7, 14, 28)
_LEAST_BEFORE: Final = 14
_PRESENT: Final = 0.7
_PRIOR_HORIZONS: Final = 4.0
_NORMAL_HORIZONS: Final = 10.0
_OWN_TOTALS: Final = 20
_CHANCE: Final = 1.5
_RATE_WANDERING: Final = 0.25
_RATE_HORIZONS: Final = 8.0
_WANDERING: Final = (0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
_SMALL: Final = 0.5
"""Added to what is expected, so that next to nothing has a spread too."""


def residual_scale(history: DailySeries) -> float:
    """What errors are measured in to compare them between series: mean absolute seasonal difference of half a year.

    Where that is 0 or unknown: the mean absolute value, else 1. In the unit of the series; above 0.
    """
    newest = history.values[-_HALF_YEAR - history.season_length :]
    lag = history.season_length if len(newest) > history.season_length else 1
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
    newest = history[-_HALF_YEAR - 1 :]
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
            for reach in range(horizon + 1):
                near = absolute[:, max(step - reach, 0) : step + reach + 1]
                values = near[np.isfinite(near)]
                if len(values) >= _ENOUGH:
                    break
            steps.append(thinned(np.sort(values)))
        return cls(tuple(steps), int(np.isfinite(scaled).sum()))

    def reach(self, level: float, horizon: int) -> Vector:
        """How far an interval goes to each side, in units of the series' own `interval_scale`, shape (horizon,).

        NaN where nothing tells it. Days beyond the calibrated horizon take the last one's residuals, widened by the
        square root of how much farther they are.
        """
        known = len(self.steps)
        each = np.array([conformal_quantile(values, level) for values in self.steps])
        beyond = np.sqrt(np.maximum(np.arange(1, horizon + 1) / known, 1.0))
        return np.asarray(each[np.minimum(np.arange(horizon), known - 1)] * beyond)


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


def cross_reach(rows: Matrix, cutoff: npt.NDArray[np.int64], *, level: float) -> Matrix:
    """How far intervals made of the other cutoffs' scaled residuals go, (origins, horizon); NaN without any."""
    out = np.full(rows.shape, np.nan)
    for group in np.unique(cutoff):
        others = rows[cutoff != group]
        if np.isfinite(others).any():
            out[cutoff == group] = ResidualQuantiles.of(others).reach(level, rows.shape[1])
    return out


def cross_measured(rows: Matrix, cutoff: npt.NDArray[np.int64], *, level: float) -> tuple[float | None, int]:
    """Coverage of scaled residuals (origins by horizon) by intervals from the other cutoffs', and days measured."""
    reach = cross_reach(rows, cutoff, level=level)
    measured = int((np.isfinite(rows) & np.isfinite(reach)).sum())
    return (int((np.abs(rows) <= reach).sum()) / measured, measured) if measured else (None, 0)


@dataclass(frozen=True, slots=True, eq=False)
class TotalSpread:
    """How far sums over a horizon move.

    `scale` is the standard deviation over the square root of the expected sum (over 1 where values may be
    negative, `rooted` being false), `relative` that of the wandering level, as a share of the sum. `misses` are
    absolute ones over `unit` of what was expected, ascending, worth so many `horizons` that do not overlap.
    `counts`: sums are whole.
    """

    scale: float
    relative: float
    misses: Vector
    horizons: float
    rooted: bool
    counts: bool

    def unit(self, total: float) -> float:
        """One standard deviation of a sum that is expected to be `total`."""
        if not self.rooted:
            return self.scale
        return float(np.sqrt(self.scale**2 * (max(total, 0.0) + _SMALL) + (self.relative * total) ** 2))

    def reach(self, level: float, pooled: Vector | None = None) -> float:
        """Standard deviations that hold a share `level` of the sums.

        Half by what the series' own past says, half by `pooled` misses of all series (split conformal), less by few.
        """
        own = normal = float(ndtri((1 + level) / 2))
        if len(self.misses):
            told = float(np.quantile(self.misses, level))
            own = (self.horizons * told + _NORMAL_HORIZONS * normal) / (self.horizons + _NORMAL_HORIZONS)
        if pooled is None or not len(pooled):
            return own
        share = 0.5 * len(pooled) / (len(pooled) + _OWN_TOTALS)
        return (1 - share) * own + share * conformal_quantile(pooled, level)


def total_spread(
    values: Vector, *, horizon: int, exposure: Vector | None = None, rates: Vector | None = None
) -> TotalSpread:
    """The spread of a series' sums; `values` NaN where missing, shape (n,).

    With `exposure` (spend, clicks, on the same days) the sum is compared with what the ratio of the sums before
    lets expect of the horizon's own exposure, else with the mean of the days before. `rates` are values per
    exposure that were expected after each day, by the days up to it; None: those of the windows before.
    """
    newest = values[-_HALF_YEAR - horizon :]
    per = np.ones(len(newest)) if exposure is None else exposure[-_HALF_YEAR - horizon :]
    known = np.isfinite(newest) & np.isfinite(per)
    whole = newest[known]
    rooted = not (whole < 0).any()
    counts = rooted and bool((whole == np.round(whole)).all())
    usual = _usual_square(newest, per, known, horizon, counts=counts, rooted=rooted)
    filled = np.where(known, newest, 0.0), np.where(known, per, 0.0)
    if rates is not None:
        tried = [_misses(*filled, known, horizon, rates=rates[-_HALF_YEAR - horizon :])]
    else:
        tried = [_misses(*filled, known, horizon, window=window) for window in _WINDOWS]
    tried = [one for one in tried if len(one[0])]
    if not tried:
        return TotalSpread(max(float(np.sqrt(usual)), 1e-9), 0.0, np.empty(0), 0.0, rooted, counts)
    sizes = [float(np.mean(misses**2 / (expected + _SMALL if rooted else 1.0))) for misses, expected in tried]
    misses, expected = tried[int(np.argmin(sizes))]
    horizons = len(misses) / horizon
    square, wander = _parts(misses, expected, usual, horizons) if rooted else (float(np.mean(misses**2)), 0.0)
    # The least of several windows' squares, and one told from so few horizons, is too small by chance.
    grown = 1 + _CHANCE / horizons
    square = (horizons * square * grown + _PRIOR_HORIZONS * usual) / (horizons + _PRIOR_HORIZONS)
    if rates is not None:
        # What rates are known to do: a quarter a week, before an entity's own weeks tell.
        wander = (horizons * wander + _RATE_HORIZONS * _RATE_WANDERING**2) / (horizons + _RATE_HORIZONS)
    spread = TotalSpread(
        max(float(np.sqrt(square)), 1e-9), float(np.sqrt(wander * grown)), misses, horizons, rooted, counts
    )
    units = np.array([spread.unit(float(one)) for one in expected])
    return replace(spread, misses=np.sort(misses / units))


def _parts(misses: Vector, expected: Vector, usual: float, horizons: float) -> tuple[float, float]:
    """Squares of the part that grows as counts do and of the wandering level's, by normal likelihood over a grid."""
    best: tuple[float, float, float] | None = None
    for relative in _WANDERING:
        rest = float(np.mean((misses**2 - (relative * expected) ** 2) / (expected + _SMALL)))
        square = max(rest, 0.25 * usual)
        variance = square * (expected + _SMALL) + (relative * expected) ** 2
        # Overlapping horizons say less than their number.
        likelihood = -float(np.mean(np.log(variance) + misses**2 / variance)) * horizons
        if best is None or likelihood > best[0] + (1.0 if relative else 0.0):
            best = likelihood, square, relative**2
    return (usual, 0.0) if best is None else best[1:]


def _misses(
    values: Vector, per: Vector, known: Days, horizon: int, *, window: int = 0, rates: Vector | None = None
) -> tuple[Vector, Vector]:
    """Absolute misses of every horizon of the history, and what was expected: by a window before it, or by rates."""
    n = len(values)
    cutoffs = np.arange(min(max(window, _LEAST_BEFORE), max(n - horizon, 0)), n - horizon + 1)
    cutoffs = cutoffs[cutoffs >= _LEAST_BEFORE]
    if not len(cutoffs):
        return np.empty(0), np.empty(0)
    sums, exposures, days = (
        np.concatenate([[0.0], np.cumsum(one)]) for one in (values, per, known.astype(float))
    )
    after, per_after, days_after = (one[cutoffs + horizon] - one[cutoffs] for one in (sums, exposures, days))
    fine = days_after >= _PRESENT * horizon
    if rates is not None:
        rate = rates[cutoffs - 1]
        fine &= (per_after > 0) & np.isfinite(rate)
        expected = rate[fine] * per_after[fine]
    else:
        start = np.maximum(cutoffs - window, 0)
        before, per_before, days_before = (one[cutoffs] - one[start] for one in (sums, exposures, days))
        fine &= (days_before >= _PRESENT * window) & (per_before > 0)
        expected = before[fine] / per_before[fine] * per_after[fine]
    return np.abs(after[fine] - expected), expected


def _usual_square(
    values: Vector, per: Vector, known: Days, horizon: int, *, counts: bool, rooted: bool
) -> float:
    """What is thought of the square before any horizon was seen: of independent days like those there are."""
    days = int(known.sum())
    grown = 1.0 + horizon / max(min(days, 28), 1)
    if days < 2:
        return grown
    if not rooted:
        return float(np.var(np.diff(values[known])) / 2 * horizon * grown)
    rate = values[known].sum() / max(per[known].sum(), 1e-300)
    expected = rate * per[known]
    mean = float(values[known].mean())
    if not mean > 0:
        return grown if counts else 0.0
    dispersion = float(np.mean((values[known] - expected) ** 2)) / mean
    return float(max(dispersion, 1.0) if counts else dispersion) * grown


def total_interval(
    total: float, spread: TotalSpread, *, reach: float, relative: float = 0.0, gap: int = 0
) -> tuple[float, float]:
    """Ends of the interval of a sum: `reach` standard deviations to each side, with a `relative` one beside.

    `gap` are the days between the last known one and the horizon.
    """
    far = np.sqrt(1.0 + gap / 28.0)
    half = reach * float(np.hypot(spread.unit(total) * far, relative * total))
    lower, upper = total - half, total + half
    if spread.rooted:
        lower = max(lower, 0.0)
    if spread.counts and np.ceil(lower) <= np.floor(upper) and total > 0:
        # Sums of counts are whole numbers: these ends hold the same ones.
        lower, upper = min(float(np.ceil(lower)), total), max(float(np.floor(upper)), total)
    return lower, upper
