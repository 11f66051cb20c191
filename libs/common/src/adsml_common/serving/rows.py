"""Daily rows of many inline series as columns, without touching every field of every row from Python.

Reading one attribute of a protobuf message from Python costs about as much as numpy needs for a hundred of them. So
the rows are serialised again by protobuf's own compiled code and their bytes are read column by column: at each step
all rows look at their next tag together. Rows that don't come out even (unknown fields) are read the plain way.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
        for wrong, name, text, values in self._faults(needed):
            for at in np.flatnonzero(wrong):
                series = int(self.series[at])
                of_series = found.setdefault(series, [])
                if len(of_series) < _MAX_VIOLATIONS:
                    place = f"{path(series)}[{self.row[at]}].{name}"
                    of_series.append(FieldViolation(place, text.format(values[at])))
        return found

    def _faults(self, needed: Collection[str]) -> Iterator[tuple[BoolArray, str, str, npt.NDArray[Any]]]:
        """Which rows have a fault, in what field, in words with a place for the value, and the values."""
        date = self.date
        yield ~self.has_date, "date", "is missing; expected year, month and day", date
        calendar = f"is not a day of the calendar from {FIRST_YEAR} to {LAST_YEAR}"
        yield np.isnat(date) & self.has_date, "date", calendar, date
        yield self._repeated(), "date", "is {}, like an earlier row; send one row per day", date
        for name, values in zip(STORED, self.values, strict=True):
            unset = np.isnan(values)
            if name in REQUIRED:
                everywhere = (np.bincount(self.series, weights=~unset) == 0)[self.series]
                text = "is not set, but is in other rows; send 0 for a day without any"
                yield unset & ~everywhere, name, text, values
                if name in needed:
                    text = "is not set in any row; this question needs it"
                    yield everywhere & (self.row == 0), name, text, values
            yield np.isinf(values), name, "is not a finite number", values
            yield np.isfinite(values) & (values < 0), name, "is {:.15g}; expected 0 or more", values

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

    def _repeated(self) -> BoolArray:
        """Rows whose day is that of an earlier one of their series."""
        order = np.lexsort((self.row, self.date, self.series))
        day, series = self.date[order], self.series[order]
        repeated = np.zeros(order.size, dtype=bool)
        repeated[order[1:]] = (day[1:] == day[:-1]) & (series[1:] == series[:-1])
        return repeated


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
    table = np.array(
        [
            (
                (day := one.date).year,
                day.month,
                day.day,
                one.HasField("date"),
                # NaN is what an unset figure is.
                _number(one.spend) if one.HasField("spend") else nan,
                one.impressions if one.HasField("impressions") else nan,
                one.clicks if one.HasField("clicks") else nan,
                _number(one.leads) if one.HasField("leads") else nan,
                one.reach if one.HasField("reach") else nan,
            )
            for one in rows
        ],
        dtype=np.float64,
    ).reshape(-1, 9)
    year, month, day_of_month, has_date = table[:, :4].astype(np.int64).T
    return year, month, day_of_month, has_date.astype(bool), table[:, 4:].T


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value


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
        read = (reader.double(present) if tag & 7 == _FIXED64 else reader.varint(present)).astype(np.float64)
        column[present] = np.where(np.isnan(read), np.inf, read)[present]
    if not (inner.finished and reader.finished):
        return None
    return parts[0], parts[1], parts[2], has_date, values


@dataclass(slots=True, eq=False)
class _Reader:
    """Reads the next thing of many messages at once."""

    data: npt.NDArray[np.uint8]
    at: IntArray
    ends: IntArray

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
            length, shift = data[at] & 0x7F, 7
            while data[at] >= 0x80:
                at += 1
                length |= (data[at] & 0x7F) << shift
                shift += 7
            at += 1
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
