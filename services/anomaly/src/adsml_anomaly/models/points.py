"""Strange points in one series at equal steps, such as hourly values: causal, and with a season.

Every point is predicted from the points before it by a level plus a profile over the day and, where the step is
shorter than a day, a profile over the week, all by robust exponential smoothing of the values' inverse hyperbolic
sine. The deviation is measured against a spread kept for each time of day, since nights are unlike noons. Three
speeds of the level look at once - an outage against the last hours, a slow slide against the last weeks - and a
point's score is the mean of their absolute z.

Once something strange has been seen, what is less strange is no news: in `alarms` a point counts only above what
the last alarm has faded to (half in 2 seasons). P-values are conformal against the points before.

Sources: robust smoothing after S. Gelper, R. Fried, C. Croux, "Robust forecasting with exponential and
Holt-Winters smoothing", J. Forecasting 2010; conformal p-values in streams after R. Laxhammar, G. Falkman,
"Sequential conformal anomaly detection in trajectories", FUSION 2011; fading weights after R. F. Barber,
E. J. Candès, A. Ramdas, R. J. Tibshirani, "Conformal prediction beyond exchangeability", Annals of Statistics 2023.
"""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models import incidents, results
from adsml_anomaly.models.arrays import BoolArray, FloatArray, IntArray

LEVEL_GAINS: Final = (0.003, 0.03, 0.3)
DAY_GAIN: Final = 0.1
WEEK_GAIN: Final = 0.2
SPREAD_SEASONS: Final = 60.0
"""Half-life, in seasons, of the spread."""
PRIOR_SPREAD: Final = 5.0
"""Points for which the common spread stands where a time of day is young."""
CLIP: Final = 3.0
LEAST_SPREAD: Final = 0.01
"""A hundredth of the value, roughly: a smaller deviation is never strange."""
MOST_Z: Final = 30.0
QUIET_SEASONS: Final = 2.0
MEMORY_SEASONS: Final = 14.0
"""Half-life, in seasons, of a score's weight among those that a point is compared with."""
LEAST_MEMORY: Final = 300.0
ENOUGH: Final = 200
TAIL_SHARE: Final = 0.02
ITSELF: Final = 0.5
"""What a point counts for among those at least as strange as itself: half, as in a mid-p value (H. O. Lancaster, JASA
1961). Counted whole, it cost a third of the alarms asked for where few points came before."""
TAIL_PRIOR: Final = 5.0
TAIL_EXCESS: Final = 0.2
"""Mean excess over the edge of the tail, in edges, before any is known, and for how many that stands; of a normal
deviation it is a seventh, of what people measure more."""
MOST_BINS: Final = 48
"""A day's profile is kept at half-hour steps at the finest."""
_ZOOM: Final = 20.0
_DAY_SECONDS: Final = 86400.0
_WEEK_SHARE: Final = 0.7
_WEEK_PRIOR: Final = 2.0
_NORMAL_MAD: Final = 1.2533
"""Standard deviation over mean absolute deviation of a normal variable."""
_SEVERE_Z: Final = (5.0, 8.0)
"""Scores from which an alarm is more than of low severity, and from which it is of high."""


@dataclass(frozen=True, slots=True)
class Season:
    """Steps in the short season and the long: 24 and 168 of an hourly series, 7 and 0 of a daily one, else 1 and 0."""

    short: int
    long: int = 0

    @property
    def learning(self) -> int:
        """Points at the start that are for learning: two short seasons, at least 10."""
        return max(2 * self.short, 10)


@dataclass(frozen=True, slots=True)
class PointScores:
    """One series, judged; shape (n,) each."""

    # Signed mean of the three speeds' z, NaN where unknown; mean of their absolute z, 0 where unknown
    z: FloatArray
    score: FloatArray
    # By the middle speed, in the values' unit; standard deviation about it on the transformed scale
    expected: FloatArray
    spread: FloatArray
    scale: float  # Of the transform: ``u = arcsinh(value / scale)``

    def value_at(self, at: int, deviations: float) -> float:
        """The value so many standard deviations from the expected one."""
        middle = float(np.arcsinh(self.expected[at] / self.scale))
        return float(self.scale * np.sinh(middle + deviations * self.spread[at]))


def positions(seconds: npt.ArrayLike) -> tuple[IntArray, float]:
    """Number of each point on the series' own grid (gaps leave numbers out), and the grid's step in seconds.

    The step is the median distance of the first points that are apart.
    """
    at = np.asarray(seconds, dtype=np.float64)
    apart = np.diff(at[:200])
    apart = apart[apart > 0]
    if apart.size == 0:
        return np.zeros(at.size, dtype=np.int64), _DAY_SECONDS
    step = float(np.median(apart))
    return np.asarray(np.rint((at - at[0]) / step), dtype=np.int64), step


def season_of(step: float, season_length: int | None = None) -> Season:
    """The season of a series with so many seconds per step.

    `season_length` is as a caller gave it, in steps; None: a week for daily values, day and week for shorter steps,
    else none.
    """
    per_day = round(_DAY_SECONDS / step)
    if per_day > 1 and season_length in (None, 7 * per_day):
        return Season(per_day, 7 * per_day)
    if season_length is not None:
        return Season(season_length)
    return Season(7) if 0.9 * _DAY_SECONDS <= step <= 1.1 * _DAY_SECONDS else Season(1)


def judge(values: npt.ArrayLike, position: IntArray, season: Season) -> PointScores:
    """Judge every value (shape (n,), in order of time; NaN is not known) by those before it."""
    v = np.asarray(values, dtype=np.float64)
    start = np.abs(v[: season.learning])
    start = start[np.isfinite(start) & (start > 0)]
    scale = float(np.median(start)) / _ZOOM if start.size else 1.0
    u = np.arcsinh(v / scale)
    bins = -(-season.short // -(-season.short // MOST_BINS))
    width = -(-season.short // bins)
    short = (position % season.short) // width
    long = (position % season.long) // width if season.long else np.zeros_like(position)
    zs, predictions, spreads = _smooth(u, short, long, season.short, season.long > 0)
    zs = np.clip(zs, -MOST_Z, MOST_Z)
    middle = len(LEVEL_GAINS) // 2
    return PointScores(
        z=zs.mean(axis=0),
        score=np.nan_to_num(np.abs(zs).mean(axis=0)),
        expected=scale * np.sinh(predictions[middle]),
        spread=spreads[middle],
        scale=scale,
    )


@compiled
def _smooth(
    u: FloatArray, short: IntArray, long: IntArray, season: int, weekly: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Deviation, prediction and spread of each point, shape (gains, n) each, at each speed of the level."""
    bins, long_bins = short.max() + 1, long.max() + 1
    half_life = SPREAD_SEASONS * season
    keep, keep_bin = 0.5 ** (1.0 / half_life), 0.5 ** (season / half_life)
    shape = (len(LEVEL_GAINS), u.size)
    z, prediction, spread = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for k, gain in enumerate(LEVEL_GAINS):
        day, day_n = np.zeros(bins), np.zeros(bins)
        week, week_n = np.zeros(long_bins), np.zeros(long_bins)
        off, off_n = np.zeros(bins), np.zeros(bins)
        total, total_n, level, seen = 0.0, 0.0, 0.0, 0
        for t in range(u.size):
            if np.isnan(u[t]):
                continue
            if seen == 0:
                level = u[t]
            d, w = short[t], long[t]
            expected = level + (day[d] if season > 1 else 0.0) + (week[w] if weekly else 0.0)
            e = u[t] - expected
            common = total / total_n if total_n > 0.0 else 0.0
            usual = _NORMAL_MAD * (off[d] + PRIOR_SPREAD * common) / (off_n[d] + PRIOR_SPREAD)
            prediction[k, t], spread[k, t] = expected, max(usual, LEAST_SPREAD)
            if seen > 0:
                z[k, t] = e / spread[k, t]
            limit = CLIP * usual if seen > 20 else np.inf
            e = min(max(e, -limit), limit)
            a = max(gain, 1.0 / (seen + 1.0))
            level += a * e
            if season > 1:
                day_n[d] += 1.0
                day[d] += max(DAY_GAIN, 1.0 / (day_n[d] + 1.0)) * e * (1.0 - a)
            if weekly:
                week_n[w] += 1.0
                week[w] += max(WEEK_GAIN, 1.0 / (week_n[w] + _WEEK_PRIOR)) * e * (1.0 - a) * _WEEK_SHARE
            total, total_n = total * keep + abs(e), total_n * keep + 1.0
            off[d], off_n[d] = off[d] * keep_bin + abs(e), off_n[d] * keep_bin + 1.0
            seen += 1
    return z, prediction, spread


def calibrate(
    score: FloatArray, known: BoolArray, season: Season, *, p_value: float
) -> tuple[FloatArray, FloatArray]:
    """P-value of each point, and the score that it would have needed for `p_value`; NaN while learning or unknown.

    Conformal, against the known points before it, recent ones counting more:
    ``(1/2 + weight of earlier scores at least as large) / (1 + weight of earlier scores)``, where a weight halves
    in 14 seasons (at least `LEAST_MEMORY` points): scores drift, and with equal weights there were 1.4 alarms for
    each one asked for. What the first long season scored, without a profile of the week, is dropped once
    `ENOUGH` points came after it. Above the largest fiftieth an exponential tail of unknown scale goes on (its
    predictive form, ``(1 + excess / sum of excesses) ** -count``): else no p-value below one over the points
    before could be told apart, and once a month is once in 720 hours.
    """
    _, rank = np.unique(-score, return_inverse=True)
    rate = 1.0 / max(MEMORY_SEASONS * season.short, LEAST_MEMORY)
    return _calibrate(score, known, rank.astype(np.int64), p_value, season.learning, season.long, rate)


@compiled
def _calibrate(
    score: FloatArray, known: BoolArray, rank: IntArray, p_value: float, learning: int, long: int, rate: float
) -> tuple[FloatArray, FloatArray]:
    # A Fenwick tree over ranks, the strangest first: its prefix sums are weights of scores at least as large.
    # Weights grow instead of fading, so that no sum has to be touched again.
    tree, scored = np.zeros(score.size + 1), np.zeros(score.size + 1)
    weight, total, forgot = np.zeros(score.size), 0.0, False
    p, limits = np.full(score.size, np.nan), np.full(score.size, np.nan)
    by_rank = np.empty(score.size)
    by_rank[rank] = score
    for t in range(score.size):
        if not known[t]:
            continue
        now = 2.0 ** (t * rate)
        if long > 0 and not forgot and t >= long + ENOUGH:
            forgot = True
            for s in range(min(long, t)):
                if weight[s] > 0.0:
                    _add(tree, rank[s], -weight[s])
                    _add(scored, rank[s], -weight[s] * score[s])
                    total -= weight[s]
        if t >= learning:
            whole = 1.0 + total / now
            edge_rank = _first_beyond(tree, TAIL_SHARE * whole * now)
            edge = by_rank[edge_rank]
            above = max(_up_to(tree, edge_rank - 1) / now, 0.0)
            p_edge = (ITSELF + max(_up_to(tree, edge_rank) / now, 0.0)) / whole
            beyond = max(_up_to(scored, edge_rank - 1) / now - edge * above, 0.0)
            excess, count = beyond + TAIL_PRIOR * TAIL_EXCESS * edge, above + TAIL_PRIOR
            if score[t] > edge:
                p[t] = p_edge * (1.0 + (score[t] - edge) / excess) ** -count if excess > 0.0 else 0.0
            else:
                p[t] = (ITSELF + max(_up_to(tree, rank[t]) / now, 0.0)) / whole
            if p_value < p_edge:
                limits[t] = edge + excess * ((p_edge / p_value) ** (1.0 / count) - 1.0)
            else:
                limits[t] = by_rank[_first_beyond(tree, (p_value * whole - ITSELF + 1e-9) * now)]
        # What the first season scores is noise of the start.
        if t >= learning // 2:
            weight[t] = now
            _add(tree, rank[t], now)
            _add(scored, rank[t], now * score[t])
            total += now
    return p, limits


@compiled
def _add(tree: FloatArray, rank: int, weight: float) -> None:
    i = rank + 1
    while i < tree.size:
        tree[i] += weight
        i += i & -i


@compiled
def _up_to(tree: FloatArray, rank: int) -> float:
    total, i = 0.0, rank + 1
    while i > 0:
        total += tree[i]
        i -= i & -i
    return total


@compiled
def _first_beyond(tree: FloatArray, target: float) -> int:
    """First rank whose prefix sum is above the target; the last rank where none is."""
    step = 1
    while 2 * step < tree.size:
        step *= 2
    at = 0
    while step > 0:
        if at + step < tree.size and tree[at + step] <= target:
            at += step
            target -= tree[at]
        step //= 2
    return min(at, tree.size - 2)


@compiled
def alarms(score: FloatArray, season: int) -> FloatArray:
    """The score where it is news, else 0: what is below what the last alarm has faded to in a short season is not."""
    out, keep, bar = np.zeros_like(score), 0.5 ** (1.0 / (QUIET_SEASONS * season)), 0.0
    for t in range(score.size):
        bar *= keep
        if score[t] > bar:
            out[t] = bar = score[t]
    return out


def assess_points(
    name: str,
    seconds: FloatArray,
    values: FloatArray,
    *,
    season_length: int | None,
    threshold: results.Threshold,
    anomalous_only: bool,
) -> results.Report:
    """Judge every point (seconds since 1970, rising, and values, NaN where not known) by the points before it.

    `season_length` is in steps (None: found from the spacing), the threshold's rate per 30 steps.
    """
    position, step = positions(seconds)
    season = season_of(step, season_length)
    scores = judge(values, position, season)
    p, limits = calibrate(scores.score, np.isfinite(scores.z), season, p_value=threshold.p_value)
    flags = np.nan_to_num(p, nan=1.0) <= threshold.p_value + 1e-12
    times = [datetime.fromtimestamp(s, UTC) for s in seconds]
    raised = np.flatnonzero(flags)
    on_end = np.split(raised, np.flatnonzero(np.diff(raised) > 1) + 1)
    groups = [rows.tolist() for rows in on_end if rows.size]
    ids = {t: incidents.incident_id(name, times[rows[0]].isoformat()) for rows in groups for t in rows}

    def point(t: int) -> results.DayAssessment:
        known = bool(np.isfinite(scores.z[t]))
        bounded = known and np.isfinite(limits[t])
        one = results.MetricAssessment(
            metric=None,
            observed=results.figure(values[t]),
            expected=results.figure(scores.expected[t]),
            lower=scores.value_at(t, -limits[t]) if bounded else None,
            upper=scores.value_at(t, limits[t]) if bounded else None,
            level=1.0 - threshold.p_value,
            robust_z=results.figure(scores.z[t]),
            attribution=1.0,
        )
        score = float(scores.score[t])
        quiet = results.DayAssessment(times[t], results.figure(p[t]), score if known else None, (one,))
        if not flags[t]:
            return quiet
        one = replace(one, direction=results.Direction.UP if scores.z[t] > 0 else results.Direction.DOWN)
        severity = results.Severity(1 + sum(score >= z for z in _SEVERE_Z))
        told = replace(quiet, metrics=(one,), incident_id=ids[t], summary=_words(one))
        return replace(told, anomalous=True, severity=severity, direction=one.direction)

    assessed = {t: point(t) for t in range(values.size) if flags[t] or not anomalous_only}
    state = {values.size - 1: results.IncidentState.OPEN}
    return results.Report(
        days=tuple(assessed.values()),
        incidents=tuple(
            incidents.incident_of(
                [assessed[t] for t in rows], state=state.get(rows[-1], results.IncidentState.RESOLVED)
            )
            for rows in groups
        ),
        threshold=threshold,
        learning_points=season.learning,
    )


def _words(one: results.MetricAssessment) -> str:
    observed = one.observed or 0.0
    if one.lower is None or one.upper is None or not math.isfinite(one.upper):
        return f"Value {observed:.6g}"
    for digits in range(6, 17):
        seen, low, high = (float(f"{value:.{digits}g}") for value in (observed, one.lower, one.upper))
        if not low <= seen <= high:
            break
    return f"Value {seen:.{digits}g}, expected {low:.{digits}g} to {high:.{digits}g}"
