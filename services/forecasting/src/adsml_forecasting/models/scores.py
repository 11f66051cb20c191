"""Measures of forecasts, and their bootstrap intervals over series.

Days without an actual value or without a forecast are left out. wMAPE: Kolassa & Schütz (2007). MASE: Hyndman
& Koehler (2006). RMSSE: M5 guide (2020). sMAPE: M4 guide, as a share, 0 to 2. Shares, not percent, throughout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.series import Vector

Matrix = npt.NDArray[np.float64]

NAMES: Final = ("wmape", "smape", "mase", "rmsse", "mape", "pinball", "coverage")


def mase_scale(history: Vector, *, season_length: int) -> float:
    """Mean absolute difference of days a season apart; NaN without such a pair or where all are alike."""
    return _scale(history, lag=season_length, squared=False)


def rmsse_scale(history: Vector) -> float:
    """Root mean squared difference of consecutive days; NaN without a pair or where all are alike."""
    return _scale(history, lag=1, squared=True)


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

    Attributes
    ----------
    series
        Index of the series of each origin, shape (N,).
    actual, point, lower, upper
        Shape (N, H), NaN where missing; no intervals: NaN throughout.
    mase_scale, rmsse_scale
        Of each origin's history, shape (N,).
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
    """How a method did.

    Attributes
    ----------
    wmape, smape, mape
        Shares; sMAPE between 0 and 2; MAPE over the days with a value above 0.
    mase, rmsse
        Means over origins with a scale.
    pinball
        Mean over the interval's ends and the point forecast as the median, in the metric's unit.
    coverage
        Share of days within the interval.
    mape_dropped_share
        Share of days that MAPE leaves out.
    samples
        Days measured.
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
    y = np.where(used, found.actual, 0.0)
    error = np.where(used, np.abs(found.actual - found.point), 0.0)
    size = np.where(used, np.abs(found.actual), 0.0)
    spread = size + np.where(used, np.abs(found.point), 0.0)
    positive = used & (y > 0)
    days = used.sum(axis=1)

    def by_series(values: Vector) -> Vector:
        return np.bincount(found.series, values, minlength=count).astype(np.float64)

    def scaled(values: Vector, scale: Vector) -> tuple[Vector, Vector]:
        each = _ratio(values, scale)
        fine = np.isfinite(each) & (days > 0)
        return by_series(np.where(fine, each, 0.0)), by_series(fine.astype(float))

    mean_error = _ratio(error.sum(axis=1), days)
    root = np.sqrt(_ratio((error**2).sum(axis=1), days))
    bounded = used & np.isfinite(found.lower) & np.isfinite(found.upper)
    inside = bounded & (found.actual >= found.lower) & (found.actual <= found.upper)
    losses = np.zeros_like(error)
    for quantile, at in (((1 - level) / 2, found.lower), (0.5, found.point), ((1 + level) / 2, found.upper)):
        gap = np.where(bounded, found.actual - at, 0.0)
        losses += np.maximum(quantile * gap, (quantile - 1) * gap) / 3
    return {
        "wmape": (by_series(error.sum(axis=1)), by_series(size.sum(axis=1))),
        "smape": (
            by_series(np.nan_to_num(2 * _ratio(error, spread)).sum(axis=1)),
            by_series(days.astype(float)),
        ),
        "mase": scaled(mean_error, found.mase_scale),
        "rmsse": scaled(root, found.rmsse_scale),
        "mape": (
            by_series(np.where(positive, np.nan_to_num(_ratio(error, size)), 0.0).sum(axis=1)),
            by_series(positive.sum(axis=1).astype(float)),
        ),
        "pinball": (by_series(losses.sum(axis=1)), by_series(bounded.sum(axis=1).astype(float))),
        "coverage": (
            by_series(inside.sum(axis=1).astype(float)),
            by_series(bounded.sum(axis=1).astype(float)),
        ),
    }


def resamples(series: int, *, count: int, seed: int) -> Matrix:
    """How often each series is drawn in each bootstrap sample, shape (count, series)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(series, np.full(series, 1.0 / series), size=count).astype(np.float64)


def _score(top: Vector, bottom: Vector, draws: Matrix | None, level: float = 0.95) -> Score:
    value = float(_ratio(top.sum(), bottom.sum()))
    if np.isnan(value):
        return Score(None)
    if draws is None or len(top) < 2:
        return Score(value)
    values = _ratio(draws @ top, draws @ bottom)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Score(value, float(low), float(high))


def measure(found: Forecasts, *, level: float, draws: Matrix | None = None) -> Scores:
    """Every measure of one method.

    Parameters
    ----------
    level
        Nominal probability of its intervals.
    draws
        As of `resamples`; None for no intervals of the scores.
    """
    count = draws.shape[1] if draws is not None else int(found.series.max(initial=-1)) + 1
    sums = _sums(found, count, level)
    scores = {name: _score(*sums[name], draws) for name in NAMES}
    days = sums["smape"][1].sum()
    kept = sums["mape"][1].sum()
    return Scores(
        **scores,
        mape_dropped_share=float(1 - kept / days) if days else 0.0,
        samples=int(days),
        by_horizon=_by_horizon(found),
    )


def paired_difference(found: Forecasts, reference: Forecasts, *, level: float, draws: Matrix | None) -> Score:
    """WMAPE of one method less another's on the same days and the same resamples, as a share."""
    both = np.isfinite(found.point) & np.isfinite(reference.point)
    count = draws.shape[1] if draws is not None else int(found.series.max(initial=-1)) + 1
    tops = []
    bottom = np.zeros(count)
    for one in (found, reference):
        actual = np.where(both, one.actual, np.nan)
        same = Forecasts(one.series, actual, one.point, one.lower, one.upper, one.mase_scale, one.rmsse_scale)
        top, bottom = _sums(same, count, level)["wmape"]
        tops.append(top)
    value = float(_ratio(tops[0].sum(), bottom.sum()) - _ratio(tops[1].sum(), bottom.sum()))
    if np.isnan(value):
        return Score(None)
    if draws is None or count < 2:
        return Score(value)
    values = _ratio(draws @ tops[0], draws @ bottom) - _ratio(draws @ tops[1], draws @ bottom)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Score(value, float(low), float(high))


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


def best(scores: Mapping[str, Scores], *, by: str, among: Sequence[str]) -> str:
    """Name of the method with the lowest measure; the first of those that tie."""

    def key(name: str) -> float:
        value = getattr(scores[name], by).value
        return float("inf") if value is None else float(value)

    return min(among, key=key)
