"""Changes of a level, recorded or not: the history before one is brought to the level after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeType

from adsml_forecasting.models.series import DailySeries, Vector
from adsml_forecasting.models.spend_response import Elasticity
from adsml_forecasting.models.steps import find_step, step_at

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


@dataclass(frozen=True, slots=True, eq=False)
class Levelled:
    """A series at its newest level, what was applied, and the changes that were not, with why."""

    series: DailySeries
    applied: tuple[AppliedShift, ...]
    ignored: tuple[tuple[Change, str], ...]


def pause_spans(changes: Sequence[Change]) -> list[tuple[int, int | None]]:
    """First paused day and first day after it, by day; None for a pause that is still open."""
    spans: list[tuple[int, int | None]] = []
    since: int | None = None
    for change in sorted(changes, key=lambda one: one.day):
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
) -> Levelled:
    """Bring days before each change to the level after it.

    The ratio of a recorded change's levels is taken over whole weeks where there are any, so that weekdays
    cancel, and shrunk by n / (n + 3) with n days after. With fewer than three days after it a budget change
    counts by what spend did, where that followed. A step that nobody recorded is told by spend where spend is
    known, else by the metric (`steps`).

    `spend` is on the series' days, NaN where masked; None where it is the metric itself or not known.
    """
    values = series.values.copy()
    applied: list[AppliedShift] = []
    ignored: list[tuple[Change, str]] = []
    inside = sorted(
        (
            change
            for change in changes
            if change.change_type not in (ChangeType.PAUSE, ChangeType.REACTIVATE)
            and 0 < change.day - series.first_day < len(values)
        ),
        key=lambda one: one.day,
    )
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
    found = unrecorded(
        values,
        spend=spend,
        elasticity=elasticity,
        counts=counts,
        recorded=[one.day - series.first_day for one in applied],
    )
    if found is not None:
        at, ratio, share = found
        values[:at] *= ratio
        applied.append(AppliedShift(series.first_day + at, None, ratio, share))
    return Levelled(replace(series, values=values), tuple(applied), tuple(ignored))


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


def unrecorded(
    values: Vector,
    *,
    spend: Vector | None,
    elasticity: Elasticity,
    season_length: int = 7,
    counts: bool,
    recorded: Sequence[int] = (),
) -> tuple[int, float, float] | None:
    """Where a step that nobody recorded begins, what to multiply the days before by, and how lasting it is."""
    step = None if spend is None else find_step(spend, season_length=season_length, counts=False)
    if step is not None:
        usual = elasticity.value * np.log(step.ratio)
        own = step_at(values, step.at, season_length=season_length, counts=counts)
        if own is None:
            change = usual
        else:
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
