"""Changes of a level, recorded or not: the history before one is brought to the level after it.

Steps that nobody recorded are found by likelihood: every day of the last four weeks may begin a new level. What came
since is compared with what the weeks before let expect, weekday by weekday, by the likelihood ratio of two Poisson
rates over the dispersion of the weeks before (quasi-likelihood: McCullagh & Nelder 1989, section 9). A step must also
be larger than the level has moved from week to week before, and must still be there: a burst that is over is no level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeType

from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.spend_response import Elasticity

_WINDOW: Final = 28
"""Days on each side that levels are taken from."""
_LEAST_DAYS: Final = 3
"""Known days needed after a change, and a week before it, for the metric itself to tell its new level."""
_SHRINKAGE_DAYS: Final = 3.0
_LARGEST: Final = 5.0
_RESPONSE_VARIANCE: Final = 0.3**2
"""Of the logarithm of a metric's step about what its spend's step lets expect."""
_NEAR_A_CHANGE: Final = 3
_SPEND_FOLLOWED: Final = 0.5
_LEAST_AFTER: Final = 3
_LONGEST_AFTER: Final = 28
_BEFORE: Final = 28
_LEAST_BEFORE: Final = 10
_EVIDENCE: Final = 25.0
"""Twice the log likelihood ratio, over the dispersion."""
_LEAST_CHANGE: Final = 0.47
"""Of the logarithm of a level: x1.6 or less than 0.63."""
_USUAL_MOVES: Final = 3.0


class Verdict(StrEnum):
    """What the impact service said of a change."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Change:
    """One recorded change, in force from a day (since 1970-01-01) on.

    Budgets are a day's, in the account's currency, None where the log does not say. The verdict is None where the
    impact service was not asked or did not answer.
    """

    day: int
    change_type: ChangeType
    budget_before: float | None = None
    budget_after: float | None = None
    verdict: Verdict | None = None

    @property
    def budget_ratio(self) -> float | None:
        """Budget after over before; None where one is not known or 0."""
        if self.change_type is ChangeType.BUDGET_CHANGE and self.budget_before and self.budget_after:
            return self.budget_after / self.budget_before
        return None


@dataclass(frozen=True, slots=True)
class AppliedShift:
    """A change of level that a history was adjusted for, from the first day of the new level on.

    `change` is None where nobody recorded it; the days before were multiplied by `ratio`; `lasting` (0 to 1) is how
    much of an unrecorded step is taken as lasting.
    """

    day: int
    change: Change | None
    ratio: float
    lasting: float = 1.0


def pause_spans(changes: Sequence[Change]) -> list[tuple[int, int | None]]:
    """First paused day and first day after it; None for a pause that is still open. Changes are by day."""
    spans: list[tuple[int, int | None]] = []
    since: int | None = None
    for change in changes:
        if change.change_type is ChangeType.PAUSE and since is None:
            since = change.day
        elif change.change_type is ChangeType.REACTIVATE and since is not None:
            spans.append((since, change.day))
            since = None
    if since is not None:
        spans.append((since, None))
    return spans


def level(
    series: DailySeries,
    changes: Sequence[Change],
    *,
    spend: Vector | None,
    elasticity: Elasticity,
    counts: bool,
) -> tuple[DailySeries, tuple[AppliedShift, ...], tuple[tuple[Change, str], ...]]:
    """The series at its newest level: days before each change (by day) brought to the level after it.

    The ratio of a recorded change's levels is taken over whole weeks where there are any, so that weekdays
    cancel, and shrunk by n / (n + 3) with n days after. With fewer than three days after it a budget change
    counts by what spend did, where that followed. A step that nobody recorded is told by spend where spend is
    known, else by the metric (`steps`).

    `spend` is on the series' days, NaN where masked; None where it is the metric itself or not known. Returned too are
    what was applied, and the changes that were not, with why.
    """
    values = series.values.copy()
    applied: list[AppliedShift] = []
    ignored: list[tuple[Change, str]] = []
    inside = [
        change
        for change in changes
        if change.change_type not in (ChangeType.PAUSE, ChangeType.REACTIVATE)
        and 0 < change.day - series.first_day < len(values)
    ]
    ends = [*(change.day - series.first_day for change in inside[1:]), len(values)]
    money = values if spend is None else spend
    for change, end in zip(inside, ends, strict=False):
        at = change.day - series.first_day
        ratio = _recorded(values, money, change, at, end, elasticity)
        if isinstance(ratio, str):
            ignored.append((change, ratio))
        else:
            values[:at] *= ratio
            applied.append(AppliedShift(change.day, change, ratio))
    recorded = [one.day - series.first_day for one in applied]
    found = _unrecorded(values, spend, elasticity, series.season_length, counts, recorded)
    if found is not None:
        at, ratio, share = found
        values[:at] *= ratio
        applied.append(AppliedShift(series.first_day + at, None, ratio, share))
    return replace(series, values=values), tuple(applied), tuple(ignored)


def _recorded(
    values: Vector, money: Vector, change: Change, at: int, end: int, elasticity: Elasticity
) -> float | str:
    """What to multiply the days before a change by, or why it is not used; the next one is at `end`."""
    if change.verdict in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE):
        return f"the impact service calls it {change.verdict}"
    after = _whole_weeks(values[at : min(at + _WINDOW, end)])
    before = _whole_weeks(values[max(at - _WINDOW, 0) : at][::-1])
    days = int(np.isfinite(after).sum())
    if np.isfinite(before).sum() < 7:
        return "less than a week of history lies before it"
    if days < _LEAST_DAYS:
        ratio = _by_spend(money, at, change, elasticity) if end == len(values) else None
        return f"it has {days} days after it and needs {_LEAST_DAYS}" if ratio is None else ratio
    new, old = float(np.nanmean(after)), float(np.nanmean(before))
    if not (new > 0 and old > 0):
        return "the level before or after it is 0"
    return float(np.clip((new / old) ** (days / (days + _SHRINKAGE_DAYS)), 1 / _LARGEST, _LARGEST))


def _unrecorded(
    values: Vector,
    spend: Vector | None,
    elasticity: Elasticity,
    season_length: int,
    counts: bool,
    recorded: Sequence[int],
) -> tuple[int, float, float] | None:
    """Where a step that nobody recorded begins, what to multiply the days before by, and how lasting it is."""
    step = None if spend is None else find_step(spend, season_length=season_length, counts=False)
    if step is not None:
        change = usual = elasticity.value * np.log(step.ratio)
        own = step_at(values, step.at, season_length=season_length, counts=counts)
        if own is not None:
            precision = 1 / _RESPONSE_VARIANCE + 1 / own.variance
            change = (usual / _RESPONSE_VARIANCE + np.log(own.ratio) / own.variance) / precision
    else:
        step = find_step(values, season_length=season_length, counts=counts)
        change = 0.0 if step is None else float(np.log(step.ratio))
    if step is None or any(abs(step.at - at) <= _NEAR_A_CHANGE for at in recorded):
        return None
    return step.at, float(np.exp(step.lasting * change)), step.lasting


def _by_spend(money: Vector, at: int, change: Change, elasticity: Elasticity) -> float | None:
    """What a budget change of the last days does, where spend has followed it."""
    step = step_at(money, at, counts=False)
    if change.change_type is not ChangeType.BUDGET_CHANGE or step is None:
        return None
    size = float(np.log(step.ratio))
    said = change.budget_ratio
    if said is not None:
        if abs(np.log(said)) < 1e-9 or size / float(np.log(said)) < _SPEND_FOLLOWED:
            return None
        size = float(np.sign(size) * min(abs(size), abs(np.log(said))))
    elif abs(size) < 3 * np.sqrt(step.variance):
        return None
    return float(np.exp(elasticity.value * size))


def _whole_weeks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weeks = len(values) // 7
    return values[: weeks * 7] if weeks else values


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
