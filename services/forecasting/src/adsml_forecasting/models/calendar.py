"""Named days: public holidays of a country, and the days that trade is about everywhere."""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

import holidays

from adsml_forecasting.models.events import Calendar

_THURSDAY: Final = 3
_EPOCH: Final = date(1970, 1, 1)


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _black_friday(year: int) -> date:
    """The day after the fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(_THURSDAY - first.weekday()) % 7 + 22)


@lru_cache(maxsize=64)
def trading_days(first_year: int, last_year: int) -> Calendar:
    """Days of trade by name, those of so many years."""
    out: dict[str, list[int]] = {}
    for year in range(first_year, last_year + 1):
        friday = _black_friday(year)
        for name, day in (
            ("Valentine's Day", date(year, 2, 14)),
            ("Singles' Day", date(year, 11, 11)),
            ("Black Friday", friday),
            ("Saturday after Black Friday", friday + timedelta(days=1)),
            ("Sunday after Black Friday", friday + timedelta(days=2)),
            ("Cyber Monday", friday + timedelta(days=3)),
            ("Christmas Eve", date(year, 12, 24)),
            ("Christmas Day", date(year, 12, 25)),
            ("Boxing Day", date(year, 12, 26)),
            ("New Year's Eve", date(year, 12, 31)),
            ("New Year's Day", date(year, 1, 1)),
        ):
            out.setdefault(name, []).append(_number(day))
    return {name: tuple(days) for name, days in out.items()}


def countries() -> frozenset[str]:
    """Countries whose holidays are known, ISO 3166-1 alpha-2."""
    return frozenset(code for code in holidays.list_supported_countries() if len(code) == 2)


@lru_cache(maxsize=256)
def country_holidays(country: str, first_year: int, last_year: int) -> Calendar:
    """Public holidays of a country by name.

    Raises
    ------
    KeyError
        No such country is known.
    """
    if country not in countries():
        raise KeyError(country)
    found = holidays.country_holidays(country, years=range(first_year, last_year + 1), language="en_US")
    out: dict[str, list[int]] = {}
    for day, name in found.items():
        out.setdefault(name, []).append(_number(day))
    return {name: tuple(sorted(days)) for name, days in out.items()}


def merged(*calendars: Calendar) -> Calendar:
    """One calendar; a day that several name stays with the first."""
    out: dict[str, list[int]] = {}
    taken: set[int] = set()
    for calendar in calendars:
        mine: set[int] = set()
        for name, days in calendar.items():
            free = [day for day in days if day not in taken]
            out.setdefault(name, []).extend(free)
            mine.update(free)
        taken |= mine
    return {name: tuple(sorted(set(days))) for name, days in out.items() if days}


def of_days(named: Iterable[tuple[str, int]]) -> Calendar:
    """From names and days, in any order."""
    out: dict[str, list[int]] = {}
    for name, day in named:
        out.setdefault(name, []).append(day)
    return {name: tuple(sorted(days)) for name, days in out.items()}
