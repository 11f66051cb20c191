"""Lasting steps of a level, found by likelihood.

Every day of the last four weeks may begin a new level. What came since is compared with what the weeks before
let expect, weekday by weekday, by the likelihood ratio of two Poisson rates over the dispersion of the weeks
before (quasi-likelihood: McCullagh & Nelder 1989, section 9). A step must also be larger than the level has
moved from week to week before, and must still be there: a burst that is over is no level.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_forecasting.models.series import Vector

_LEAST_AFTER: Final = 3
_LONGEST_AFTER: Final = 28
_BEFORE: Final = 28
_LEAST_BEFORE: Final = 10
_EVIDENCE: Final = 25.0
"""Twice the log likelihood ratio, over the dispersion."""
_LEAST_CHANGE: Final = 0.47
"""Of the logarithm of a level: x1.6 or less than 0.63."""
_USUAL_MOVES: Final = 3.0


@dataclass(frozen=True, slots=True)
class Step:
    """A level that began at an index: new over old, known days since, variance of that logarithm, and `_EVIDENCE`."""

    at: int
    ratio: float
    days: int
    variance: float
    evidence: float

    @property
    def lasting(self) -> float:
        """How much of the step is taken as lasting: n / (n + 1) with n days since."""
        return self.days / (self.days + 1.0)


def find_step(values: Vector, *, season_length: int = 7, counts: bool) -> Step | None:
    """The likeliest step within the last four weeks, None where there is none beyond doubt.

    `values` are not negative, NaN where missing. `counts`: a day is a count, which varies by its square root at
    least.
    """
    n = len(values)
    tried = (
        step_at(values, at, season_length=season_length, counts=counts)
        for at in range(max(n - _LONGEST_AFTER, _LEAST_BEFORE), n - _LEAST_AFTER + 1)
    )
    step = max((one for one in tried if one is not None), key=lambda one: one.evidence, default=None)
    if step is None:
        return None
    size = abs(np.log(step.ratio))
    if step.evidence < _EVIDENCE or size < max(
        _LEAST_CHANGE, _USUAL_MOVES * _weekly_moves(values[: step.at])
    ):
        return None
    if not _still_there(values, step, season_length):
        return None
    # One day must not make it: without the farthest one it is there too.
    rest = values.copy()
    since = rest[step.at :]
    since[int(np.nanargmax(since) if step.ratio > 1 else np.nanargmin(since))] = np.nan
    again = step_at(rest, step.at, season_length=season_length, counts=counts)
    if again is None or again.evidence < _EVIDENCE / 2:
        return None
    return step if np.log(again.ratio) * np.log(step.ratio) >= size**2 / 2 else None


def _profile(before: Vector, season: int) -> Vector:
    """Share of the mean that each place of the season has, by index modulo `season`; ones where untold."""
    out = np.ones(season)
    level = np.nanmean(before)
    if len(before) < 2 * season or not level > 0:
        return out
    for place in range(season):
        mine = before[place::season]
        if np.isfinite(mine).any():
            out[place] = np.nanmean(mine) / level
    return out


def step_at(values: Vector, at: int, *, season_length: int = 7, counts: bool) -> Step | None:
    """The change of level at a day that is given, None where one side is empty or 0."""
    start = max(at - _BEFORE, 0)
    start += (at - start) % season_length if at - start >= 2 * season_length else 0
    before, after = values[start:at], values[at:]
    known = np.isfinite(before)
    since = np.isfinite(after)
    if known.sum() < _LEAST_BEFORE or not since.any() or not np.nansum(before) > 0:
        return None
    profile = _profile(before, season_length)
    usual = np.resize(profile, len(before) + len(after))
    exposure_before = float(usual[: len(before)][known].sum())
    exposure_after = float(usual[len(before) :][since].sum())
    total_before, total_after = float(np.nansum(before)), float(np.nansum(after))
    if not exposure_after > 0:
        return None
    old = total_before / exposure_before
    expected = old * usual[: len(before)][known]
    fine = expected > 0
    dispersion = float(
        ((before[known] - expected)[fine] ** 2 / expected[fine]).sum() / max(known.sum() - 1, 1)
    )
    # A dispersion told from four weeks may be too small by chance; money has none of its own to fall back on.
    dispersion = max(dispersion, 1.0 if counts else 0.01 * old)
    new = total_after / exposure_after
    pooled = (total_before + total_after) / (exposure_before + exposure_after)
    evidence = (
        2 * (_times_log(total_before, old / pooled) + _times_log(total_after, new / pooled)) / dispersion
    )
    if not new > 0:
        return None
    variance = dispersion * (1 / total_before + 1 / total_after)
    return Step(at, new / old, int(since.sum()), variance, evidence)


def _times_log(amount: float, ratio: float) -> float:
    return amount * float(np.log(ratio)) if amount > 0 else 0.0


def _weekly_moves(values: Vector) -> float:
    """Robust standard deviation of the logarithm of a week over the week before, within the last half year."""
    weeks = min(len(values) // 7, 26)
    if weeks < 3:
        return 0.0
    table = values[len(values) - 7 * weeks :].reshape(weeks, 7)
    known = np.isfinite(table).sum(axis=1)
    means = np.where(known > 2, np.nansum(table, axis=1) / np.maximum(known, 1), np.nan)
    means = means[np.isfinite(means) & (means > 0)]
    moves = np.abs(np.diff(np.log(means)))
    return 1.4826 * float(np.median(moves)) if len(moves) >= 2 else 0.0


def _still_there(values: Vector, step: Step, season: int) -> bool:
    """Whether the newest half of the days since is nearer to the new level than to the old one."""
    after = values[step.at :]
    newest = after[len(after) // 2 :]
    first = after[: len(after) - len(newest)]
    if not np.isfinite(newest).any() or not np.isfinite(first).any():
        return True
    old = np.nanmean(values[max(step.at - _BEFORE, 0) : step.at])
    whole = newest[-season:] if len(newest) >= season else newest
    level = np.nanmean(whole)
    middle = old * np.sqrt(step.ratio)
    return bool(level > middle if step.ratio > 1 else level < middle)
