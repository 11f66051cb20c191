"""Data frames in, data frames out; needs pandas (``adsml-client[frames]``)."""

import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from adsml.common.v1 import metrics_pb2
from google.protobuf.message import Message
from google.type import date_pb2

from adsml_client.errors import InvalidArgument, Violation, error_of_status
from adsml_client.messages import as_date, day, enum_word

if TYPE_CHECKING:
    import pandas as pd

_COUNTS: Final = ("impressions", "clicks", "reach")
_FIGURES: Final = ("spend", "impressions", "clicks", "leads", "reach")
_NAMED: Final = 20
"""Mistakes of a frame that are named; more are counted."""

_HOLDERS: Final = re.compile(r".+(Response|Result|Report)|Forecast")
"""The names of messages that hold rows; others are a row themselves."""
_ROWS: Final = (
    "results", "classification", "forecast", "report", "days", "incidents", "effects", "methods", "changes",
    "models", "model", "events", "runs", "run",
)  # fmt: skip
"""The fields that rows are in: the first of them that a message has."""
_KEYS: Final = ("entity", "treated", "metric", "method", "transfer")
"""What rows keep of the messages around them."""
_TEXTS: Final = ("message", "text", "detail", "entity_id")
"""What is kept of a list of messages: words for a person, or names."""


def rows_from_frame(frame: "pd.DataFrame") -> list[metrics_pb2.DailyMetrics]:
    """Daily rows of one entity, from a frame with one row a day.

    The day is the column ``date`` or, without one, the index. Figures are the columns ``spend`` (account's currency),
    ``impressions``, ``clicks``, ``leads`` and ``reach``; those that the question does not need may be missing: leads
    alone suffice to forecast leads. A column that is empty throughout counts as missing. Others are not looked at.
    `InvalidArgument` names every cell that can't be sent, by row and column, with the cure.
    """
    violations: list[Violation] = []
    if not len(frame):
        violations.append(Violation("rows", "the frame has no rows"))
    columns = [str(one) for one in frame.columns]
    for column in columns:
        name = column.strip().lower()
        if name in (*_FIGURES, "date") and (name not in columns or columns.count(column) > 1):
            cure = "name it once" if name == column else f'frame.rename(columns={{{column!r}: "{name}"}})'
            violations.append(Violation("rows", f"column {column!r} can't be told for {name}: {cure}"))
    if violations:
        raise InvalidArgument.of(violations)
    days = _days(frame, violations)
    figures = {
        name: _figures(name, frame, violations)
        for name in _FIGURES
        if name in columns and not frame[name].isna().all()
    }
    if not figures:
        expected = f"{', '.join(_FIGURES[:-1])} or {_FIGURES[-1]}"
        violations.append(Violation("rows", f"the frame has no figures; expected a column {expected}"))
    if len(violations) > _NAMED:
        violations[_NAMED:] = [Violation("rows", f"and {len(violations) - _NAMED} more mistakes")]
    if violations:
        raise InvalidArgument.of(violations)
    return [
        metrics_pb2.DailyMetrics(
            date=date_pb2.Date(year=date.year, month=date.month, day=date.day),
            **{name: values[index] for name, values in figures.items()},
        )
        for index, date in enumerate(days)
    ]


def _days(frame: "pd.DataFrame", violations: list[Violation]) -> list[dt.date]:
    """The day of each row; the first of two of a day is named beside the second."""
    by_column = "date" in frame.columns
    values = frame["date"].tolist() if by_column else list(frame.index)
    days = [as_date(value) for value in values]
    if not by_column and not any(days):
        cure = 'frame.rename(columns={"...": "date"}), or frame.set_index("...") with the days'
        text = f"the frame has no column 'date' and no days as its index: {cure}"
        violations.append(Violation("rows", text))
        return []
    seen: dict[dt.date, int] = {}
    for index, date in enumerate(days):
        mistake = ""
        if date is None:
            cure = 'frame["date"] = pd.to_datetime(frame["date"], format=...)'
            mistake = f"{values[index]!r} is not a day: {cure}"
        elif date in seen:
            cure = "one entity at a time, one row a day"
            cure = f'{cure}: frame.groupby("date").sum(), or one frame per entity_id'
            mistake = f"{date} is there already ({_row(frame, seen[date])}); {cure}"
        else:
            seen[date] = index
        if mistake:
            text = f"{_row(frame, index)}, column 'date': {mistake}"
            violations.append(Violation(f"rows[{index}].date", text))
    return [date for date in days if date is not None]


def _row(frame: "pd.DataFrame", index: int) -> str:
    return f"row {str(frame.index[index]).removesuffix(' 00:00:00')}"


def _figures(name: str, frame: "pd.DataFrame", violations: list[Violation]) -> list[Any]:
    """A column's values as a row takes them."""
    out: list[Any] = []
    empty = frame[name].isna().tolist()
    for index, value in enumerate(frame[name].tolist()):
        mistake, number = "", None
        if empty[index]:
            cure = f'frame["{name}"].fillna(0) where that means none, else leave the column out'
            mistake = "" if name == "reach" else f"is empty: {cure}"
        elif isinstance(value, str | bytes | bool):
            mistake = f'is not a number: frame["{name}"] = pd.to_numeric(frame["{name}"])'
        else:
            try:
                number = float(value)
            except (TypeError, ValueError):
                mistake = "is not a number"
            else:
                if not math.isfinite(number):
                    mistake = "is not finite: leave the row out, or the column"
                elif number < 0:
                    mistake = "is below 0: figures of a day are 0 or more"
                elif name in _COUNTS and number != int(number):
                    mistake = f'is not whole: frame["{name}"].round(), if that is meant'
        if mistake:
            shown = mistake if empty[index] else f"{value!r} {mistake}"
            text = f"{_row(frame, index)}, column {name!r}: {shown}"
            violations.append(Violation(f"rows[{index}].{name}", text))
        out.append(int(value) if number is not None and not mistake and name in _COUNTS else number)
    return out


def to_frame(response: Message | Sequence[Message]) -> "pd.DataFrame":
    """A response of any method, a message out of one, or a list of messages of one kind, as a frame.

    What it lists becomes the rows: days of forecasts and anomaly reports, effects of impact reports, entries of
    batches, where those that failed have one row with ``error`` and ``error_message``. Nested messages become columns
    with their name before, intervals ``lower`` and ``upper``, enums words, days and instants timestamps; what is
    unset is missing. Lists beside the rows become text where they hold words for a person, and are left out
    otherwise. `InvalidArgument` for a list without messages: its columns are not known.
    """
    import pandas as pd  # noqa: PLC0415 - an extra

    messages = [response] if isinstance(response, Message) else list(response)
    if not messages:
        raise InvalidArgument.of([Violation("", "the list is empty: give the response that holds it")])
    kind = messages[0].DESCRIPTOR
    [columns] = _records(kind, None, {})
    records = [record for one in messages for record in _records(kind, one, {})]
    return pd.DataFrame.from_records(records, columns=list(columns))


def _records(kind: Any, message: Any, around: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a message; of None, one row that has the columns."""
    named = (one for one in _ROWS if one in kind.fields_by_name)
    name = next(named, None) if _HOLDERS.fullmatch(kind.name) else None
    if name is None:
        yield around | dict(_cells(kind, message, ""))
        return
    field = kind.fields_by_name[name]
    keys = [kind.fields_by_name[key] for key in _KEYS if key in kind.fields_by_name]
    around = around | {column: value for key in keys for column, value in _cell(key, message, "")}
    if "error" in kind.fields_by_name:
        failed = message is not None and message.HasField("error")
        error = error_of_status(message.error) if failed else None
        around |= {"error": error and error.code.name, "error_message": error and error.message}
        if failed:
            yield around
            return
    if message is None:
        yield from _records(field.message_type, None, around)
    elif field.is_repeated:
        for one in getattr(message, name):
            yield from _records(field.message_type, one, around)
    elif message.HasField(name):
        yield from _records(field.message_type, getattr(message, name), around)


def _cells(kind: Any, message: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in kind.fields:
        yield from _cell(field, message, prefix)


def _cell(field: Any, message: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The columns of a field, and their values."""
    column = field.name if not prefix or field.name.startswith(f"{prefix}_") else f"{prefix}_{field.name}"
    there = message is not None and (
        field.is_repeated or not field.has_presence or message.HasField(field.name)
    )
    value = getattr(message, field.name) if there else None
    kind = field.message_type
    if kind is None:
        yield column, _plain(field, value)
    elif field.is_repeated:
        text = next((one for one in _TEXTS if one in kind.fields_by_name), None)
        if text is not None:
            yield column, None if value is None else "; ".join(getattr(one, text) for one in value)
    elif kind.name == "Date":
        # Of a message of its own: 0 stands for a part that is not said, and then there is no such day.
        yield column, None if value is None or not value.day else _stamp(day(value))
    elif kind.name == "Timestamp":
        yield column, None if value is None else _stamp(value.ToDatetime(tzinfo=dt.UTC))
    elif kind.name == "Duration":
        yield column, None if value is None else value.ToTimedelta()
    elif kind.name == "Interval":
        name = column.removesuffix("interval").removesuffix("range").rstrip("_")
        for end in ("lower", "upper"):
            yield f"{name}_{end}" if name else end, None if value is None else getattr(value, end)
    elif kind.name != "Struct":
        yield from _cells(kind, value, "" if field.name == "entity" else column)


def _plain(field: Any, value: Any) -> Any:
    """A scalar's value, or a list of them; enums as words."""
    if value is not None and field.enum_type is not None:
        words = [enum_word(field.enum_type, one) for one in (value if field.is_repeated else [value])]
        return words if field.is_repeated else words[0] or None
    return list(value) if value is not None and field.is_repeated else value


def _stamp(value: dt.date) -> "pd.Timestamp":
    import pandas as pd  # noqa: PLC0415 - an extra

    return pd.Timestamp(value)
