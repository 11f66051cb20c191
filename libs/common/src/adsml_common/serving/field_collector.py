"""Finds the values of some fields anywhere in messages of one type."""

from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_Plan: TypeAlias = "list[tuple[str, bool, _Plan | None]]"
"""Names of fields, whether they are repeated, and what to look for inside; None: collect the field itself."""


class FieldCollector:
    """Collects the values of `wanted` fields of messages of one type, however deep they lie.

    The way to them is worked out once, from the contract, so that a message is only looked into where there can be
    something.
    """

    def __init__(self, descriptor: Any, wanted: Callable[[FieldDescriptor], bool]) -> None:
        self._plan = _plan(descriptor, wanted, ())

    def __call__(self, message: Message) -> list[Any]:
        """The values, in the order of the contract; unset ones of plain fields as their default."""
        found: list[Any] = []
        _collect(self._plan, message, found)
        return found


def _plan(descriptor: Any, wanted: Callable[[FieldDescriptor], bool], above: tuple[str, ...]) -> _Plan:
    plan: _Plan = []
    for one in descriptor.fields:
        if wanted(one):
            plan.append((one.name, one.is_repeated, None))
        elif one.message_type is not None and one.message_type.full_name not in above:
            if one.message_type.GetOptions().map_entry:
                continue
            inside = _plan(one.message_type, wanted, (*above, descriptor.full_name))
            if inside:
                plan.append((one.name, one.is_repeated, inside))
    return plan


def _collect(plan: _Plan, message: Message, found: list[Any]) -> None:
    for name, repeated, inside in plan:
        if inside is None:
            value = getattr(message, name)
            found.extend(value if repeated else (value,))
        elif repeated:
            for one in getattr(message, name):
                _collect(inside, one, found)
        elif message.HasField(name):
            _collect(inside, getattr(message, name), found)
