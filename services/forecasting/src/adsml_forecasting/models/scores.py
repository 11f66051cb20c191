"""Measures of forecasts, and their bootstrap intervals over series.

Days without an actual value or without a forecast are left out. wMAPE: Kolassa & Schütz (2007). MASE: Hyndman
& Koehler (2006). RMSSE: M5 guide (2020). sMAPE: M4 guide, as a share, 0 to 2. Shares, not percent, throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.series import DailySeries, Matrix, Vector

NAMES: Final = ("wmape", "smape", "mase", "rmsse", "mape", "pinball", "coverage")


def mase_scale(history: DailySeries) -> float:
    """Mean absolute difference of days a season apart; NaN without such a pair or where all are alike."""
    return _scale(history.values, lag=history.season_length, squared=False)


def rmsse_scale(history: DailySeries) -> float:
    """Root mean squared difference of consecutive days; NaN without a pair or where all are alike."""
    return _scale(history.values, lag=1, squared=True)


def _scale(history: Vector, *, lag: int, squared: bool) -> float:
    if len(history) <= lag:
        return float("nan")
    difference = history[lag:] - history[:-lag]
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return float("nan")
    value = float(np.sqrt(np.mean(difference**2)) if squared else np.mean(np.abs(difference)))
    return value if value > 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Forecasts of one method and what came: N origins (of one or more series) by H days ahead.

    `series` is the index of the series of each origin, shape (N,), as are the scales of each one's history; the
    others have shape (N, H), NaN where missing, and throughout without intervals.
    """

    series: npt.NDArray[np.int64]
    actual: Matrix
    point: Matrix
    lower: Matrix
    upper: Matrix
    mase_scale: Vector
    rmsse_scale: Vector


@dataclass(frozen=True, slots=True)
class Score:
    """A measure and its interval over resampled series; None where it is not defined or was not asked for."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class HorizonCoverage:
    """Coverage and mean width of the intervals so many days ahead."""

    days_ahead: int
    coverage: float
    mean_width: float
    samples: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How a method did. MASE and RMSSE are means over origins with a scale.

    MAPE is over the days with a value above 0; `mape_dropped_share` is the share of days that leaves out.
    `pinball` is the mean over the interval's ends and the point forecast as the median, in the metric's unit;
    `coverage` the share of days within the interval.
    """

    wmape: Score
    smape: Score
    mase: Score
    rmsse: Score
    mape: Score
    pinball: Score
    coverage: Score
    mape_dropped_share: float
    samples: int
    by_horizon: tuple[HorizonCoverage, ...] = ()


def _ratio(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Vector:
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


def _sums(found: Forecasts, count: int, level: float) -> dict[str, tuple[Vector, Vector]]:
    """Numerator and denominator of each measure by series, shape (count,) each."""
    used = np.isfinite(found.actual) & np.isfinite(found.point)
    error = np.where(used, np.abs(found.actual - found.point), 0.0)
    size = np.where(used, np.abs(found.actual), 0.0)
    spread = size + np.where(used, np.abs(found.point), 0.0)
    positive = used & (found.actual > 0)
    days = used.sum(axis=1)

    def scaled(values: Vector, scale: Vector) -> tuple[Vector, npt.NDArray[Any]]:
        each = _ratio(values, scale)
        fine = np.isfinite(each) & (days > 0)
        return np.where(fine, each, 0.0), fine

    mean_error = _ratio(error.sum(axis=1), days)
    root = np.sqrt(_ratio((error**2).sum(axis=1), days))
    bounded = used & np.isfinite(found.lower) & np.isfinite(found.upper)
    inside = bounded & (found.actual >= found.lower) & (found.actual <= found.upper)
    losses = np.zeros_like(error)
    for quantile, at in (((1 - level) / 2, found.lower), (0.5, found.point), ((1 + level) / 2, found.upper)):
        gap = np.where(bounded, found.actual - at, 0.0)
        losses += np.maximum(quantile * gap, (quantile - 1) * gap) / 3
    positive_share = np.where(positive, np.nan_to_num(_ratio(error, size)), 0.0)
    by_origin = {
        "wmape": (error.sum(axis=1), size.sum(axis=1)),
        "smape": (np.nan_to_num(2 * _ratio(error, spread)).sum(axis=1), days),
        "mase": scaled(mean_error, found.mase_scale),
        "rmsse": scaled(root, found.rmsse_scale),
        "mape": (positive_share.sum(axis=1), positive.sum(axis=1)),
        "pinball": (losses.sum(axis=1), bounded.sum(axis=1)),
        "coverage": (inside.sum(axis=1), bounded.sum(axis=1)),
    }

    def by_series(values: npt.NDArray[Any]) -> Vector:
        return np.bincount(found.series, values, minlength=count).astype(np.float64)

    return {name: (by_series(top), by_series(bottom)) for name, (top, bottom) in by_origin.items()}


def resamples(series: int, *, count: int, seed: int) -> Matrix:
    """How often each series is drawn in each bootstrap sample, shape (count, series)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(series, np.full(series, 1.0 / series), size=count).astype(np.float64)


def _score(parts: Sequence[tuple[Vector, Vector]], draws: Matrix | None) -> Score:
    """The first ratio of sums less the second, if there is one, with the 95% interval that resamples of series give."""

    def value(weights: Matrix) -> Vector:
        ratios = [_ratio(weights @ top, weights @ bottom) for top, bottom in parts]
        return ratios[0] - ratios[1] if len(ratios) > 1 else ratios[0]

    series = len(parts[0][0])
    found = float(value(np.ones((1, series)))[0])
    if np.isnan(found):
        return Score(None)
    if draws is None or series < 2:
        return Score(found)
    low, high = np.nanquantile(value(draws), [0.025, 0.975])
    return Score(found, float(low), float(high))


def _series(found: Forecasts, draws: Matrix | None) -> int:
    return draws.shape[1] if draws is not None else int(found.series.max(initial=-1)) + 1


def measure(found: Forecasts, *, level: float, draws: Matrix | None = None) -> Scores:
    """Every measure of one method, whose intervals are of `level`; `draws` (`resamples`) give the scores' own."""
    count = _series(found, draws)
    sums = _sums(found, count, level)
    scores = {name: _score([sums[name]], draws) for name in NAMES}
    days = sums["smape"][1].sum()
    kept = sums["mape"][1].sum()
    return Scores(
        **scores,
        mape_dropped_share=float(1 - kept / days) if days else 0.0,
        samples=int(days),
        by_horizon=_by_horizon(found),
    )


def paired_difference(found: Forecasts, reference: Forecasts, *, draws: Matrix | None) -> Score:
    """WMAPE of one method less another's on the same days and the same resamples, as a share."""
    both = np.isfinite(found.point) & np.isfinite(reference.point)
    count = _series(found, draws)
    same = [replace(one, actual=np.where(both, one.actual, np.nan)) for one in (found, reference)]
    return _score([_sums(one, count, 0.5)["wmape"] for one in same], draws)


def _by_horizon(found: Forecasts) -> tuple[HorizonCoverage, ...]:
    bounded = np.isfinite(found.actual) & np.isfinite(found.lower) & np.isfinite(found.upper)
    inside = bounded & (found.actual >= found.lower) & (found.actual <= found.upper)
    out = []
    for step in range(found.actual.shape[1]):
        at = bounded[:, step]
        if at.any():
            width = (found.upper[at, step] - found.lower[at, step]).mean()
            out.append(HorizonCoverage(step + 1, float(inside[at, step].mean()), float(width), int(at.sum())))
    return tuple(out)
