"""Moments at which rows were fetched, as connectors and warehouses write them."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from adsml_ingest.breakdowns import is_null
from adsml_ingest.distinct import Column, look_up
from adsml_ingest.numerals import BoolArray, FloatArray

_FORM: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d+))?)?\s?(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


def parse(cells: Column) -> tuple[FloatArray, BoolArray]:
    """Moments as seconds since 1970, 0 where there is nothing; and where there is something that is no moment.

    Cells are Unix times in seconds, milli- or microseconds, ISO 8601 as PostgreSQL, Snowflake and BigQuery write it,
    or datetime64.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        seconds = cells.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(cells), 0.0, seconds), np.zeros(len(cells), dtype=np.bool_)

    def value_of(cell: Any) -> float:
        value = 0.0 if is_null(cell) else moment(cell)
        return np.nan if value is None else value

    values = look_up(cells, value_of, nothing=0.0, dtype=np.float64)
    return np.nan_to_num(values), np.isnan(values)


def moment(cell: Any) -> float | None:
    """One cell as seconds since 1970; None if it is no moment."""
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    text = str(cell).strip()
    try:
        number = float(text)
    except ValueError:
        at = _instant(text)
        return None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    for scale in (1.0, 1e3, 1e6, 1e9):
        if _EARLIEST <= number / scale <= _LATEST:
            return number / scale
    return None


def _instant(text: str) -> datetime | None:
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    day, time, fraction, zone = form.groups()
    zone = {None: "", "Z": "+00:00", "UTC": "+00:00", "GMT": "+00:00"}.get(zone, zone)
    if len(zone) == 3:
        zone += ":00"
    try:
        whole = datetime.fromisoformat(f"{day}T{time or '00:00:00'}{zone}")
    except ValueError:
        return None
    return whole + timedelta(seconds=float(f"0.{fraction}")) if fraction else whole


def written(text: str) -> datetime | None:
    """Text as a moment if it has a time of day; without a zone where none is written."""
    form = _FORM.fullmatch(text)
    return _instant(text) if form is not None and form[2] is not None else None


def local_day(moment: datetime, time_zone: str | None) -> date:
    """The day of a moment in an account's time zone; as it is written where that is not known."""
    if moment.tzinfo is None or time_zone is None:
        return moment.date()
    try:
        return moment.astimezone(ZoneInfo(time_zone)).date()
    except (ZoneInfoNotFoundError, ValueError):
        return moment.date()
