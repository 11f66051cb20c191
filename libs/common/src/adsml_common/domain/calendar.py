"""Days that are unlike others: a country's public holidays and the days that shops make."""

import importlib.util
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from adsml_common.domain.errors import InvalidInput

AVAILABLE: Final = importlib.util.find_spec("holidays") is not None
"""Whether the `holidays` package is installed (``adsml-common[calendar]``)."""


def named_days(country: str, first: date, last: date) -> dict[date, str]:
    """Public holidays of a country (ISO 3166-1 alpha-2) and the trading days known everywhere, by day.

    From `first` to `last`, both included. Raises `InvalidInput` where there is no calendar for the country.
    """
    out: dict[date, str] = {}
    for year in range(first.year, last.year + 1):
        out.update(_year(country, year))
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
def _year(country: str, year: int) -> Mapping[date, str]:
    import holidays  # noqa: PLC0415  # takes a moment, and is not installed everywhere

    try:
        public = holidays.country_holidays(country, years=year, language="en_US")
    except NotImplementedError:
        raise InvalidInput.at(
            "country_code", f"is {country!r}; no calendar of public holidays is known"
        ) from None
    return {**_trading_days(year), **dict(public.items())}


def _trading_days(year: int) -> dict[date, str]:
    thanksgiving = _weekday_of(year, 11, weekday=3, nth=4)
    return {
        date(year, 2, 14): "Valentine's Day",
        _weekday_of(year, 5, weekday=6, nth=2): "Mother's Day",
        date(year, 11, 11): "Singles' Day",
        thanksgiving + timedelta(days=1): "Black Friday",
        thanksgiving + timedelta(days=4): "Cyber Monday",
        date(year, 12, 24): "Christmas Eve",
        date(year, 12, 31): "New Year's Eve",
    }


def _weekday_of(year: int, month: int, *, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
