"""Finds the values of some fields anywhere in messages of one type."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


@dataclass(slots=True)
class _Plan:
    """Which fields of a message to collect, and which to look into."""

    values: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    inside: list[tuple[str, "_Plan"]] = field(default_factory=list)
    inside_each: list[tuple[str, "_Plan"]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.values or self.lists or self.inside or self.inside_each)


class FieldCollector:
    """Collects the values of `wanted` fields of messages of one type, however deep they lie.

    The way to them is worked out once, from the contract, so that a message is only looked into where there can be
    something.
    """

    def __init__(self, kind: type[Message], wanted: Callable[[FieldDescriptor], bool]) -> None:
        self._plan = _plan(kind().DESCRIPTOR, wanted, ())

    def __bool__(self) -> bool:
        """Whether there can be anything to find."""
        return bool(self._plan)

    def __call__(self, message: Message) -> list[Any]:
        """The values, in the order of the contract; unset ones of plain fields as their default."""
        found: list[Any] = []
        _collect(self._plan, message, found)
        return found


def _plan(descriptor: Any, wanted: Callable[[FieldDescriptor], bool], above: tuple[str, ...]) -> _Plan:
    plan = _Plan()
    for one in descriptor.fields:
        if wanted(one):
            (plan.lists if one.is_repeated else plan.values).append(one.name)
        elif one.message_type is not None and one.message_type.full_name not in above:
            if one.message_type.GetOptions().map_entry:
                continue
            inside = _plan(one.message_type, wanted, (*above, descriptor.full_name))
            if inside:
                (plan.inside_each if one.is_repeated else plan.inside).append((one.name, inside))
    return plan


def _collect(plan: _Plan, message: Message, found: list[Any]) -> None:
    found.extend(getattr(message, name) for name in plan.values)
    for name in plan.lists:
        found.extend(getattr(message, name))
    for name, inside in plan.inside:
        if message.HasField(name):
            _collect(inside, getattr(message, name), found)
    for name, inside in plan.inside_each:
        for one in getattr(message, name):
            _collect(inside, one, found)
