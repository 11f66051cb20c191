"""From an entity's rows to the series that every method fits.

In this order: what lies before the launch is no history; days that may not be used (still filling up, flagged,
paused, far out, named days) are left out; days before a change are brought to the level after it. What the days
to come hold is then added by `horizon`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory

from adsml_forecasting.models import events, spend_response
from adsml_forecasting.models.horizon import look_ahead
from adsml_forecasting.models.level_shifts import AppliedShift, Change, level, pause_spans
from adsml_forecasting.models.prepared import (
    ALONE,
    Caution,
    CautionKind,
    MaskReason,
    Prepared,
    Surroundings,
    change_text,
    day_text,
)
from adsml_forecasting.models.series import DailySeries, EntityHistory, Vector

Days = npt.NDArray[np.bool_]

_COUNTS: Final = frozenset(("impressions", "clicks", "leads", "reach"))
_LONGEST_GAP: Final = 35
"""Days without rows after the last one that a forecast may look over; beyond, the data are too stale."""
_STOPPED: Final = 7
"""Days without any delivery after which an entity that used to deliver is said to have stopped."""
_MOST_FLAGGED_RUN: Final = 2
_MOST_FLAGGED: Final = 0.1
_NEVER_BY_CHANCE: Final = 5.0
"""Leading zeros at which so many were to be expected are no chance: the entity had not started."""
REACH: Final = 14
"""Days before and after that a day is compared with."""
_WEEKS: Final = 4
_LEAST_NEAR: Final = 7
_LIMIT: Final = 6.0
"""Robust standard deviations that an ordinary day never differs by."""
_COUNTING_SPREAD: Final = 0.5
"""Standard deviation of the square root of a Poisson count."""
_RELATIVE_SPREAD: Final = 0.1
_LONGEST_RUN: Final = 2
_MOST: Final = 0.04
"""With more of the days flagged than this, that is how the series is."""
_OF_NORMAL: Final = 1.4826


def tidied(series: DailySeries) -> DailySeries:
    """A series of which nothing else is known, without days far out and at its newest level."""
    if not series.nonnegative:
        return series
    out = outlying_days(series.values, season_length=series.season_length)
    series = replace(series, values=np.where(out, np.nan, series.values))
    counts = bool((series.values[np.isfinite(series.values)] % 1 == 0).all())
    return level(series, (), spend=None, elasticity=spend_response.PRIOR, counts=counts)[0].trimmed()


def prepare(
    history: EntityHistory,
    column: str,
    *,
    as_of: int,
    horizon: int,
    around: Surroundings = ALONE,
    levelled: bool = True,
) -> Prepared:
    """One column of an entity's history; `levelled`, unless its past is to be forecast, which did not know it.

    `InsufficientHistory` where no day is usable, `FailedPrecondition` where the last row lies more than 35 days
    before `as_of`.
    """
    notes = _staleness(history, as_of)
    history = _launched(history, column)
    first, n = history.first_day, len(history)
    stop, stopped = _stop(history, around.changes)
    after = np.arange(n) >= stop
    off = _paused(history, around.changes) | after
    raw = history.column(column)
    if not np.isfinite(raw).any():
        raise InsufficientHistory(history.name, had=0, needed=1)
    values = np.where(off, np.nan, raw)
    if not np.isfinite(values).any():
        # It has never delivered: there is nothing but zeros to go by.
        values, off = raw.copy(), np.zeros(n, dtype=bool)
    flagged = _flagged_alone(values, first, around.flagged)
    values[flagged] = np.nan
    out, calendar = _far_out(values, history, around, as_of, horizon)
    values[out] = np.nan
    reasons = {MaskReason.PAUSED: off & ~after, MaskReason.ANOMALY: flagged, MaskReason.OUTLIER: out}
    masked = {first + at: why for why, where in reasons.items() for at in np.flatnonzero(where).tolist()}
    series = DailySeries(first, values, True, history.name).trimmed()
    known = around.account.effects.get(column, {})
    factors, used, named = events.event_effects(series, calendar, known, first=as_of + 1, horizon=horizon)
    if len(named) < series.known:
        series = replace(series, values=events.ordinary(series, named)).trimmed()
        for day in named:
            masked.setdefault(day, MaskReason.EVENT)
    money = np.where(off, np.nan, history.column("spend"))
    money = np.where(outlying_days(money), np.nan, money)
    money = money[series.first_day - first :][: len(series)]
    has_money = column != "spend" and bool((np.nan_to_num(money) > 0).any())
    own = spend_response.estimate(money, series.values) if has_money else None
    elasticity = around.account.elasticity.get(column, spend_response.PRIOR)
    if column == "spend":
        elasticity = spend_response.PROPORTIONAL
    elif own is not None:
        elasticity = spend_response.drawn(own, elasticity)
    shifts: tuple[AppliedShift, ...] = ()
    ignored: tuple[tuple[Change, str], ...] = ()
    if levelled:
        series, shifts, ignored = level(
            series,
            [one for one in around.changes if one.day <= as_of],
            spend=money if has_money else None,
            elasticity=elasticity,
            counts=column in _COUNTS,
        )
    notes += [
        Caution(CautionKind.CHANGE_IGNORED, f"{change_text(change)} was not used as a change of level: {why}")
        for change, why in ignored
    ]
    notes += [
        Caution(
            CautionKind.UNRECORDED_STEP,
            f"the level since {day_text(one.day)} differs from the one before, which nobody recorded: it is taken "
            f"as lasting, and the days before count {one.ratio:.2f} times",
        )
        for one in shifts
        if one.change is None
    ]
    if out.any():
        days = ", ".join(day_text(first + at) for at in np.flatnonzero(out).tolist()[-3:])
        text = f"{out.sum()} days far out of line were left out, such as {days}"
        notes.append(Caution(CautionKind.OUTLIERS, text))
    spend = history.column("spend")
    prepared = Prepared(
        series=series,
        levelled=series,
        as_of=as_of,
        factors=factors,
        planned=np.array([around.plan.get(as_of + step, np.nan) for step in range(1, horizon + 1)]),
        elasticity=elasticity,
        masked=masked,
        shifts=shifts,
        notes=tuple(notes),
        ignored=ignored,
        effects=used,
        highest_spend=float(np.nanmax(spend)) if np.isfinite(spend).any() else float("nan"),
        stopped=stopped,
        profile=around.account.weekdays.get(column, ()),
        is_spend=column == "spend",
    )
    return look_ahead(prepared, money if has_money else None, around.changes)


def _staleness(history: EntityHistory, as_of: int) -> list[Caution]:
    behind = as_of - history.last_day
    if behind > _LONGEST_GAP:
        raise FailedPrecondition(
            f"the rows of {history.name} end on {day_text(history.last_day)}, {behind} days before "
            f"{day_text(as_of)}: a forecast looks over {_LONGEST_GAP} days at most; load the days between",
            metadata={"last_day": day_text(history.last_day), "most_days": str(_LONGEST_GAP)},
        )
    if behind <= 0:
        return []
    text = (
        f"rows end on {day_text(history.last_day)}: the {behind} days until {day_text(as_of)} are not loaded, "
        "and the forecast looks over them"
    )
    return [Caution(CautionKind.STALE_DATA, text)]


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
    start = int(at[0])
    columns = {name: known[start:] for name, known in history.columns.items()}
    return replace(history, first_day=history.first_day + start, columns=columns)


def _stop(history: EntityHistory, changes: Sequence[Change]) -> tuple[int, str]:
    """Index of the first day of no delivery that lasts to the end, and why; the length and nothing where it runs.

    That is an open pause, or a week or more of nothing where that never was before.
    """
    on = np.flatnonzero(history.delivering)
    n = len(history)
    if not len(on):
        return n, ""
    last = int(on[-1])
    spans = pause_spans([one for one in changes if one.day <= history.last_day])
    # Rows of the pause's own day may hold what was delivered before it.
    if spans and spans[-1][1] is None and last <= spans[-1][0] - history.first_day:
        return last + 1, f"paused since {day_text(spans[-1][0])} and not reactivated in the change log"
    quiet = n - 1 - last
    gaps = np.diff(on) - 1
    if quiet >= _STOPPED and quiet > (int(gaps.max()) if len(gaps) else 0):
        return last + 1, f"nothing was delivered since {day_text(history.first_day + last)}, {quiet} days"
    return n, ""


def _paused(history: EntityHistory, changes: Sequence[Change]) -> Days:
    """Days without delivery in a recorded pause, or in a gap of a week or more: no level can be told from them."""
    off = ~history.delivering
    out = np.zeros(len(history), dtype=bool)
    days = history.first_day + np.arange(len(history))
    for start, end in pause_spans(changes):
        out |= off & (days >= start) & (days < (end if end is not None else start))
    for start, end in runs(off):
        if end - start >= _STOPPED and start > 0 and end < len(history):
            out[start:end] = True
    return out


def _flagged_alone(values: Vector, first: int, flagged: frozenset[int]) -> Days:
    """Known days that the anomaly service flags alone; whole stretches of them are a level, not an accident."""
    where = np.isin(first + np.arange(len(values)), list(flagged))
    for start, end in runs(where):
        if end - start > _MOST_FLAGGED_RUN:
            where[start:end] = False
    known = np.isfinite(values)
    where &= known
    return where if where.sum() <= _MOST_FLAGGED * known.sum() else np.zeros(len(values), dtype=bool)


def _far_out(
    values: Vector, history: EntityHistory, around: Surroundings, as_of: int, horizon: int
) -> tuple[Days, events.Calendar]:
    """Which days are far out, and the calendar with days that came back a year later."""
    first = history.first_day
    days = first + np.arange(len(values))
    # A change's own days begin a level.
    explained = np.isin(days, [one.day + offset for one in around.changes for offset in (0, 1)])
    out = outlying_days(values, explained=explained)
    named = {day for days in around.calendar.values() for day in days}
    calendar = dict(around.calendar)
    whole, usual = DailySeries(first, values, True, history.name), np.where(out, np.nan, values)
    for rule, found in events.recurring_days(whole, usual, until=as_of, horizon=horizon).items():
        if not named & set(found):
            calendar[f"the yearly {rule}"] = found
            named |= set(found)
    # Named days stay until their effect is known.
    return out & ~np.isin(days, list(named)), calendar


def outlying_days(values: Vector, *, season_length: int = 7, explained: Days | None = None) -> Days:
    """Which days stand alone, far above or below all days around them; of values not negative, NaN where missing.

    Each day is compared on the square root's scale, which makes the spread of counts the same at every level
    (Bartlett 1936), with the medians of the four weeks around it and of its own weekday. Medians do not move with
    what they are meant to find. Runs of more than two days are a level of their own, and so are the last two days
    together.
    `explained` are days that something known accounts for (a change, a named day): never flagged.
    """
    n = len(values)
    known = np.isfinite(values)
    nothing = np.zeros(n, dtype=bool)
    if known.sum() <= _LEAST_NEAR or (values[known] < 0).any():
        return nothing
    root = np.sqrt(values)
    near = _median_around(root, 1, REACH, least=_LEAST_NEAR)
    same = _median_around(root, season_length, _WEEKS, least=2)
    high, low = np.fmax(near, same), np.fmin(near, same)
    middle = np.where(root > high, high, np.where(root < low, low, root))
    miss = np.where(np.isfinite(near), root - np.where(np.isfinite(same), same, near), np.nan)
    spread = _OF_NORMAL * _median_around(np.abs(miss), 1, REACH, least=_LEAST_NEAR)
    counts = bool((values[known] == np.round(values[known])).all())
    least = np.maximum(_RELATIVE_SPREAD * middle, _COUNTING_SPREAD if counts else 0.0)
    with np.errstate(invalid="ignore"):
        flagged = np.abs(root - middle) > _LIMIT * np.fmax(spread, least)
    # Next to nothing is no outage, and a first unit of money no spike.
    flagged &= known & np.isfinite(near) & (np.fmax(root, high) > 0)
    if explained is not None:
        flagged &= ~explained
    flagged &= ~_long_runs(flagged, known)
    return nothing if flagged.sum() > max(_LONGEST_RUN, _MOST * known.sum()) else flagged


def _median_around(values: Vector, step: int, reach: int, *, least: int) -> Vector:
    """Median of the `reach` values before and after each, `step` apart, without itself; NaN with fewer than `least`."""
    n = len(values)
    offsets = step * np.array([at for at in range(-reach, reach + 1) if at])
    at = np.arange(n)[:, None] + offsets
    inside = (at >= 0) & (at < n)
    table = np.where(inside, values[np.clip(at, 0, n - 1)], np.nan)
    table.sort(axis=1)
    counts = np.isfinite(table).sum(axis=1)
    rows = np.arange(n)
    middle = (table[rows, np.maximum(counts - 1, 0) // 2] + table[rows, np.maximum(counts, 1) // 2]) / 2
    return np.where(counts >= least, middle, np.nan)


def _long_runs(flagged: Days, known: Days) -> Days:
    """Flagged days in runs of more than two, or in a run of two at the end."""
    out = np.zeros(len(flagged), dtype=bool)
    last = int(np.flatnonzero(known)[-1])
    for start, end in runs(flagged):
        length = end - start
        if length > _LONGEST_RUN or (length == _LONGEST_RUN and end > last):
            out[start:end] = True
    return out


def runs(where: Days) -> npt.NDArray[np.int64]:
    """First index of each stretch and the first after it, shape (runs, 2)."""
    return np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))).reshape(-1, 2)
