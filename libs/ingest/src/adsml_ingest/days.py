"""Calendar days as exports write them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.distinct import Column, look_up
from adsml_ingest.options import DateOrder
from adsml_ingest.problems import BadCell

IntArray = npt.NDArray[np.int32]

BAD: Final = np.iinfo(np.int32).min
"""Stands for a cell that is no day."""
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


class NotADay(BadCell):
    """A cell that is no day."""


def parse(cells: Column, order: DateOrder | None, known: dict[Any, int]) -> IntArray:
    """Days since 1970-01-01; `BAD` where the cell is no day (`day` says why).

    Parameters
    ----------
    cells
        Text, dates or None; or an array of datetime64.
    order
        Of dates that are not ISO; None: only ISO dates are days.
    known
        Cells seen before, with their days; grows.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        whole = cells.astype("datetime64[D]")
        bad = np.isnat(cells) | (whole != cells)
        return np.where(bad, BAD, whole.astype(np.int64)).astype(np.int32)

    def day_of(cell: Any) -> int:
        if cell not in known:
            try:
                known[cell] = day(cell, order)
            except NotADay:
                known[cell] = int(BAD)
        return known[cell]

    return look_up(cells, day_of, nothing=BAD, dtype=np.int32)


def day(cell: Any, order: DateOrder | None) -> int:
    """One cell as days since 1970-01-01; raises `NotADay` with the reason and the cure."""
    if isinstance(cell, datetime):
        cell = cell.isoformat()
    if isinstance(cell, date):
        return cell.toordinal() - _EPOCH
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise NotADay("no_date", "is empty", "every row needs the day it is for, as YYYY-MM-DD")
    iso = _ISO.fullmatch(text)
    if iso:
        if any(int(part or 0) for part in iso.group(4, 5, 6)):
            cure = "cut it to the day of the account's time zone, as YYYY-MM-DD"
            raise NotADay("not_a_day", "is a time, not a day", cure)
        return _ordinal(int(iso[1]), int(iso[2]), int(iso[3]))
    compact = _COMPACT.fullmatch(text)
    if compact:
        return _ordinal(int(compact[1]), int(compact[2]), int(compact[3]))
    parts = _PARTS.fullmatch(text)
    if parts is None:
        cure = "expected YYYY-MM-DD"
        if _SERIAL.fullmatch(text):
            cure = "a spreadsheet's number of a day, it seems: format the column as YYYY-MM-DD, and save it again"
        raise NotADay("not_a_date", "is not a date", cure)
    if order is None:
        cure = "pass --date-order dmy if this is day/month/year, mdy if it is month/day/year"
        raise NotADay("not_iso_date", "is not written as YYYY-MM-DD", cure)
    year, month, day_of_month = (parts.groups()[index] for index in _POSITIONS[order])
    if len(year) != 4:
        cure = "write years with four digits, or pass the right --date-order"
        raise NotADay("not_a_date", f"has no four-digit year where {order} puts it", cure)
    return _ordinal(int(year), int(month), int(day_of_month))


def _ordinal(year: int, month: int, day_of_month: int) -> int:
    try:
        return date(year, month, day_of_month).toordinal() - _EPOCH
    except ValueError:
        cure = "correct the date, or pass the right --date-order"
        raise NotADay("impossible_date", "is not a day of the calendar", cure) from None


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
