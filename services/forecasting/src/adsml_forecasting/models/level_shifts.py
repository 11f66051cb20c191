"""Known changes as level shifts: the history before a change is brought to the level after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeType

from adsml_forecasting.models.series import DailySeries

WINDOW: Final = 28
"""Days on each side that levels are taken from."""
LEAST_DAYS: Final = 3
"""Known days needed after a change, and a week before it; with fewer the change is left alone."""
_SHRINKAGE_DAYS: Final = 3.0
_LARGEST: Final = 5.0


class Verdict(StrEnum):
    """What the impact service said of a change."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class LevelShift:
    """One change that the history is adjusted for.

    Attributes
    ----------
    date
        First day of the new level.
    verdict
        None: the impact service was not asked or did not answer.
    """

    date: date
    change_type: ChangeType
    verdict: Verdict | None = None

    @property
    def worth_keeping(self) -> bool:
        """Whether it moved the level: unless the impact service found that it did not, or could not tell."""
        return self.verdict not in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def without_pauses(series: DailySeries, shifts: Sequence[LevelShift]) -> list[int]:
    """Days without delivery between a pause and the reactivation after it: no level can be told from them."""
    days: list[int] = []
    paused: int | None = None
    for shift in sorted(shifts, key=lambda one: one.date):
        if shift.change_type is ChangeType.PAUSE:
            paused = day_number(shift.date)
        elif shift.change_type is ChangeType.REACTIVATE and paused is not None:
            for day in range(paused, day_number(shift.date)):
                at = day - series.first_day
                if 0 <= at < len(series) and series.values[at] == 0:
                    days.append(day)
            paused = None
    return days


def adjusted(series: DailySeries, shifts: Sequence[LevelShift]) -> tuple[DailySeries, list[LevelShift]]:
    """The series with days before each change moved to the level after it, and the changes that were used.

    The ratio of the levels (their difference, where values may be negative) is taken over whole weeks where
    there are any, so that weekdays cancel, and shrunk by n / (n + 3) with n days after the change. Pauses and
    reactivations are not level shifts: see `without_pauses`.
    """
    values = series.values.copy()
    used: list[LevelShift] = []
    days = sorted(
        (s for s in shifts if s.change_type not in (ChangeType.PAUSE, ChangeType.REACTIVATE)),
        key=lambda one: one.date,
    )
    for index, shift in enumerate(days):
        at = day_number(shift.date) - series.first_day
        following = (
            len(values) if index + 1 == len(days) else day_number(days[index + 1].date) - series.first_day
        )
        if not 0 < at < len(values):
            continue
        after = _whole_weeks(values[at : min(at + WINDOW, following)])
        before = _whole_weeks(values[max(at - WINDOW, 0) : at][::-1])
        if np.isfinite(after).sum() < LEAST_DAYS or np.isfinite(before).sum() < 7:
            continue
        new, old = float(np.nanmean(after)), float(np.nanmean(before))
        weight = np.isfinite(after).sum() / (np.isfinite(after).sum() + _SHRINKAGE_DAYS)
        if series.nonnegative:
            if new <= 0 or old <= 0:
                continue
            ratio = float(np.clip((new / old) ** weight, 1 / _LARGEST, _LARGEST))
            values[:at] *= ratio
        else:
            values[:at] += weight * (new - old)
        used.append(shift)
    return replace(series, values=values), used


def _whole_weeks(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    weeks = len(values) // 7
    return values[: weeks * 7] if weeks else values
