"""Checks a request by the rules that its contract carries (`buf.validate`): all violations, by dotted paths.

Beside protovalidate's rules every ``google.type.Date`` must be a day of the calendar, and lists are measured first,
so that what a hostile request can make us say is bounded. Daily rows are checked where they are read (`rows`): as
columns they cost a tenth. When something else is wrong they are checked here too, so that a caller hears of
everything at once.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache
from typing import Any, Final, TypeAlias

import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from adsml_common.domain.errors import FieldViolation, InvalidInput
from adsml_common.serving import contract_rules
from adsml_common.serving.rows import FIRST_YEAR, LAST_YEAR, daily_rows

MAX_VIOLATIONS: Final = 200
_SHOWN: Final = 80
_DATE: Final = "google.type.Date"
_ROW: Final = "adsml.common.v1.DailyMetrics"

_log = logging.getLogger(__name__)
_validator = protovalidate.Validator()

Descriptor: TypeAlias = Any
"""A message type's; protobuf has two classes of it, in Python and in C."""

_Plan: TypeAlias = tuple[tuple[str, int | None, Any], ...]
"""What is looked at in a message beside its rules: a field, how many entries it may have (None: no list), and the plan
of what is in it (None: it must be a day of the calendar)."""


def check(message: Message) -> None:
    """Raise `InvalidInput` with everything that is wrong with a request (the first 200)."""
    if wrong := violations(message):
        raise InvalidInput(wrong)


def violations(message: Message, path: str = "") -> list[FieldViolation]:
    """Everything that is wrong with a message (the first 200); `path` is that of a batch's entry, ``subjects[3]``."""
    prefix = f"{path}." if path else ""
    wrong: list[FieldViolation] = []
    _walk(_plan(message.DESCRIPTOR), message, prefix, wrong)
    if wrong:
        message = _without_long_lists(message)
    try:
        by_rule = _validator.collect_violations(message)
    except protovalidate.EvaluationError as error:
        _log.info("a rule of %s could not be evaluated: %s", message.DESCRIPTOR.full_name, error)
        return [*wrong, FieldViolation(path, "holds values that the contract's rules can't be applied to")]
    if not by_rule and not wrong:
        return []
    by_path = {one.path: one for one in wrong}
    for one in by_rule:
        if len(by_path) >= MAX_VIOLATIONS:
            break
        found = _described(one, message.DESCRIPTOR, prefix)
        by_path.setdefault(found.path, found)
    everything = list(by_path.values())
    if len(everything) < MAX_VIOLATIONS:
        everything += _row_violations(message, prefix)
    return everything[:MAX_VIOLATIONS]


def entry_violations(entries: Sequence[Message], path: str) -> dict[int, list[FieldViolation]]:
    """What is wrong with the entries of a batch at `path`, by their place; those in order are absent."""
    if not entries:
        return {}
    plan = _plan(entries[0].DESCRIPTOR)
    collect = _validator.collect_violations
    wrong: dict[int, list[FieldViolation]] = {}
    suspects: list[FieldViolation] = []
    for index, entry in enumerate(entries):
        _walk(plan, entry, "", suspects)
        # Told in full only where there is something to tell: most entries are in order, and there may be many.
        if suspects or _fails(collect, entry):
            wrong[index] = violations(entry, f"{path}[{index}]")
            suspects.clear()
    return wrong


def require_rules(descriptor: Descriptor) -> None:
    """Compile what is checked of a message now, not at the first request; raises where a rule doesn't fit its field."""
    _plan(descriptor)
    _validator.collect_violations(message_factory.GetMessageClass(descriptor)(), fail_fast=True)


def _fails(collect: Callable[[Message], list[protovalidate.Violation]], entry: Message) -> bool:
    try:
        return bool(collect(entry))
    except protovalidate.EvaluationError:
        return True


def _described(violation: protovalidate.Violation, descriptor: Descriptor, prefix: str) -> FieldViolation:
    proto = violation.proto
    path, field, entry, oneof = prefix, None, False, None
    within: Descriptor | None = descriptor
    for element in proto.field.elements if proto.field is not None else ():
        name = element.field_name
        if within is not None and name in within.oneofs_by_name and name not in within.fields_by_name:
            oneof = within.oneofs_by_name[name]
            break
        field = None if within is None else within.fields_by_name.get(name)
        within = None if field is None else field.message_type
        entry = element.subscript is not None
        subscript = f"[{element.subscript.value}]" if element.subscript is not None else ""
        path = f"{path}{name}{subscript}."
    path = path.removesuffix(".")
    if oneof is not None:
        choices = " or ".join(one.name for one in oneof.fields)
        return FieldViolation(path, f"is empty; set {choices}")
    rules = {one.field_name for one in (() if proto.rule is None else proto.rule.elements)}
    if field is None or "cel" in rules or violation.rule_value is None:
        return FieldViolation(path, proto.message)
    if proto.rule_id == "required":
        if field.message_type is not None and field.message_type.full_name != _DATE:
            return FieldViolation(path, "is not set; it is required")
        return FieldViolation(path, f"is not set; expected {contract_rules.expectation(field)}")
    if proto.rule_id == "repeated.unique":
        return FieldViolation(path, "names one of its entries again; name each once")
    what = _shown(field, violation.field_value, entry=entry, rule=proto.rule_id)
    expected = contract_rules.expectation(field, entry=entry)
    return FieldViolation(path, f"{what}; expected {expected}")


def _shown(field: FieldDescriptor, value: Any, *, entry: bool, rule: str) -> str:
    if field.is_repeated and not entry:
        return f"has {len(value)} entries"
    if field.enum_type is not None:
        if value == 0 and not entry:
            return "is not set"
        return f"is {contract_rules.short_name(field.enum_type, value)}"
    if isinstance(value, str):
        if not value:
            return "is empty"
        if rule.endswith("_len"):
            return f"has {len(value)} characters"
        return f"is {value!r}" if len(value) <= _SHOWN else f"is {value[:_SHOWN]!r}..."
    if isinstance(value, float):
        return f"is {value:.15g}"
    return f"is {value}"


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    """The plan of a type of message; compiled once. Types do not hold themselves."""
    plan: list[tuple[str, int | None, _Plan | None]] = []
    for field in descriptor.fields:
        kind = field.message_type
        inner: _Plan | None = ()
        if kind is not None and kind.full_name == _DATE:
            inner = None
        elif kind is not None and kind.full_name.startswith("adsml."):
            apart = field.is_repeated and contract_rules.entries_apart(field)
            inner = () if apart else _plan(kind)
        most = (contract_rules.most_items(field) or sys.maxsize) if field.is_repeated else None
        if inner != () or (most is not None and most < sys.maxsize):
            plan.append((field.name, most, inner))
    return tuple(plan)


def _walk(plan: _Plan, message: Any, path: str, wrong: list[FieldViolation]) -> None:
    """Note what is wrong in a message whose dotted path is given (with a dot at its end, or empty)."""
    for name, most, inner in plan:
        if most is None:
            if message.HasField(name):
                _look(inner, getattr(message, name), f"{path}{name}", wrong)
            continue
        entries = getattr(message, name)
        if len(entries) > most:
            expected = contract_rules.expectation(message.DESCRIPTOR.fields_by_name[name])
            wrong.append(FieldViolation(path + name, f"has {len(entries)} entries; expected {expected}"))
        elif inner != ():
            for index, entry in enumerate(entries):
                _look(inner, entry, f"{path}{name}[{index}]", wrong)
                if len(wrong) >= MAX_VIOLATIONS:
                    return


def _look(inner: _Plan | None, value: Any, path: str, wrong: list[FieldViolation]) -> None:
    if inner is not None:
        _walk(inner, value, f"{path}.", wrong)
        return
    try:
        year = date(value.year, value.month, value.day).year
    except (ValueError, OverflowError):
        year = 0
    if not FIRST_YEAR <= year <= LAST_YEAR:
        shown = f"is {value.year}-{value.month:02d}-{value.day:02d}"
        expected = f"expected a day of the calendar from {FIRST_YEAR} to {LAST_YEAR}"
        wrong.append(FieldViolation(path, f"{shown}; {expected}"))


def _lists(plan: _Plan, message: Any, path: str) -> Iterator[tuple[Any, str, str, int]]:
    """The lists that are looked at, in a message and those in it: the message, the list's name and path, its limit."""
    for name, most, inner in plan:
        value = getattr(message, name)
        if most is not None:
            yield message, name, f"{path}{name}", most
            for index, entry in enumerate(value if inner else ()):
                yield from _lists(inner or (), entry, f"{path}{name}[{index}].")
        elif inner and message.HasField(name):
            yield from _lists(inner, value, f"{path}{name}.")


def _without_long_lists(message: Message) -> Message:
    """A copy without the lists that are too long: what stands in them is not worth a look."""
    copy = type(message)()
    copy.CopyFrom(message)
    for holder, name, _, most in _lists(_plan(message.DESCRIPTOR), copy, ""):
        if len(getattr(holder, name)) > most:
            holder.ClearField(name)
    return copy


def _row_violations(message: Message, prefix: str) -> Iterator[FieldViolation]:
    for holder, name, path, _ in _lists(_plan(message.DESCRIPTOR), message, prefix):
        kind = holder.DESCRIPTOR.fields_by_name[name].message_type
        if kind is not None and kind.full_name == _ROW:
            yield from _violations_of_rows(holder, name, path)


def _violations_of_rows(holder: Message, name: str, path: str) -> Sequence[FieldViolation]:
    return daily_rows([holder], name).violations(lambda _: path, needed=()).get(0, ())
