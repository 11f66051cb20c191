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
from adsml_forecasting.models.steps import Step, find_step, step_at

WINDOW: Final = 28
"""Days on each side that levels are taken from."""
LEAST_DAYS: Final = 3
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
    """One recorded change.

    Attributes
    ----------
    day
        First day in force, days since 1970-01-01.
    budget_before, budget_after
        A day, in the account's currency; None where the log does not say.
    verdict
        None: the impact service was not asked or did not answer.
    """

    day: int
    change_type: ChangeType
    budget_before: float | None = None
    budget_after: float | None = None
    verdict: Verdict | None = None

    @property
    def moved(self) -> bool:
        """Whether it moved the level: unless the impact service found that it did not, or could not tell."""
        return self.verdict not in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE)

    @property
    def budget_ratio(self) -> float | None:
        """Budget after over before; None where one is not known or 0."""
        if (
            self.change_type is not ChangeType.BUDGET_CHANGE
            or not self.budget_before
            or not self.budget_after
        ):
            return None
        return self.budget_after / self.budget_before


@dataclass(frozen=True, slots=True)
class AppliedShift:
    """A change of level that a history was adjusted for.

    Attributes
    ----------
    day
        First day of the new level.
    change
        What was recorded; None: nobody recorded it.
    ratio
        What the days before were multiplied by.
    lasting
        How much of an unrecorded step is taken as lasting, 0 to 1.
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
    season_length: int,
    counts: bool,
) -> Levelled:
    """Bring days before each change to the level after it.

    The ratio of a recorded change's levels (their difference, where values may be negative) is taken over
    whole weeks where there are any, so that weekdays cancel, and shrunk by n / (n + 3) with n days after. With
    fewer than three days after it a budget change counts by what spend did, where that followed. A step that
    nobody recorded is told by spend where spend is known, else by the metric (`steps`).

    Parameters
    ----------
    spend
        On the series' days, NaN where masked; None where it is the metric itself or not known.
    """
    values = series.values.copy()
    applied: list[AppliedShift] = []
    ignored: list[tuple[Change, str]] = []
    lasting = sorted(
        (c for c in changes if c.change_type not in (ChangeType.PAUSE, ChangeType.REACTIVATE)),
        key=lambda one: one.day,
    )
    inside = [c for c in lasting if 0 < c.day - series.first_day < len(values)]
    money = values if spend is None else spend
    for index, change in enumerate(inside):
        at = change.day - series.first_day
        following = len(values) if index + 1 == len(inside) else inside[index + 1].day - series.first_day
        if not change.moved:
            ignored.append((change, f"the impact service calls it {change.verdict}"))
            continue
        after = _whole_weeks(values[at : min(at + WINDOW, following)])
        before = _whole_weeks(values[max(at - WINDOW, 0) : at][::-1])
        days = int(np.isfinite(after).sum())
        if np.isfinite(before).sum() < season_length:
            ignored.append((change, "less than a week of history lies before it"))
            continue
        if days < LEAST_DAYS:
            ratio = (
                _by_spend(money, at, change, elasticity, season_length) if following == len(values) else None
            )
            if ratio is None or not series.nonnegative:
                ignored.append((change, f"it has {days} days after it and needs {LEAST_DAYS}"))
                continue
            values[:at] *= ratio
            applied.append(AppliedShift(change.day, change, ratio))
            continue
        new, old = float(np.nanmean(after)), float(np.nanmean(before))
        weight = days / (days + _SHRINKAGE_DAYS)
        if not series.nonnegative:
            values[:at] += weight * (new - old)
            applied.append(AppliedShift(change.day, change, 1.0))
        elif new > 0 and old > 0:
            ratio = float(np.clip((new / old) ** weight, 1 / _LARGEST, _LARGEST))
            values[:at] *= ratio
            applied.append(AppliedShift(change.day, change, ratio))
        else:
            ignored.append((change, "the level before or after it is 0"))
    if series.nonnegative:
        found = unrecorded(
            values,
            spend=spend,
            elasticity=elasticity,
            season_length=season_length,
            counts=counts,
            recorded=[one.day - series.first_day for one in applied],
        )
        if found is not None:
            at, ratio, share = found
            values[:at] *= ratio
            applied.append(AppliedShift(series.first_day + at, None, ratio, share))
    return Levelled(replace(series, values=values), tuple(applied), tuple(ignored))


def unrecorded(
    values: Vector,
    *,
    spend: Vector | None,
    elasticity: Elasticity,
    season_length: int,
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


def _by_spend(money: Vector, at: int, change: Change, elasticity: Elasticity, season: int) -> float | None:
    """What a budget change of the last days does, where spend has followed it."""
    step: Step | None = step_at(money, at, season_length=season, counts=False)
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
