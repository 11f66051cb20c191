"""One regression for all series of a kind: what their common past says of the days to come.

Each series is divided by its own level, so that a small ad set and a large campaign teach the same
coefficients. A day of the horizon is regressed on the series' means over several windows, on its means of
that day of the season, and on the day of the season itself. Noisy series borrow from each other what none of
them can tell alone: how far to trust last week, and the profile of the week (Montero-Manso & Hyndman 2021,
"Principles and algorithms for forecasting groups of time series").

Coefficients are drawn to "the mean of all the means" (ridge), and learnt apart for near and far days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.series import DailySeries, Matrix, Vector

_LEVEL_SEASONS: Final = (1, 2, 4, 8)
_LEVEL_DAYS: Final = (1, 3)
_SAME_DAY_SEASONS: Final = (1, 2, 4, 8)
_MEANS: Final = len(_LEVEL_DAYS) + len(_LEVEL_SEASONS) + len(_SAME_DAY_SEASONS)
_SCALE_SEASONS: Final = 4
_BANDS: Final = (7, 14, 28)
"""Days ahead after which other coefficients begin."""
_RIDGE: Final = 1e-2
_LIMIT: Final = 4.0
"""A day at more than so many times the level teaches no more than one at that."""
_ANCHORS: Final = 100
_LONGEST: Final = 1095
LEAST_ROWS: Final = 200
"""Days of horizons, over all series, that a regression is learnt from at least."""


def _bands(horizon: int) -> list[tuple[int, int]]:
    ends = [end for end in _BANDS if end < horizon]
    return list(zip([0, *ends], [*ends, horizon], strict=True))


def _window_means(values: Vector, anchors: npt.NDArray[np.int64], days: int) -> Vector:
    """Mean of the `days` values before each anchor, or of as many as there are."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    start = np.maximum(anchors - days, 0)
    return np.asarray((total[anchors] - total[start]) / (anchors - start), dtype=np.float64)


def _design(
    values: Vector, first_day: int, anchors: npt.NDArray[np.int64], steps: range, season: int
) -> tuple[npt.NDArray[np.float64], Vector]:
    """What is known of a series before each anchor, for each day ahead: shape (A, H, F), over the levels, shape (A,).

    `values` are without gaps, of `first_day` on, which tells the day of the season. `anchors` say how many
    values are known, ascending, each at least `season`; `steps` are H days ahead, 0 the first after the last
    known one. A level is 0 where nothing was delivered for four seasons: the rows of that anchor are 0 too.
    """
    level = _window_means(values, anchors, _SCALE_SEASONS * season)
    if (values < 0).any():
        level = _window_means(np.abs(values), anchors, _SCALE_SEASONS * season)
    by_phase = values.copy()
    for at in range(season, len(values)):
        by_phase[at] += by_phase[at - season]
    out = np.zeros((len(anchors), len(steps), _MEANS + season))
    windows = [*_LEVEL_DAYS, *(seasons * season for seasons in _LEVEL_SEASONS)]
    for column, days in enumerate(windows):
        out[:, :, column] = _window_means(values, anchors, days)[:, None]
    ahead = np.array(steps)
    newest = anchors[:, None] + ahead - season * (ahead // season + 1)
    for column, seasons in enumerate(_SAME_DAY_SEASONS, start=len(windows)):
        count = np.minimum(seasons, newest // season + 1)
        before = newest - count * season
        sums = by_phase[newest] - np.where(before >= 0, by_phase[np.maximum(before, 0)], 0.0)
        out[:, :, column] = sums / count
    safe = np.where(level > 0, level, np.inf)
    out[:, :, :_MEANS] /= safe[:, None, None]
    phase = (first_day + anchors[:, None] + ahead) % season
    rows, columns = np.indices(phase.shape)
    out[rows, columns, _MEANS + phase] = (level > 0)[:, None]
    return out, level


@dataclass(frozen=True, slots=True, eq=False)
class PooledRegression:
    """Coefficients learnt from many series, by band of the horizon, shape (B, F), from `rows` days of horizons.

    Days beyond `horizon` take the last band's.
    """

    season_length: int
    horizon: int
    coefficients: Matrix
    rows: int

    def predict(self, series: DailySeries, horizon: int) -> Vector:
        """The days after a series' last one, shape (horizon,)."""
        values = series.filled()[-_LONGEST:]
        first = series.last_day + 1 - len(values)
        anchors = np.array([len(values)])
        found, level = _design(values, first, anchors, range(horizon), self.season_length)
        starts = np.array([start for start, _ in _bands(self.horizon)])
        band = np.searchsorted(starts, np.arange(horizon), side="right") - 1
        return np.asarray(level[0] * (found[0] * self.coefficients[band]).sum(axis=1), dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        """As a registered model keeps it."""
        return asdict(self) | {"coefficients": self.coefficients.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `as_json` wrote; ValueError where coefficients are of another shape, or not finite."""
        season, horizon = int(data["season_length"]), int(data["horizon"])
        coefficients = np.array(data["coefficients"], dtype=np.float64)
        expected = (len(_bands(horizon)), _MEANS + season)
        if coefficients.shape != expected or not np.isfinite(coefficients).all():
            raise ValueError(f"pooled coefficients are not finite numbers of shape {expected}")
        return cls(season, horizon, coefficients, int(data["rows"]))


def learn(
    series: Sequence[DailySeries], *, cutoffs: Sequence[int], horizon: int
) -> dict[int, PooledRegression]:
    """One regression for each cutoff (last day that may be known, since 1970-01-01), from the days up to it alone.

    Each series, all of one kind such as the leads of an account's campaigns, counts by how regular it is: weights
    are the inverse of its mean absolute seasonal difference over its level. Cutoffs before which there are fewer than
    `LEAST_ROWS` days to learn from are left out.
    """
    days = np.unique(np.asarray(cutoffs, dtype=np.int64))
    season_length = next((one.season_length for one in series), 7)
    bands = _bands(horizon)
    prior = np.concatenate([np.full(_MEANS, 1.0 / _MEANS), np.zeros(season_length)])
    width = len(prior)
    # By band and cutoff: weighted products of the columns, what they explain, and 1; and days, by the cutoff before
    # which they lie.
    moments = np.zeros((len(bands), len(days), width + 2, width + 2))
    counts = np.zeros(len(days), np.int64)
    for one in series:
        _teach(one, days, bands, moments, counts, prior)
    moments, counts = moments.cumsum(axis=1), counts.cumsum()
    out: dict[int, PooledRegression] = {}
    for at, day in enumerate(days.tolist()):
        known = moments[:, at]
        total = known[:, -1, -1]
        if counts[at] < LEAST_ROWS or (total <= 0).any():
            continue
        gram = known[:, :width, :width] / total[:, None, None] + _RIDGE * np.eye(width)
        cross = known[:, :width, width] / total[:, None]
        found = prior + np.linalg.solve(gram, cross[:, :, None])[:, :, 0]
        out[day] = PooledRegression(season_length, horizon, found, int(counts[at]))
    return out


def _teach(
    series: DailySeries,
    cutoffs: npt.NDArray[np.int64],
    bands: Sequence[tuple[int, int]],
    moments: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    prior: Vector,
) -> None:
    """Add one series' rows to the moments of every band."""
    known, season = series.values[-_LONGEST:], series.season_length
    n = len(known)
    least = MINIMUM_DAYS[Method.POOLED_REGRESSION]
    if n <= least:
        return
    values = series.filled()[-_LONGEST:]
    first = series.last_day + 1 - n
    step = max((n - least) // _ANCHORS, 1)
    if step % season == 0:
        step += 1  # otherwise near days would only ever be seen on one day of the season
    anchors = np.arange(n - 1, least - 1, -step)[::-1]
    apart = np.abs(values[season:] - values[:-season])
    noise = _window_means(apart, anchors - season, 8 * season)
    for (start, end), sums in zip(bands, moments, strict=True):
        x, level = _design(values, first, anchors, range(start, end), season)
        at = anchors[:, None] + np.arange(start, end)
        inside = at < n
        y = np.where(inside, known[np.minimum(at, n - 1)], np.nan)
        weight = np.divide(level, noise, out=np.ones_like(level), where=noise > 0)
        used = np.isfinite(y) & (level > 0)[:, None]
        scaled = np.divide(y, level[:, None], out=np.zeros_like(y), where=used)[used]
        rest = np.clip(scaled, -_LIMIT, _LIMIT) - x[used] @ prior
        table = np.column_stack([x[used], rest, np.ones(len(rest))])
        weighted = table * np.clip(np.broadcast_to(weight[:, None], y.shape)[used], 0.2, 20.0)[:, None]
        slot = np.searchsorted(cutoffs, (first + at)[used])
        for place in np.unique(slot[slot < len(counts)]):
            mine = slot == place
            sums[place] += weighted[mine].T @ table[mine]
            counts[place] += mine.sum()
