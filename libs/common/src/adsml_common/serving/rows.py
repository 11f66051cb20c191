"""Daily rows of many inline series as columns, without touching every field of every row from Python.

Reading one attribute of a protobuf message from Python costs about as much as numpy needs for a hundred of them. So
the rows are serialised again by protobuf's own compiled code and their bytes are read column by column: at each step
all rows look at their next tag together. Rows that don't come out even (unknown fields) are read the plain way.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml.common.v1 import metrics_pb2
from google.protobuf.message import Message

from adsml_common.domain.daily import COLUMNS
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import FieldViolation
from adsml_common.domain.metrics import REQUIRED, STORED

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
DateArray = npt.NDArray[np.datetime64]

FIRST_YEAR: Final = 1990
LAST_YEAR: Final = 2100

# Below this many rows the fixed cost of the columnar way is larger than what it saves
# (benchmarks/bench_rows.py).
_FEW_ROWS: Final = 96
_MAX_VIOLATIONS: Final = 50
_LONGEST_VARINT: Final = 10

# Tags as on the wire, (field number << 3) | wire type; DailyMetrics and google.type.Date.
_DATE_TAG: Final = 0x0A
_VALUE_TAGS: Final = (
    ("spend", 0x11),
    ("impressions", 0x18),
    ("clicks", 0x20),
    ("leads", 0x29),
    ("reach", 0x30),
)
_DATE_TAGS: Final = (0x08, 0x10, 0x18)
_VARINT, _FIXED64, _LENGTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class DailyRows:
    """Rows of several series, in the order they came; arrays of shape (rows,).

    `series` rises from 0, `row` counts within its series. `date` (datetime64[D]) is NaT where it is missing or not in
    the calendar. `values` has shape (5, rows) in the order of `STORED`: NaN where unset, infinite where it is no
    number.
    """

    series: IntArray
    row: IntArray
    date: DateArray
    has_date: BoolArray
    values: FloatArray

    def violations(
        self, path: Callable[[int], str], *, needed: Collection[str] = REQUIRED
    ) -> dict[int, list[FieldViolation]]:
        """What no model may see, by series (at most 50 each); series that are in order are absent.

        `path` gives the dotted path of a series' rows, e.g. ``subjects[3].inline.rows``. Figures that are not
        `needed` may be unset in all of a series' rows.
        """
        found: dict[int, list[FieldViolation]] = {}

        def report(wrong: BoolArray, name: str, what: str | Callable[[int], str]) -> None:
            for at in np.flatnonzero(wrong):
                of_series = found.setdefault(int(self.series[at]), [])
                if len(of_series) < _MAX_VIOLATIONS:
                    place = f"{path(int(self.series[at]))}[{self.row[at]}].{name}"
                    of_series.append(FieldViolation(place, what if isinstance(what, str) else what(int(at))))

        no_day = np.isnat(self.date)
        report(~self.has_date, "date", "is missing; expected year, month and day")
        report(
            no_day & self.has_date, "date", f"is not a day of the calendar from {FIRST_YEAR} to {LAST_YEAR}"
        )
        if duplicates := self._duplicates():
            report(
                np.isin(np.arange(self.date.size), duplicates),
                "date",
                lambda at: f"is {self.date[at]}, like an earlier row; send one row per day",
            )
        for name, values in zip(STORED, self.values, strict=True):
            unset = np.isnan(values)
            if name in REQUIRED:
                everywhere = self._in_every_row(unset)
                report(
                    unset & ~everywhere,
                    name,
                    "is not set, but is in other rows; send 0 for a day without any",
                )
                if name in needed:
                    report(
                        everywhere & (self.row == 0), name, "is not set in any row; this question needs it"
                    )
            report(~unset & ~np.isfinite(values), name, "is not a finite number")
            report(
                np.isfinite(values) & (values < 0),
                name,
                lambda at, values=values: f"is {values[at]:.15g}; expected 0 or more",  # type: ignore[misc]
            )
        return found

    def frame(self, entities: Sequence[tuple[EntityType, str]]) -> pd.DataFrame:
        """The rows as a daily frame; check `violations` first. Series of the same entity flow together."""
        types = np.array([kind.value for kind, _ in entities], dtype=object)
        ids = np.array([name for _, name in entities], dtype=object)
        order = np.lexsort((self.date, self.series))
        series = self.series[order]
        data = dict(zip(STORED, self.values[:, order], strict=True))
        out = pd.DataFrame(
            {
                "entity_type": types[series],
                "entity_id": ids[series],
                "date": self.date[order].astype("datetime64[ns]"),
                **data,
            },
            columns=list(COLUMNS),
        )
        if len(entities) > 1:
            out = out.sort_values(["entity_type", "entity_id", "date"], kind="stable", ignore_index=True)
        return out

    def where(self, rows: BoolArray) -> "DailyRows":
        return DailyRows(
            self.series[rows], self.row[rows], self.date[rows], self.has_date[rows], self.values[:, rows]
        )

    def _in_every_row(self, condition: BoolArray) -> BoolArray:
        exceptions = np.bincount(self.series, weights=~condition)
        every: BoolArray = exceptions[self.series] == 0
        return every

    def _duplicates(self) -> list[int]:
        order = np.lexsort((self.row, self.date, self.series))
        day, series = self.date[order], self.series[order]
        same = (day[1:] == day[:-1]) & (series[1:] == series[:-1])
        return [int(at) for at in order[1:][same]]


def daily_rows(parents: Sequence[Message], field: str = "rows") -> DailyRows:
    """The rows that messages of one type hold in `field` (``rows``, ``account_rows``); each message is one series."""
    lists = [getattr(one, field) for one in parents]
    counts = np.array([len(rows) for rows in lists], dtype=np.int64)
    total = int(counts.sum())
    which = np.repeat(np.arange(len(parents)), counts)
    row = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    read = None
    if total > _FEW_ROWS:
        read = _columnar(parents, parents[0].DESCRIPTOR.fields_by_name[field].number, total)
    year, month, day, has_date, values = read or _one_by_one(one for rows in lists for one in rows)
    return DailyRows(which, row, _dates(year, month, day), has_date, values)


_Read = tuple[IntArray, IntArray, IntArray, BoolArray, FloatArray]


def _one_by_one(rows: Iterable[metrics_pb2.DailyMetrics]) -> _Read:
    nan = float("nan")
    days: list[tuple[int, int, int, bool]] = []
    values: list[tuple[float, ...]] = []
    for one in rows:
        day = one.date
        days.append((day.year, day.month, day.day, one.HasField("date")))
        values.append(
            (
                _number(one.spend) if one.HasField("spend") else nan,
                one.impressions if one.HasField("impressions") else nan,
                one.clicks if one.HasField("clicks") else nan,
                _number(one.leads) if one.HasField("leads") else nan,
                one.reach if one.HasField("reach") else nan,
            )
        )
    parts = np.array(days, dtype=np.int64).reshape(-1, 4).T
    # NaN is what an unset figure is.
    return parts[0], parts[1], parts[2], parts[3].astype(bool), np.array(values).reshape(-1, len(STORED)).T


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _never_nan(values: FloatArray | IntArray) -> FloatArray:
    numbers: FloatArray = values.astype(np.float64)
    numbers[np.isnan(numbers)] = np.inf
    return numbers


def _columnar(parents: Sequence[Message], number: int, total: int) -> _Read | None:
    """All rows at once, or None where some bytes are not as expected."""
    data = b"".join(one.SerializeToString() for one in parents)
    starts, ends = _bodies(data, number)
    if len(starts) != total:
        return None
    # Padding, so that looking past the last row finds zeros, which are no tag.
    reader = _Reader(
        np.frombuffer(data + bytes(32), dtype=np.uint8),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
    )
    has_date = reader.take(_DATE_TAG)
    day_ends = reader.varint(has_date)
    day_ends = np.where(has_date, reader.at + day_ends, reader.at)
    inner = _Reader(reader.data, np.where(has_date, reader.at, day_ends), day_ends)
    parts = [inner.varint(inner.take(tag)) for tag in _DATE_TAGS]
    reader.at = day_ends
    values = np.full((len(STORED), total), np.nan)
    for column, (_, tag) in zip(values, _VALUE_TAGS, strict=True):
        present = reader.take(tag)
        read = reader.double(present) if tag & 7 == _FIXED64 else reader.varint(present)
        column[present] = _never_nan(read[present])
    if not (inner.finished and reader.finished):
        return None
    return parts[0], parts[1], parts[2], has_date, values


class _Reader:
    """Reads the next thing of many messages at once."""

    def __init__(self, data: npt.NDArray[np.uint8], at: IntArray, ends: IntArray) -> None:
        self.data = data
        self.at = at
        self.ends = ends

    @property
    def finished(self) -> bool:
        return bool((self.at == self.ends).all())

    def take(self, tag: int) -> BoolArray:
        present: BoolArray = (self.at < self.ends) & (self.data[self.at] == tag)
        self.at = self.at + present
        return present

    def varint(self, present: BoolArray) -> IntArray:
        """Read a varint where there is one; 0 elsewhere."""
        value = np.zeros(self.at.size, dtype=np.uint64)
        more = present
        for index in range(_LONGEST_VARINT):
            if not more.any():
                break
            byte = np.where(more, self.data[self.at], 0).astype(np.uint64)
            value |= (byte & np.uint64(0x7F)) << np.uint64(7 * index)
            self.at = self.at + more
            more = byte >= 0x80
        return value.view(np.int64)

    def double(self, present: BoolArray) -> FloatArray:
        """Read 8 bytes as a double where there are some; anything elsewhere."""
        read: FloatArray = self.data[self.at[:, None] + np.arange(8)].view("<f8")[:, 0]
        self.at = self.at + np.where(present, 8, 0)
        return read


def _bodies(data: bytes, number: int) -> tuple[list[int], list[int]]:
    """Where the values of one length-delimited field begin and end in concatenated messages.

    Protobuf writes what follows here with single-byte tags only; anything else ends the search, and the count is
    wrong.
    """
    wanted = number << 3 | _LENGTH
    starts, ends = [], []
    at, size = 0, len(data)
    while at < size:
        tag = data[at]
        kind = tag & 7
        at += 1
        if kind == _LENGTH:
            length = data[at]
            at += 1
            if length >= 0x80:
                length &= 0x7F
                shift = 7
                while True:
                    byte = data[at]
                    at += 1
                    length |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        break
                    shift += 7
            if tag == wanted:
                starts.append(at)
                ends.append(at + length)
            at += length
        elif kind == _VARINT and tag < 0x80:
            while data[at] >= 0x80:
                at += 1
            at += 1
        else:
            break
    return starts, ends


def _dates(year: IntArray, month: IntArray, day: IntArray) -> DateArray:
    in_range = (
        (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    )
    months = np.where(in_range, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    dates: DateArray = months.astype("datetime64[D]") + np.where(in_range, day - 1, 0)
    exists = in_range & (dates.astype("datetime64[M]") == months)
    return np.where(exists, dates, np.datetime64("NaT", "D"))
