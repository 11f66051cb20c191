"""From an entity's rows to the series that every method fits, and what is known of the days to come.

In this order: what lies before the launch is no history; days that may not be used (still filling up, flagged,
paused, far out, named days) are left out; days before a change are brought to the level after it. What the
horizon holds - a plan, a recorded change, a named day, an open pause - becomes a factor a day that multiplies
what the methods say, so that every method knows of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory

from adsml_forecasting.models import events, spend_response
from adsml_forecasting.models.caution import Caution, CautionKind
from adsml_forecasting.models.cleaning import outlying_days
from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.level_shifts import (
    AppliedShift,
    Change,
    Levelled,
    level,
    pause_spans,
    unrecorded,
)
from adsml_forecasting.models.series import DailySeries, Vector

COUNTS: Final = frozenset(("impressions", "clicks", "leads", "reach"))
LONGEST_GAP: Final = 35
"""Days without rows after the last one that a forecast may look over; beyond, the data are too stale."""
_STOPPED: Final = 7
"""Days without any delivery after which an entity that used to deliver is said to have stopped."""
_USUAL_DAYS: Final = 28
_MOST_FLAGGED_RUN: Final = 2
_MOST_FLAGGED: Final = 0.1
_NEVER_BY_CHANCE: Final = 5.0
"""Leading zeros at which so many were to be expected are no chance: the entity had not started."""


class MaskReason(StrEnum):
    """Why a day was left out; as in the contract."""

    ANOMALY = "ANOMALY"
    INCOMPLETE = "INCOMPLETE"
    MISSING = "MISSING"
    OUTLIER = "OUTLIER"
    PAUSED = "PAUSED"
    EVENT = "EVENT"


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is known beside the entity's own rows.

    Attributes
    ----------
    changes
        Recorded, past and coming.
    flagged
        Days that the anomaly service calls anomalous, days since 1970-01-01.
    calendar
        Named days.
    effects
        What named days did to the metric's column on the account, by column and name.
    plan
        Budget by day.
    elasticity
        The account's response to spend, by column.
    ratio
        The account's or parent's numerator over denominator of the ratio that is asked for, None where not known.
    profile
        Weekday factors of the parent or account by column, Monday first; lent to histories too short for their own.
    """

    changes: tuple[Change, ...] = ()
    flagged: frozenset[int] = frozenset()
    calendar: events.Calendar = field(default_factory=dict)
    effects: Mapping[str, Mapping[str, events.EventEffect]] = field(default_factory=dict)
    plan: Mapping[int, float] = field(default_factory=dict)
    elasticity: Mapping[str, spend_response.Elasticity] = field(default_factory=dict)
    ratio: float | None = None
    profile: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


ALONE: Final = Surroundings()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A column of an entity, ready to be forecast.

    Attributes
    ----------
    series
        What is fitted, at its newest level. Ends on or before `as_of`.
    levelled
        The same before a plan took the moves of spend out of it.
    as_of
        Last day of history; the forecast begins on the next.
    horizon
        Days.
    factors
        What each day of the horizon is multiplied by, shape (horizon,).
    planned
        Days of the horizon with a planned budget, and the budget; NaN without; shape (horizon,).
    usual_spend
        Spend a day expected without a plan; NaN where it is not known.
    elasticity
        The entity's own response to spend, shrunk.
    masked
        Days left out, and why.
    shifts
        Changes of level that were applied.
    notes
        What a reader should know.
    ignored
        Recorded changes that were not used, and why.
    effects
        Named days of the horizon, their day and what they do.
    highest_spend
        The most spent on a day; NaN where it is not known.
    stopped
        Nothing is delivered any more: why. Empty where it runs.
    profile
        Weekday factors that are lent to a short history, Monday first; empty for none.
    is_spend
        Whether the column follows a planned budget itself.
    """

    series: DailySeries
    levelled: DailySeries
    as_of: int
    horizon: int
    factors: Vector
    planned: Vector
    usual_spend: float
    elasticity: spend_response.Elasticity
    masked: Mapping[int, MaskReason]
    shifts: tuple[AppliedShift, ...]
    notes: tuple[Caution, ...]
    ignored: tuple[tuple[Change, str], ...] = ()
    effects: Mapping[str, tuple[int, events.EventEffect]] = field(default_factory=dict)
    highest_spend: float = float("nan")
    stopped: str = ""
    profile: tuple[float, ...] = ()
    is_spend: bool = False

    @classmethod
    def of_series(cls, series: DailySeries, *, horizon: int) -> Self:
        """A series as it is, with nothing known beside it."""
        return cls(
            series=series,
            levelled=series,
            as_of=series.last_day,
            horizon=horizon,
            factors=np.ones(horizon),
            planned=np.full(horizon, np.nan),
            usual_spend=float("nan"),
            elasticity=spend_response.PRIOR,
            masked={},
            shifts=(),
            notes=(),
        )

    @property
    def gap(self) -> int:
        """Days between the series' last one and the first forecast."""
        return self.as_of - self.series.last_day


def tidied(series: DailySeries, *, season_length: int) -> DailySeries:
    """A series of which nothing else is known, without days far out and at its newest level."""
    values = series.values
    if not series.nonnegative:
        return series
    values = np.where(outlying_days(values, season_length=season_length), np.nan, values)
    counts = bool((values[np.isfinite(values)] % 1 == 0).all())
    step = unrecorded(
        values, spend=None, elasticity=spend_response.PRIOR, season_length=season_length, counts=counts
    )
    if step is not None:
        at, ratio, _ = step
        values[:at] *= ratio
    return replace(series, values=values).trimmed()


def day_text(day: int) -> str:
    """As YYYY-MM-DD."""
    return str(np.datetime64(day, "D"))


def prepare(
    history: EntityHistory,
    column: str,
    *,
    as_of: int,
    horizon: int,
    season_length: int = 7,
    around: Surroundings = ALONE,
    levelled: bool = True,
) -> Prepared:
    """One column of an entity's history.

    Parameters
    ----------
    levelled
        Whether to bring it to its newest level. Not where its past is to be forecast, which did not know it.

    Raises
    ------
    InsufficientHistory
        No usable day.
    FailedPrecondition
        The last row lies more than `LONGEST_GAP` days before `as_of`.
    """
    _check_age(history, as_of)
    history = _launched(history, column)
    notes: list[Caution] = []
    if as_of > history.last_day:
        notes.append(
            Caution(
                CautionKind.STALE_DATA,
                f"rows end on {day_text(history.last_day)}: the {as_of - history.last_day} days until "
                f"{day_text(as_of)} are not loaded, and the forecast looks over them",
            )
        )
    masked: dict[int, MaskReason] = {}
    stop = _stop(history, around.changes)
    off = _paused(history, around.changes) | (np.arange(len(history)) >= stop.at)
    raw = history.column(column)
    if not np.isfinite(raw).any():
        raise InsufficientHistory(history.name, had=0, needed=1)
    values = np.where(off, np.nan, raw)
    if not np.isfinite(values).any():
        # It has never delivered: there is nothing but zeros to go by.
        values, off = raw.copy(), np.zeros(len(raw), dtype=bool)
    _mark(masked, history.first_day, off & (np.arange(len(history)) < stop.at), MaskReason.PAUSED)
    values = _unflagged(values, history.first_day, around.flagged, masked)
    values, calendar = _cleaned(
        values, history, column, around, masked, horizon, as_of, season_length, stop.at
    )
    series = DailySeries(history.first_day, values, True, history.name).trimmed()
    factors, used = events.event_factors(
        series, calendar, around.effects.get(column, {}), first=as_of + 1, horizon=horizon
    )
    series = series.without(_named_days(series, calendar, around, column, masked))
    money = np.where(off, np.nan, history.column("spend"))
    money = np.where(outlying_days(money, season_length=season_length), np.nan, money)
    money = _on(series, history.first_day, money)
    has_money = column != "spend" and bool((np.nan_to_num(money) > 0).any())
    own = spend_response.estimate(money, series.values) if has_money else None
    elasticity = (
        spend_response.PROPORTIONAL
        if column == "spend"
        else spend_response.shrunk(own, around.elasticity.get(column, spend_response.PRIOR))
    )
    changed = (
        level(
            series,
            [one for one in around.changes if one.day <= as_of],
            spend=money if has_money else None,
            elasticity=elasticity,
            season_length=season_length,
            counts=column in COUNTS,
        )
        if levelled
        else Levelled(series, (), ())
    )
    notes += [
        Caution(CautionKind.CHANGE_IGNORED, f"{_named(change)} was not used as a change of level: {why}")
        for change, why in changed.ignored
    ]
    notes += [
        Caution(
            CautionKind.UNRECORDED_STEP,
            f"the level since {day_text(one.day)} differs from the one before, which nobody recorded: it is taken "
            f"as lasting, and the days before count {one.ratio:.2f} times",
        )
        for one in changed.applied
        if one.change is None
    ]
    out = [day for day, reason in masked.items() if reason is MaskReason.OUTLIER]
    if out:
        days = ", ".join(day_text(day) for day in sorted(out)[-3:])
        notes.append(
            Caution(CautionKind.OUTLIERS, f"{len(out)} days far out of line were left out, such as {days}")
        )
    prepared = Prepared(
        series=changed.series,
        levelled=changed.series,
        as_of=as_of,
        horizon=horizon,
        factors=factors,
        planned=np.array([around.plan.get(as_of + step, np.nan) for step in range(1, horizon + 1)]),
        usual_spend=_usual_spend(
            money if has_money else series.values if column == "spend" else None, changed.applied
        ),
        elasticity=elasticity,
        masked=masked,
        shifts=changed.applied,
        notes=tuple(notes),
        ignored=changed.ignored,
        effects=used,
        highest_spend=_highest(history.column("spend")),
        stopped=stop.why,
        profile=around.profile.get(column, ()),
        is_spend=column == "spend",
    )
    return _ahead(prepared, history, column, money if has_money else None, around.changes)


def _check_age(history: EntityHistory, as_of: int) -> None:
    behind = as_of - history.last_day
    if behind > LONGEST_GAP:
        raise FailedPrecondition(
            f"the rows of {history.name} end on {day_text(history.last_day)}, {behind} days before "
            f"{day_text(as_of)}: a forecast looks over {LONGEST_GAP} days at most; load the days between",
            metadata={"last_day": day_text(history.last_day), "most_days": str(LONGEST_GAP)},
        )


def _launched(history: EntityHistory, column: str) -> EntityHistory:
    """Without the days before anything was delivered."""
    at = np.flatnonzero(history.delivering)
    if not len(at) or not at[0]:
        return history
    values = history.column(column)
    others = [name for name in history.columns if name != column]
    if not any(np.nan_to_num(history.columns[name]).any() for name in others):
        # The column alone: a lead that is rare may as well come late.
        rate = float(np.nanmean(values[at[0] :]))
        if rate * at[0] < _NEVER_BY_CHANCE:
            return history
    return history.since(history.first_day + int(at[0]))


@dataclass(frozen=True, slots=True)
class _Stop:
    """Index of the first day of no delivery that lasts to the end, and why; the length where it runs."""

    at: int
    why: str


def _stop(history: EntityHistory, changes: Sequence[Change]) -> _Stop:
    """Whether nothing is delivered at the end: an open pause, or a week or more of nothing."""
    on = np.flatnonzero(history.delivering)
    n = len(history)
    if not len(on):
        return _Stop(n, "")
    last = int(on[-1])
    spans = pause_spans([one for one in changes if one.day <= history.last_day])
    if spans and spans[-1][1] is None:
        since = spans[-1][0] - history.first_day
        # Rows of the pause's own day may hold what was delivered before it.
        if last <= since:
            return _Stop(
                last + 1, f"paused since {day_text(spans[-1][0])} and not reactivated in the change log"
            )
    quiet = n - 1 - last
    gaps = np.diff(on) - 1
    if quiet >= _STOPPED and quiet > (int(gaps.max()) if len(gaps) else 0):
        day = day_text(history.first_day + last)
        return _Stop(last + 1, f"nothing was delivered since {day}, {quiet} days")
    return _Stop(n, "")


def _paused(history: EntityHistory, changes: Sequence[Change]) -> npt.NDArray[np.bool_]:
    """Days without delivery in a recorded pause, or in a gap of a week or more: no level can be told from them."""
    off = ~history.delivering
    out = np.zeros(len(history), dtype=bool)
    days = history.first_day + np.arange(len(history))
    for start, end in pause_spans(changes):
        out |= off & (days >= start) & (days < (end if end is not None else start))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off.astype(np.int8), [0]])))
    for start, end in edges.reshape(-1, 2):
        if end - start >= _STOPPED and start > 0 and end < len(history):
            out[start:end] = True
    return out


def _mark(
    masked: dict[int, MaskReason], first: int, where: npt.NDArray[np.bool_], reason: MaskReason
) -> None:
    for at in np.flatnonzero(where):
        masked.setdefault(first + int(at), reason)


def _unflagged(values: Vector, first: int, flagged: frozenset[int], masked: dict[int, MaskReason]) -> Vector:
    """Without days that the anomaly service flags alone; whole stretches of them are a level, not an accident."""
    where = np.array([first + at in flagged for at in range(len(values))], dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))
    for start, end in edges.reshape(-1, 2):
        if end - start > _MOST_FLAGGED_RUN:
            where[start:end] = False
    known = np.isfinite(values)
    if not where.any() or (where & known).sum() > _MOST_FLAGGED * known.sum():
        return values
    _mark(masked, first, where & known, MaskReason.ANOMALY)
    return np.where(where, np.nan, values)


def _cleaned(
    values: Vector,
    history: EntityHistory,
    column: str,
    around: Surroundings,
    masked: dict[int, MaskReason],
    horizon: int,
    as_of: int,
    season_length: int,
    stop: int,
) -> tuple[Vector, events.Calendar]:
    """Without days far out, and the calendar with days that came back a year later."""
    first = history.first_day
    changed = {one.day + offset for one in around.changes for offset in (0, 1)}
    named = {day for days in around.calendar.values() for day in days}
    days = first + np.arange(len(values))
    # The day an entity stops is often a part of one; a change's own days begin a level.
    explained = np.isin(days, list(changed))
    out = outlying_days(values, season_length=season_length, explained=explained)
    calendar = dict(around.calendar)
    series = DailySeries(first, np.where(out, np.nan, values), True, history.name)
    whole = DailySeries(first, values, True, history.name)
    again = events.recurring_days(whole, series, until=as_of, horizon=horizon)
    for rule, found in again.items():
        if not named & set(found):
            calendar[f"the yearly {rule}"] = found
            named |= set(found)
    # Named days stay until their effect is known.
    out &= ~np.isin(days, list(named))
    _mark(masked, first, out, MaskReason.OUTLIER)
    return np.where(out, np.nan, values), calendar


def _named_days(
    series: DailySeries,
    calendar: events.Calendar,
    around: Surroundings,
    column: str,
    masked: dict[int, MaskReason],
) -> list[int]:
    """Past named days that were not ordinary ones, which are left out of the fit."""
    every = [day for days in calendar.values() for day in days]
    effects = around.effects.get(column, {})
    out: list[int] = []
    for name, days in calendar.items():
        past = [day for day in days if series.first_day <= day <= series.last_day]
        if not past:
            continue
        seen = events.occurrences(series, past, all_days=every)
        if events.effect(seen, effects.get(name)) is not None:
            out += past
    if len(out) >= series.known:
        return []
    for day in out:
        masked.setdefault(day, MaskReason.EVENT)
    return out


def _on(series: DailySeries, first: int, values: Vector) -> Vector:
    """Another column on the series' days."""
    start = series.first_day - first
    return values[start : start + len(series)]


def _usual_spend(money: Vector | None, applied: Sequence[AppliedShift]) -> float:
    """Spend a day of the last four weeks, since the last change of level where that was later."""
    if money is None:
        return float("nan")
    newest = money[-_USUAL_DAYS:]
    weeks = newest[len(newest) % 7 :] if len(newest) >= 7 else newest
    known = weeks[np.isfinite(weeks)]
    return float(known.mean()) if len(known) else float("nan")


def _highest(money: Vector) -> float:
    return float(np.nanmax(money)) if np.isfinite(money).any() else float("nan")


def _named(change: Change) -> str:
    return f"the {change.change_type.value.replace('_', ' ')} of {day_text(change.day)}"


def _ahead(
    prepared: Prepared,
    history: EntityHistory,
    column: str,
    money: Vector | None,
    changes: Sequence[Change],
) -> Prepared:
    """What a stop, recorded changes and a plan make of the days to come."""
    factors = prepared.factors.copy()
    notes = list(prepared.notes)
    series = prepared.series
    days = prepared.as_of + 1 + np.arange(prepared.horizon)
    planned = np.isfinite(prepared.planned)
    on = np.full(prepared.horizon, not prepared.stopped)
    ignored = list(prepared.ignored)
    if prepared.stopped:
        notes.append(
            Caution(CautionKind.NO_DELIVERY, f"{prepared.stopped}: nothing is forecast as long as that lasts")
        )

    def skip(change: Change, why: str) -> None:
        ignored.append((change, why))
        notes.append(Caution(CautionKind.CHANGE_IGNORED, f"{_named(change)} was not used: {why}"))

    for change in sorted(changes, key=lambda one: one.day):
        if change.day <= prepared.as_of:
            continue
        after = days >= change.day
        used = Caution(CautionKind.OTHER_CHANGES, f"{_named(change)}, ahead, is taken into the forecast")
        if not after.any():
            skip(change, "it lies beyond the forecast")
        elif change.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE):
            on[after] = change.change_type is ChangeType.REACTIVATE
            notes.append(used)
        elif (ratio := change.budget_ratio) is not None:
            factors[after & ~planned] *= ratio**prepared.elasticity.value
            notes.append(used)
        else:
            skip(change, "it is ahead, and what it will do is not known")
    factors[~on & ~planned] = 0.0
    if not planned.any():
        return replace(prepared, factors=factors, notes=tuple(notes), ignored=tuple(ignored))
    if column == "spend":
        # Spend follows its plan, whatever a method says: see `follow_plan`.
        return replace(
            prepared, factors=np.where(planned, 1.0, factors), notes=tuple(notes), ignored=tuple(ignored)
        )
    usual = prepared.usual_spend
    if money is None or not usual > 0:
        notes.append(
            Caution(
                CautionKind.OPTION_IGNORED,
                "planned budgets were not used: the history holds no spend to compare them with",
            )
        )
        return replace(prepared, factors=factors, notes=tuple(notes), ignored=tuple(ignored))
    block = spend_response.smoothed(money)
    block = block[np.isfinite(block) & (block > 0)]
    seen = (float(block.min()), float(block.max())) if len(block) else (usual, usual)
    if spend_response.has_moved(money):
        # What leads would have been at the spend of the newest days, so that only the plan moves them.
        reference = spend_response.smoothed(money)
        newest = reference[np.isfinite(reference) & (reference > 0)][-7:]
        usual = float(np.exp(np.log(newest).mean()))
        series = replace(
            series,
            values=_unshifted(series, prepared.shifts)
            * np.where(reference > 0, usual / np.where(reference > 0, reference, 1.0), 1.0)
            ** prepared.elasticity.value,
        )
    budget = _equivalent(prepared.planned, usual * _weekdays(money, series.first_day, days))
    factors[planned] *= spend_response.response(budget, usual, prepared.elasticity, seen=seen)[planned]
    if spend_response.outside(prepared.planned, seen):
        notes.append(
            Caution(
                CautionKind.BUDGET_OUTSIDE_HISTORY,
                f"a planned budget lies outside the spend seen so far ({seen[0]:.2f} to {seen[1]:.2f} a day): what "
                "it buys is a guess",
            )
        )
    return replace(
        prepared,
        series=series,
        factors=factors,
        usual_spend=usual,
        notes=tuple(notes),
        ignored=tuple(ignored),
    )


def _unshifted(series: DailySeries, shifts: Sequence[AppliedShift]) -> Vector:
    """The values before any change of level was applied: spend explains them."""
    values = series.values.copy()
    for one in shifts:
        at = one.day - series.first_day
        if 0 < at < len(values):
            values[:at] /= one.ratio
    return values


def _weekdays(money: Vector, first: int, days: npt.NDArray[np.int64]) -> Vector:
    """Spend of each of the days over the mean, by weekday of the last four weeks; its mean over them is 1."""
    newest = money[-_USUAL_DAYS:]
    places = (first + len(money) - len(newest) + np.arange(len(newest))) % 7
    means = np.array([np.nanmean(newest[places == one]) if np.isfinite(newest[places == one]).any() else np.nan
                      for one in range(7)])  # fmt: skip
    means = np.where(np.isfinite(means), means, np.nanmean(newest))
    shape = means[days % 7]
    return shape / shape.mean() if shape.mean() > 0 else np.ones(len(days))


def _equivalent(planned: Vector, usual: Vector) -> Vector:
    """The steady budget that each stretch of the plan is worth: days that share a budget are one stretch.

    So a weekend without budget, after weekends without, changes nothing, and a steady budget keeps the weekdays'
    shape.
    """
    out = planned.copy()
    level = float(usual.mean())
    for budget in np.unique(planned[np.isfinite(planned)]):
        mine = planned == budget
        expected = float(usual[mine].mean())
        if expected > 0:
            out[mine] = budget / expected * level
    return out


def follow_plan(point: Vector, planned: Vector) -> Vector:
    """Spend under a plan: days that share a budget share it as the method spreads spend over them.

    Parameters
    ----------
    point
        Spend that a method forecasts, shape (horizon,).
    planned
        Shape (horizon,), NaN where there is no plan.
    """
    out = point.copy()
    for budget in np.unique(planned[np.isfinite(planned)]):
        mine = planned == budget
        total = float(point[mine].sum())
        out[mine] = point[mine] * (budget * mine.sum() / total) if total > 0 else budget
    return out
