"""Named days: public holidays of a country, and the days that trade is about everywhere."""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Final

import holidays

from adsml_forecasting.models.events import Calendar

_THURSDAY: Final = 3
_EPOCH: Final = date(1970, 1, 1)


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _black_friday(year: int) -> int:
    """The day after the fourth Thursday of November."""
    first = date(year, 11, 1)
    return _number(first) + (_THURSDAY - first.weekday()) % 7 + 22


_TRADING: Final[tuple[tuple[str, int | tuple[int, int]], ...]] = (
    ("Valentine's Day", (2, 14)),
    ("Singles' Day", (11, 11)),
    ("Black Friday", 0),
    ("Saturday after Black Friday", 1),
    ("Sunday after Black Friday", 2),
    ("Cyber Monday", 3),
    ("Christmas Eve", (12, 24)),
    ("Christmas Day", (12, 25)),
    ("Boxing Day", (12, 26)),
    ("New Year's Eve", (12, 31)),
    ("New Year's Day", (1, 1)),
)
"""Month and day, or days after Black Friday."""


@lru_cache(maxsize=64)
def trading_days(first_year: int, last_year: int) -> Calendar:
    """Days of trade by name, those of so many years."""
    return of_days(
        (name, _black_friday(year) + at if isinstance(at, int) else _number(date(year, *at)))
        for year in range(first_year, last_year + 1)
        for name, at in _TRADING
    )


@lru_cache(maxsize=256)
def country_holidays(country: str, first_year: int, last_year: int) -> Calendar:
    """Public holidays of a country by name; KeyError where no such country is known."""
    if country not in holidays.list_supported_countries() or len(country) != 2:
        raise KeyError(country)
    found = holidays.country_holidays(country, years=range(first_year, last_year + 1), language="en_US")
    return of_days((name, _number(day)) for day, name in found.items())


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
