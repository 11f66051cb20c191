"""Named days, such as Black Friday: what they did before is what they are forecast to do again.

An occurrence in the past is compared with the four weeks around it. Its effect is the logarithm of the ratio,
drawn to none by how little one day of counts can tell (Efron & Morris 1975), and pooled over what the account's
other entities and earlier years show. The days themselves are left out of every fit: they are no level.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from adsml_forecasting.models.series import DailySeries, Vector

Calendar = Mapping[str, Sequence[int]]
"""Days since 1970-01-01 of each named day, past and coming."""

_AROUND: Final = 28
_LEAST_NEAR: Final = 10
_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of named days' effects, before anything is known of one."""
_LEAST_VARIANCE: Final = 0.02
_BETWEEN_ENTITIES: Final = 0.09
"""Variance of the logarithm of one named day's effect between entities of an account."""
_NOTICEABLE: Final = 0.18
"""A smaller effect (20%) is left alone: one ordinary day moves by as much."""
_LARGEST: Final = 3.0
_TWO_YEARS: Final = 370
_SURE: Final = 2.5
_LEAST_RECURRING: Final = 0.5
_EPOCH: Final = date(1970, 1, 1).toordinal()


def calendar_of(named: Mapping[date, str]) -> Calendar:
    """From names by day."""
    out: dict[str, list[int]] = {}
    for day, name in sorted(named.items()):
        out.setdefault(name, []).append(day.toordinal() - _EPOCH)
    return out


@dataclass(frozen=True, slots=True)
class EventEffect:
    """Logarithm of a named day over an ordinary one, its variance (without what entities differ by), days seen."""

    log_ratio: float
    variance: float
    occurrences: int


def ordinary(series: DailySeries, named: Iterable[int]) -> Vector:
    """The values without those of named days."""
    values = series.values.copy()
    for day in named:
        if series.first_day <= day <= series.last_day:
            values[day - series.first_day] = np.nan
    return values


def occurrences(series: DailySeries, days: Sequence[int], usual: Vector) -> list[tuple[float, float]]:
    """Logarithm of each past occurrence over its surroundings, and the variance that chance gives it.

    Neighbours to compare with are `ordinary` values.
    """
    values = series.values
    out = []
    for day in days:
        at = day - series.first_day
        if not 0 <= at < len(values) or not np.isfinite(values[at]):
            continue
        near = usual[max(at - _AROUND, 0) : at + _AROUND + 1]
        places = np.arange(max(at - _AROUND, 0), min(at + _AROUND + 1, len(values)))
        known = np.isfinite(near)
        if known.sum() < _LEAST_NEAR:
            continue
        level = float(np.nanmean(near))
        same = near[(places - at) % 7 == 0]
        same = same[np.isfinite(same)]
        if not level > 0:
            continue
        # The weekday's own mean, as far as so few weeks can tell it.
        expected = (level + same.sum()) / (1 + len(same))
        if not expected > 0:
            continue
        dispersion = max(float(np.nanvar(near)) / level, 0.0)
        size = max(float(values[at]), 0.5 * min(expected, 1.0))
        variance = dispersion / expected + _LEAST_VARIANCE
        out.append((float(np.clip(np.log(size / expected), -_LARGEST, _LARGEST)), variance))
    return out


def pool(found: Sequence[Sequence[tuple[float, float]]]) -> EventEffect | None:
    """One effect of a named day over the entities of an account; None where nobody has seen it."""
    flat = [one for entity in found for one in entity]
    if not flat:
        return None
    values, variances = np.array(flat).T
    weights = 1 / (variances + _BETWEEN_ENTITIES)
    return EventEffect(float(weights @ values / weights.sum()), float(1 / weights.sum()), len(flat))


def effect(own: Sequence[tuple[float, float]], account: EventEffect | None) -> EventEffect | None:
    """An entity's effect: its own occurrences, drawn to the account's, which is drawn to none.

    None where it is too small to tell from an ordinary day, or nobody has seen the day.
    """
    prior, spread = 0.0, _SPREAD**2
    seen = len(own)
    if account is not None:
        kept = spread / (spread + account.variance)
        prior, spread = kept * account.log_ratio, kept * account.variance + _BETWEEN_ENTITIES
        seen = max(seen, account.occurrences)
    if not seen:
        return None
    precision = 1 / spread + sum(1 / variance for _, variance in own)
    mean = (prior / spread + sum(value / variance for value, variance in own)) / precision
    if abs(mean) < max(_NOTICEABLE, np.sqrt(1 / precision)):
        return None
    return EventEffect(float(mean), float(1 / precision), seen)


def recurring_days(series: DailySeries, usual: Vector, *, until: int, horizon: int) -> dict[str, list[int]]:
    """Unnamed days that come back a year later: the same date, or the same weekday of the month.

    `usual` are the values without the days that stand out; `until` is the last day of history. By what they have in
    common: days of two years or more that all stood out to the same side, and the day of the horizon that has it too.
    Only what comes again within the horizon.
    """
    out: dict[str, list[int]] = {}
    if until - series.first_day < _TWO_YEARS:
        return out
    oldest, newest = (date.fromordinal(day + _EPOCH).year for day in (series.first_day, until))
    years = range(oldest, newest + 1)
    for day in range(until + 1, until + horizon + 1):
        for name, same in _rules(day, years).items():
            past = [one for one in same if series.first_day <= one <= until]
            near = usual.copy()
            near[np.array(past, np.int64) - series.first_day] = np.nan
            seen = occurrences(series, past, near)
            scores = np.array([value / np.sqrt(variance) for value, variance in seen])
            if len(seen) < 2 or not ((scores > _SURE).all() or (scores < -_SURE).all()):
                continue
            if min(abs(value) for value, _ in seen) > _LEAST_RECURRING and not any(
                day in found for found in out.values()
            ):
                out[name] = [*past, day]
    return out


def _rules(day: int, years: Iterable[int]) -> dict[str, list[int]]:
    """By what a day has in common with others, the days of other years that have it too."""
    stamp = date.fromordinal(day + _EPOCH)
    nth, last = (stamp.day - 1) // 7, (monthrange(stamp.year, stamp.month)[1] - stamp.day) // 7
    by_date, by_nth, by_last = [], [], []
    for year in years:
        if year != stamp.year:
            begins_on, length = monthrange(year, stamp.month)
            first = date(year, stamp.month, 1).toordinal() - _EPOCH
            at = (stamp.weekday() - begins_on) % 7 + 7 * nth
            if stamp.day <= length:
                by_date.append(first + stamp.day - 1)
            if at < length:
                by_nth.append(first + at)
            back = (begins_on + length - 1 - stamp.weekday()) % 7 + 7 * last
            by_last.append(first + length - 1 - back)
    weekday = f"{stamp:%A} of {stamp:%B}"
    return {
        f"date {stamp:%B} {stamp.day}": by_date,
        f"day {nth + 1}. {weekday}": by_nth,
        f"last day {last + 1}. last {weekday}": by_last,
    }


def event_effects(
    series: DailySeries,
    calendar: Calendar,
    account: Mapping[str, EventEffect],
    *,
    first: int,
    horizon: int,
) -> tuple[Vector, dict[str, tuple[int, EventEffect]], list[int]]:
    """What the named days do.

    What they multiply the forecast of the horizon by, the effects used there by name with their day, and the past
    days with an effect: no ordinary ones.
    """
    factors = np.ones(horizon)
    used: dict[str, tuple[int, EventEffect]] = {}
    past: list[int] = []
    usual = ordinary(series, (day for days in calendar.values() for day in days))
    for name, days in calendar.items():
        found = effect(occurrences(series, [day for day in days if day < first], usual), account.get(name))
        if found is None:
            continue
        past += [day for day in days if series.first_day <= day <= series.last_day]
        for day in days:
            # Two names for one day are one day.
            if first <= day < first + horizon and factors[day - first] == 1.0:
                factors[day - first] = float(np.exp(found.log_ratio))
                used[name] = (day, found)
    return factors, used, past
