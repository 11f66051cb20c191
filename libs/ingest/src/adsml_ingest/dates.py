"""Calendar days, and the moments at which rows were fetched, as exports write them."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import Column, look_up
from adsml_ingest.leads import is_null
from adsml_ingest.numerals import BoolArray, FloatArray
from adsml_ingest.options import DateOrder
from adsml_ingest.problems import BadCell

IntArray = npt.NDArray[np.int32]

BAD: Final = np.iinfo(np.int32).min  # stands for a cell that is no day
FIRST_DAY: Final = date(2000, 1, 1)
"""No ads data are older; an earlier date is a mistake (zero as a Unix time, two-digit years)."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s?(?:Z|UTC|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
_COMPACT: Final = re.compile(r"(20\d{2})(\d{2})(\d{2})", re.ASCII)
_SERIAL: Final = re.compile(r"4\d{4}(?:\.\d+)?", re.ASCII)
_PARTS: Final = re.compile(r"(\d{1,4})[/.\-](\d{1,2})[/.\-](\d{1,4})", re.ASCII)
_POSITIONS: Final = {DateOrder.DMY: (2, 1, 0), DateOrder.MDY: (2, 0, 1), DateOrder.YMD: (0, 1, 2)}
_FORM: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?))?\s?(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


def parse_days(cells: Column, order: DateOrder | None) -> IntArray:
    """Days since 1970-01-01; `BAD` where the cell is no day (`day` says why).

    Parameters
    ----------
    cells
        Text, dates or None; or an array of datetime64.
    order
        Of dates that are not ISO; None: only ISO dates are days.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        whole = cells.astype("datetime64[D]")
        bad = np.isnat(cells) | (whole != cells)
        return np.where(bad, BAD, whole.astype(np.int64)).astype(np.int32)

    def day_of(cell: Any) -> int:
        try:
            return day(cell, order)
        except BadCell:
            return int(BAD)

    return look_up(cells, day_of, nothing=BAD, dtype=np.int32)


def day(cell: Any, order: DateOrder | None) -> int:
    """One cell as days since 1970-01-01; raises `BadCell` with the reason and the cure."""
    if isinstance(cell, datetime):
        cell = cell.isoformat()
    if isinstance(cell, date):
        return cell.toordinal() - _EPOCH
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise BadCell("no_date", "is empty", "every row needs the day it is for, as YYYY-MM-DD")
    iso = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
    if iso:
        if any(int(part or 0) for part in iso.groups()[3:]):
            cure = "cut it to the day of the account's time zone, as YYYY-MM-DD"
            raise BadCell("not_a_day", "is a time, not a day", cure)
        return _ordinal(*iso.groups()[:3])
    parts = _PARTS.fullmatch(text)
    if parts is None:
        cure = "expected YYYY-MM-DD"
        if _SERIAL.fullmatch(text):
            cure = "a spreadsheet's number of a day, it seems: format the column as YYYY-MM-DD, and save it again"
        raise BadCell("not_a_date", "is not a date", cure)
    if order is None:
        cure = "pass --date-order dmy if this is day/month/year, mdy if it is month/day/year"
        raise BadCell("not_iso_date", "is not written as YYYY-MM-DD", cure)
    year, month, day_of_month = (parts.groups()[index] for index in _POSITIONS[order])
    if len(year) != 4:
        cure = "write years with four digits, or pass the right --date-order"
        raise BadCell("not_a_date", f"has no four-digit year where {order} puts it", cure)
    return _ordinal(year, month, day_of_month)


def _ordinal(*parts: str) -> int:
    try:
        return date(*map(int, parts)).toordinal() - _EPOCH
    except ValueError:
        cure = "correct the date, or pass the right --date-order"
        raise BadCell("impossible_date", "is not a day of the calendar", cure) from None


def to_date(days: int) -> date:
    """The calendar day."""
    return date.fromordinal(days + _EPOCH)


def from_date(value: date) -> int:
    """Days since 1970-01-01."""
    return value.toordinal() - _EPOCH


@dataclass(slots=True)
class OrderEvidence:
    """What the dates of a file give away of their order."""

    orders: set[DateOrder] = field(default_factory=set)  # that some date can only be read in
    example: str = ""  # a date that needs one; empty where all are ISO

    def add(self, cells: Iterable[str]) -> None:
        """Look at some dates."""
        for cell in cells:
            parts = _PARTS.fullmatch(cell.strip())
            if parts is None or _ISO.fullmatch(cell.strip()):
                continue
            self.example = self.example or cell.strip()
            first, second = int(parts[1]), int(parts[2])
            if len(parts[1]) == 4:
                self.orders.add(DateOrder.YMD)
            # Dates with points are written day first wherever they are written at all.
            elif first > 12 or "." in cell:
                self.orders.add(DateOrder.DMY)
            elif second > 12:
                self.orders.add(DateOrder.MDY)

    @property
    def order(self) -> DateOrder | None:
        """The one order; None where all are ISO or none tells."""
        return next(iter(self.orders)) if len(self.orders) == 1 else None


def parse_moments(cells: Column) -> tuple[FloatArray, BoolArray]:
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
    day, time, zone = form.groups()
    zone = {None: "", "UTC": "Z", "GMT": "Z"}.get(zone, zone)
    with suppress(ValueError):
        return datetime.fromisoformat(f"{day}T{time or '00:00'}{zone}")
    return None


def written(text: str) -> datetime | None:
    """Text as a moment if it has a time of day; without a zone where none is written."""
    form = _FORM.fullmatch(text)
    return _instant(text) if form is not None and form[2] is not None else None


def local_day(moment: datetime, time_zone: str | None) -> date:
    """The day of a moment in an account's time zone; as it is written where that is not known."""
    if moment.tzinfo is not None and time_zone is not None:
        with suppress(ZoneInfoNotFoundError, ValueError):
            return moment.astimezone(ZoneInfo(time_zone)).date()
    return moment.date()
