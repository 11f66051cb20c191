"""What a contract says of one field, read from its options: for answers, messages, help texts and docs."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from adsml.common.v1 import options_pb2
from buf.validate import validate_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

_CONTROL_CHARACTERS: Final = "\\x00-\\x1f"
_DATE: Final = "google.type.Date"
_TAG_BYTES, _LENGTH_BYTES, _NUMBER_BYTES, _UTF8_BYTES = 3, 5, 10, 4
_SPARE: Final = 1.25
_SPARE_BYTES: Final = 4096
_WHOLE: Final = 2**53
"""Above this a bound says no more than the type does."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Numbers that a field takes, both included, but for `low` where `above`; None where a side is open."""

    low: float | None = None
    high: float | None = None
    above: bool = False


def rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def default_number(field: FieldDescriptor) -> float | None:
    """What holds where an optional number is not set; None where the contract leaves that to the service."""
    options = field.GetOptions()
    if not options.HasExtension(options_pb2.default_number):
        return None
    default = float(options.Extensions[options_pb2.default_number])
    return default if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else int(default)


def number(message: Message, name: str) -> Any:
    """An optional number of a message, the contract's default where it is not set."""
    return getattr(message, name) if message.HasField(name) else _default(message.DESCRIPTOR, name)


@cache
def _default(descriptor: Any, name: str) -> float | None:
    return default_number(descriptor.fields_by_name[name])


def number_bounds(of_field: Any) -> Bounds:
    """The bounds in some ``FieldRules``; open on both sides where they are not of a number."""
    kind = of_field.WhichOneof("type")
    if kind is None or not hasattr(one := getattr(of_field, kind), "gte"):
        return Bounds()
    low = next((getattr(one, name) for name in ("gte", "gt") if one.HasField(name)), None)
    high = next((getattr(one, name) for name in ("lte", "lt") if one.HasField(name)), None)
    if isinstance(low, Message) or isinstance(high, Message):  # of a Duration or Timestamp
        return Bounds()
    return Bounds(low, high, above=one.HasField("gt"))


def most_items(field: FieldDescriptor) -> int | None:
    """How many entries a repeated field may have; None where the contract does not say."""
    repeated = rules(field).repeated
    if repeated.HasField("max_items"):
        return int(repeated.max_items)
    if repeated.unique and field.enum_type is not None:
        return len(field.enum_type.values)
    return None


def entries_apart(field: FieldDescriptor) -> bool:
    """Whether entries are not checked with the message that holds them: a batch's, and daily rows."""
    return bool(rules(field).repeated.items.ignore == validate_pb2.IGNORE_ALWAYS)


@cache
def expectation(field: FieldDescriptor, *, entry: bool = False) -> str:
    """What a field (or one `entry` of a repeated one) takes, ends a sentence: ``"1 to 90"``, ``"one of LOW, HIGH"``."""
    of_field = rules(field)
    if field.is_repeated and not entry:
        least = int(of_field.repeated.min_items)
        most = most_items(field)
        if most is None:
            return f"at least {least} entries"
        return f"{least} to {most} entries" if least else f"at most {most} entries"
    if field.is_repeated:
        of_field = of_field.repeated.items
    if field.enum_type is not None:
        refused = {0, *of_field.enum.not_in}
        numbers = (value.number for value in field.enum_type.values if value.number not in refused)
        return f"one of {', '.join(short_name(field.enum_type, number) for number in numbers)}"
    if field.message_type is not None:
        return "year, month and day" if field.message_type.full_name == _DATE else "a value"
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(of_field.string)
    return number_text(number_bounds(of_field), finite=field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE)


def short_name(kind: EnumDescriptor, number: int) -> str:
    """``"CPL"`` for METRIC_CPL, without the prefix that names share; the number where it has no name."""
    value = kind.values_by_number.get(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return f"{number}, which has no name" if value is None else value.name.removeprefix(prefix)


def largest_message(descriptor: Any, cap: int) -> int:
    """Bytes that a message of a type can have at most by its rules, some for fields of newer contracts; up to `cap`."""
    return min(cap, round(_SPARE * _largest(descriptor, cap)) + _SPARE_BYTES)


@cache
def _largest(descriptor: Any, cap: int) -> int:
    total = 0
    for field in descriptor.fields:
        one = min(cap, _TAG_BYTES + _largest_value(field, cap))
        many = 1 if not field.is_repeated else most_items(field) or cap
        total = min(cap, total + one * many)
    return total


def _largest_value(field: FieldDescriptor, cap: int) -> int:
    if field.message_type is not None:
        return _LENGTH_BYTES + _largest(field.message_type, cap)
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return _NUMBER_BYTES
    of_field = rules(field).repeated.items if field.is_repeated else rules(field)
    return _LENGTH_BYTES + (int(of_field.string.max_len) * _UTF8_BYTES or cap)


def _text(of_string: Any) -> str:
    least, most = int(of_string.min_len), int(of_string.max_len)
    length = f"{least} to {most} characters" if of_string.HasField("max_len") else "text"
    if not of_string.HasField("pattern"):
        return length
    if _CONTROL_CHARACTERS in of_string.pattern:
        return f"{length} without control characters"
    return f"{length} of the form {of_string.pattern}"


def number_text(bounds: Bounds, *, finite: bool) -> str:
    """``"1 to 90"``, ``"a finite number, above 0"``."""
    low, high = bounds.low, bounds.high
    kind = "a finite number" if finite else "a whole number"
    if high is not None and high < _WHOLE and low is not None:
        return f"{'above ' if bounds.above else ''}{low:.15g} to {high:.15g}"
    if low is not None:
        return f"{kind}, above {low:.15g}" if bounds.above else f"{kind}, {low:.15g} or more"
    return kind if high is None else f"{kind}, at most {high:.15g}"
