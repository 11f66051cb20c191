"""The contracts' messages from plain values and back: words for enums, `datetime` for days and instants.

Messages are the data types of this client. `message` builds one from keyword arguments, with every mistake named by
its path; `word` and `day` read what a message holds in plain values.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Final, TypeAlias, TypeVar

from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from google.protobuf import duration_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.type import date_pb2

from adsml_client.errors import InvalidArgument, Violation, error_of_status

MessageT = TypeVar("MessageT", bound=Message)
Row: TypeAlias = metrics_pb2.DailyMetrics | Mapping[str, Any]
"""A day of metrics, or its fields: ``{"date": ..., "spend": 50, "leads": 3}``."""

# What a scalar field takes; those that are not here take whole numbers.
_KINDS: Final[dict[int, tuple[str, Any]]] = {
    FieldDescriptor.CPPTYPE_STRING: ("text", str),
    FieldDescriptor.CPPTYPE_BOOL: ("True or False", bool),
    FieldDescriptor.CPPTYPE_DOUBLE: ("a number", Real),
    FieldDescriptor.CPPTYPE_FLOAT: ("a number", Real),
}


class _Mistake(Exception):
    """A value that does not fit its field, in words."""


def message(kind: type[MessageT], /, **fields: Any) -> MessageT:
    """A message from plain values: its fields by name.

    Enums as words (``"adset"``, ``"cpl"``) or numbers; days as `datetime.date` or ISO text; instants as aware
    `datetime.datetime`; durations as `datetime.timedelta`; messages as such or as mappings. A message also fits where
    one of its holder's alternatives is meant: ``subject=entity_ref(...)``. None leaves a field unset.
    `InvalidArgument` names every field that does not fit, by its path.
    """
    violations: list[Violation] = []
    out = kind()
    _fill(out, fields, "", violations)
    if violations:
        raise InvalidArgument.of(violations)
    return out


def entity_ref(config_id: int, entity_type: str, entity_id: str) -> entity_pb2.EntityRef:
    """The key of a stored entity: account, level (``"adset"``) and id; errors as of `message`."""
    return message(entity_pb2.EntityRef, config_id=config_id, entity_type=entity_type, entity_id=entity_id)


def inline_series(
    rows: Iterable[Row],
    *,
    entity_type: str,
    entity_id: str = "",
    config_id: int | None = None,
    account_rows: Iterable[Row] = (),
) -> entity_pb2.InlineSeries:
    """Daily history that is sent along instead of read from the service's store; errors as of `message`.

    The entity's days and the whole account's are as `rows_from_frame` gives them, or mappings; the id is a name,
    repeated in the answer; `config_id` is the account whose models may answer.
    """
    return message(
        entity_pb2.InlineSeries,
        rows=rows,
        account_rows=account_rows,
        entity_type=entity_type,
        entity_id=entity_id,
        config_id=config_id,
    )


def change_event(
    date: dt.date | None,
    change_type: str,
    *,
    value_before: float | None = None,
    value_after: float | None = None,
    description: str = "",
) -> change_pb2.ChangeEvent:
    """An edit to an entity in force from a day on; budgets in the account's currency. Errors as of `message`."""
    return message(
        change_pb2.ChangeEvent,
        date=date,
        change_type=change_type,
        value_before=value_before,
        value_after=value_after,
        description=description,
    )


def word(holder: Message, field: str) -> str:
    """The word of an enum field, such as ``"high_performer"``; ``""`` where nothing is said."""
    descriptor = holder.DESCRIPTOR.fields_by_name[field]
    return enum_word(descriptor.enum_type, getattr(holder, field))


def enum_word(enum: Any, number: int) -> str:
    """The word of one number; the number itself where it is newer than this client."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    return "" if number == 0 else str(value.name).removeprefix(_prefix(enum)).lower()


def day(value: date_pb2.Date) -> dt.date:
    """A calendar day; ValueError where the message is not set."""
    return dt.date(value.year, value.month, value.day)


def results(response: Message) -> list[Any]:
    """What a batch gave, in the order of its entries: for each its answer or a `CallError`."""
    found = [(which := one.WhichOneof("result"), getattr(one, which)) for one in response.results]  # type: ignore[attr-defined]
    return [error_of_status(answer) if which == "error" else answer for which, answer in found]


def _prefix(enum: Any) -> str:
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _fill(out: Message, fields: Mapping[str, Any], path: str, violations: list[Violation]) -> None:
    known = out.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        at = f"{path}.{name}" if path else name
        field = known.get(name)
        if field is None:
            violations.append(Violation(at, f"there is no such field; expected one of {', '.join(known)}"))
        elif value is not None:
            _set(out, field, value, at, violations)


def _set(out: Message, field: Any, value: Any, at: str, violations: list[Violation]) -> None:
    places = [(at, value)]
    if field.is_repeated:
        if isinstance(value, str | bytes | Mapping | Message) or not isinstance(value, Iterable):
            violations.append(Violation(at, f"{_shown(value)} is not a list of values"))
            return
        places = [(f"{at}[{index}]", one) for index, one in enumerate(value)]
    for place, one in places:
        before = len(violations)
        try:
            plain = _plain(field, one, place, violations)
            if len(violations) > before:
                continue
            if field.is_repeated:
                getattr(out, field.name).append(plain)
            elif field.message_type is not None:
                getattr(out, field.name).CopyFrom(plain)
                getattr(out, field.name).SetInParent()  # an empty message that was given is set all the same
            else:
                setattr(out, field.name, plain)
        except (_Mistake, ValueError) as mistake:  # protobuf's ValueErrors say what is out of range
            violations.append(Violation(place, str(mistake)))


def _plain(field: Any, value: Any, at: str, violations: list[Violation]) -> Any:
    """The value as the field takes it."""
    if field.message_type is not None:
        return _as_message(field.message_type, value, at, violations)
    if field.enum_type is not None:
        return _as_number(field.enum_type, value)
    expected, kind = _KINDS.get(field.cpp_type, ("a whole number", Integral))
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _Mistake(f"{_shown(value)} is not {expected}")
    return value if kind in {str, bool} else int(value) if kind is Integral else float(value)


def _as_number(enum: Any, value: Any) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        text = value.upper()
        known = enum.values_by_name.get(text) or enum.values_by_name.get(_prefix(enum) + text)
        if known is not None and known.number != 0:
            return int(known.number)
    words = (enum_word(enum, one.number) for one in enum.values if one.number != 0)
    raise _Mistake(f"{_shown(value)} is none of {', '.join(words)}")


def _as_message(kind: Any, value: Any, at: str, violations: list[Violation]) -> Message:
    out: Message = message_factory.GetMessageClass(kind)()
    if isinstance(value, Message):
        if value.DESCRIPTOR.full_name == kind.full_name:
            return value
        for alternative in (one for oneof in kind.oneofs for one in oneof.fields):
            if alternative.message_type is not None and (
                alternative.message_type.full_name == value.DESCRIPTOR.full_name
            ):
                getattr(out, alternative.name).CopyFrom(value)
                return out
        raise _Mistake(f"a {value.DESCRIPTOR.name} is not a {kind.name}")
    if isinstance(out, date_pb2.Date):
        date = as_date(value)
        if date is None:
            raise _Mistake(f"{_shown(value)} is not a day; expected a date or text such as 2026-03-31")
        out.year, out.month, out.day = date.year, date.month, date.day
    elif isinstance(out, timestamp_pb2.Timestamp):
        if not isinstance(value, dt.datetime) or value.tzinfo is None:
            raise _Mistake(f"{_shown(value)} is not an instant; expected a datetime with its time zone")
        out.FromDatetime(value)
    elif isinstance(out, duration_pb2.Duration):
        if not isinstance(value, dt.timedelta):
            raise _Mistake(f"{_shown(value)} is not a timedelta")
        out.FromTimedelta(value)
    elif isinstance(value, Mapping):
        _fill(out, value, at, violations)
    else:
        expected = "expected the message, or a mapping of its fields"
        raise _Mistake(f"{_shown(value)} is not a {kind.name}; {expected}")
    return out


def as_date(value: Any) -> dt.date | None:
    """The day of a date, a time, numpy's or pandas' kinds of it, or ISO text; None where it is none of them."""
    if value != value:  # noqa: PLR0124 - pandas' missing time, NaN
        return None
    if hasattr(value, "to_timestamp"):  # a period of pandas
        value = value.to_timestamp()
    elif type(value).__name__ == "datetime64":
        value = value.astype("datetime64[s]").item()
    try:
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value.strip()).date()
        return (
            value.date() if isinstance(value, dt.datetime) else value if isinstance(value, dt.date) else None
        )
    except ValueError:  # no such day
        return None


def _shown(value: Any) -> str:
    """A value as a person would write it, cut where it is long."""
    text = repr(value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
