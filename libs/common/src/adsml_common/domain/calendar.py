"""Days that are unlike others: a country's public holidays and the days that shops make."""

import importlib.util
from datetime import date, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from adsml_common.domain.errors import InvalidInput

AVAILABLE: Final = importlib.util.find_spec("holidays") is not None
"""Whether the `holidays` package is installed (``adsml-common[calendar]``)."""


def named_days(country: str, first: date, last: date) -> dict[date, str]:
    """Public holidays of a country (ISO 3166-1 alpha-2; empty for none) and the trading days known everywhere, by day.

    From `first` to `last`, both included. Raises `InvalidInput` where there is no calendar for the country.
    """
    out: dict[date, str] = {}
    for year in range(first.year, last.year + 1):
        out |= _trading_days(year) | (_public_holidays(country, year) if country else {})
    return {day: name for day, name in sorted(out.items()) if first <= day <= last}


@cache
def _countries() -> dict[str, str]:
    """Country by time zone: the IANA database's table of the zone that each place keeps."""
    text = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


def country_of(time_zone: str | None) -> str:
    """ISO 3166-1 alpha-2 code of the country that a time zone is named after; empty where it is after none."""
    return _countries().get(time_zone or "", "")


@lru_cache(maxsize=512)
def _public_holidays(country: str, year: int) -> dict[date, str]:
    import holidays  # noqa: PLC0415  # takes a moment, and is not installed everywhere

    try:
        return dict(holidays.country_holidays(country, years=year, language="en_US").items())
    except NotImplementedError:
        text = f"is {country!r}; no calendar of public holidays is known"
        raise InvalidInput.at("options.calendar.country_code", text) from None


def _trading_days(year: int) -> dict[date, str]:
    thanksgiving = _weekday_of(year, 11, weekday=3, nth=4)
    return {
        date(year, 1, 1): "New Year's Day",
        date(year, 2, 14): "Valentine's Day",
        _weekday_of(year, 5, weekday=6, nth=2): "Mother's Day",
        date(year, 11, 11): "Singles' Day",
        thanksgiving + timedelta(days=1): "Black Friday",
        thanksgiving + timedelta(days=2): "Saturday after Black Friday",
        thanksgiving + timedelta(days=3): "Sunday after Black Friday",
        thanksgiving + timedelta(days=4): "Cyber Monday",
        date(year, 12, 24): "Christmas Eve",
        date(year, 12, 25): "Christmas Day",
        date(year, 12, 26): "Boxing Day",
        date(year, 12, 31): "New Year's Eve",
    }


def _weekday_of(year: int, month: int, *, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
