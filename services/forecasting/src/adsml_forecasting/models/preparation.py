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
from adsml_forecasting.models.caution import Caution, CautionKind
from adsml_forecasting.models.cleaning import outlying_days
from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.horizon import look_ahead
from adsml_forecasting.models.level_shifts import Change, Levelled, level, pause_spans, unrecorded
from adsml_forecasting.models.prepared import (
    ALONE,
    MaskReason,
    Prepared,
    Surroundings,
    change_text,
    day_text,
)
from adsml_forecasting.models.series import DailySeries, Vector

_COUNTS: Final = frozenset(("impressions", "clicks", "leads", "reach"))
_LONGEST_GAP: Final = 35
"""Days without rows after the last one that a forecast may look over; beyond, the data are too stale."""
_STOPPED: Final = 7
"""Days without any delivery after which an entity that used to deliver is said to have stopped."""
_MOST_FLAGGED_RUN: Final = 2
_MOST_FLAGGED: Final = 0.1
_NEVER_BY_CHANCE: Final = 5.0
"""Leading zeros at which so many were to be expected are no chance: the entity had not started."""


def tidied(series: DailySeries, *, season_length: int = 7) -> DailySeries:
    """A series of which nothing else is known, without days far out and at its newest level."""
    values = series.values
    if not series.nonnegative:
        return series
    values = np.where(outlying_days(values, season_length=season_length), np.nan, values)
    counts = bool((values[np.isfinite(values)] % 1 == 0).all())
    prior = spend_response.PRIOR
    step = unrecorded(values, spend=None, elasticity=prior, season_length=season_length, counts=counts)
    if step is not None:
        at, ratio, _ = step
        values[:at] *= ratio
    return replace(series, values=values).trimmed()


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
    masked: dict[int, MaskReason] = {}
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
    _mark(masked, first, off & ~after, MaskReason.PAUSED)
    values = _unflagged(values, first, around.flagged, masked)
    values, calendar = _cleaned(values, history, around, masked, as_of, horizon)
    series = DailySeries(first, values, True, history.name).trimmed()
    factors, used = events.event_factors(
        series, calendar, around.effects.get(column, {}), first=as_of + 1, horizon=horizon
    )
    series = series.without(_named_days(series, calendar, around, column, masked))
    money = np.where(off, np.nan, history.column("spend"))
    money = np.where(outlying_days(money), np.nan, money)
    money = money[series.first_day - first :][: len(series)]
    has_money = column != "spend" and bool((np.nan_to_num(money) > 0).any())
    own = spend_response.estimate(money, series.values) if has_money else None
    elasticity = (
        spend_response.PROPORTIONAL
        if column == "spend"
        else spend_response.shrunk(own, around.elasticity.get(column, spend_response.PRIOR))
    )
    changed = Levelled(series, (), ())
    if levelled:
        changed = level(
            series,
            [one for one in around.changes if one.day <= as_of],
            spend=money if has_money else None,
            elasticity=elasticity,
            counts=column in _COUNTS,
        )
    notes += [
        Caution(CautionKind.CHANGE_IGNORED, f"{change_text(change)} was not used as a change of level: {why}")
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
    out = sorted(day for day, reason in masked.items() if reason is MaskReason.OUTLIER)
    if out:
        days = ", ".join(day_text(day) for day in out[-3:])
        notes.append(
            Caution(CautionKind.OUTLIERS, f"{len(out)} days far out of line were left out, such as {days}")
        )
    spend = history.column("spend")
    prepared = Prepared(
        series=changed.series,
        levelled=changed.series,
        as_of=as_of,
        horizon=horizon,
        factors=factors,
        planned=np.array([around.plan.get(as_of + step, np.nan) for step in range(1, horizon + 1)]),
        elasticity=elasticity,
        masked=masked,
        shifts=changed.applied,
        notes=tuple(notes),
        ignored=changed.ignored,
        effects=used,
        highest_spend=float(np.nanmax(spend)) if np.isfinite(spend).any() else float("nan"),
        stopped=stopped,
        profile=around.profile.get(column, ()),
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
    return history.since(history.first_day + int(at[0]))


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


def _paused(history: EntityHistory, changes: Sequence[Change]) -> npt.NDArray[np.bool_]:
    """Days without delivery in a recorded pause, or in a gap of a week or more: no level can be told from them."""
    off = ~history.delivering
    out = np.zeros(len(history), dtype=bool)
    days = history.first_day + np.arange(len(history))
    for start, end in pause_spans(changes):
        out |= off & (days >= start) & (days < (end if end is not None else start))
    for start, end in _runs(off):
        if end - start >= _STOPPED and start > 0 and end < len(history):
            out[start:end] = True
    return out


def _runs(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """First index of each stretch and the first after it, shape (runs, 2)."""
    return np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))).reshape(-1, 2)


def _mark(
    masked: dict[int, MaskReason], first: int, where: npt.NDArray[np.bool_], reason: MaskReason
) -> None:
    for at in np.flatnonzero(where):
        masked.setdefault(first + int(at), reason)


def _unflagged(values: Vector, first: int, flagged: frozenset[int], masked: dict[int, MaskReason]) -> Vector:
    """Without days that the anomaly service flags alone; whole stretches of them are a level, not an accident."""
    where = np.array([first + at in flagged for at in range(len(values))], dtype=bool)
    for start, end in _runs(where):
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
    around: Surroundings,
    masked: dict[int, MaskReason],
    as_of: int,
    horizon: int,
) -> tuple[Vector, events.Calendar]:
    """Without days far out, and the calendar with days that came back a year later."""
    first = history.first_day
    days = first + np.arange(len(values))
    # A change's own days begin a level.
    explained = np.isin(days, [one.day + offset for one in around.changes for offset in (0, 1)])
    out = outlying_days(values, explained=explained)
    named = {day for days in around.calendar.values() for day in days}
    calendar = dict(around.calendar)
    series = DailySeries(first, np.where(out, np.nan, values), True, history.name)
    whole = DailySeries(first, values, True, history.name)
    for rule, found in events.recurring_days(whole, series, until=as_of, horizon=horizon).items():
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
        if past:
            seen = events.occurrences(series, past, all_days=every)
            if events.effect(seen, effects.get(name)) is not None:
                out += past
    if len(out) >= series.known:
        return []
    for day in out:
        masked.setdefault(day, MaskReason.EVENT)
    return out
