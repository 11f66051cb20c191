"""Checks a request by the rules of its contract: all violations at once, by dotted paths.

The rules are data (`rules`); here they are compiled, once for each type of message, into plain functions.
Protovalidate was weighed: its Python evaluates CEL expressions, and the contracts would have to carry its
annotations.

Daily rows are checked where they are read (`rows`), so that what is in order is read once only. When
something else is wrong, they are checked here too, so that a caller hears of everything at once.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from adsml_common.domain.errors import FieldViolation, InvalidInput
from adsml_common.serving.field_rules import MAX_FOUND, Check, Found, Free, Many, One, Rows, Rule
from adsml_common.serving.rows import daily_rows

Table: TypeAlias = Mapping[str, Mapping[str, Rule | Check]]
"""Full name of a message to its fields' rules. A key of ``oneof NAME`` with `REQUIRED` demands one of its
fields; a key of ``*`` holds a check of the message as a whole."""

REQUIRED: Final = Free()


class Validator:
    """Checks messages by a table of rules.

    Parameters
    ----------
    table
        The rules. A type of message that it does not know is not looked into.
    today
        The present day in UTC.
    """

    def __init__(self, table: Table, *, today: Callable[[], date] = lambda: datetime.now(UTC).date()) -> None:
        self.table = table
        self.today = today
        self._compiled: dict[str, tuple[Check, ...]] = {}

    def check(self, message: Message) -> None:
        """Check a request.

        Raises
        ------
        InvalidInput
            With everything that is wrong (the first 200).
        """
        if found := self.violations(message):
            raise InvalidInput(found)

    def violations(self, message: Message, path: str = "") -> Found:
        """Everything that is wrong with a message (the first 200); empty where nothing is.

        Parameters
        ----------
        message
            A request, or one entry of a batch.
        path
            Dotted path of the entry, e.g. ``subjects[3]``.
        """
        found: Found = []
        prefix = f"{path}." if path else ""
        for check in self.checks(message.DESCRIPTOR):
            check(message, prefix, found)
        if found:
            self._rows(message, prefix, found)
        return found[:MAX_FOUND]

    def checks(self, descriptor: Any) -> tuple[Check, ...]:
        """The compiled checks of a type of message."""
        name = descriptor.full_name
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = tuple(self._compile(descriptor))
            self._compiled[name] = compiled
        return compiled

    def _compile(self, descriptor: Any) -> list[Check]:
        checks: list[Check] = []
        for key, rule in self.table.get(descriptor.full_name, {}).items():
            if key.startswith("oneof "):
                oneof = descriptor.oneofs_by_name[key.removeprefix("oneof ")]
                checks.append(_choice(oneof.name, [field.name for field in oneof.fields]))
            elif callable(rule):
                checks.append(rule)
            elif not isinstance(rule, Free):
                checks.append(rule.compile(descriptor.fields_by_name[key], self))
        return checks

    def _rows(self, message: Any, path: str, found: Found) -> None:
        """What is wrong with daily rows anywhere in the message."""
        rules = self.table.get(message.DESCRIPTOR.full_name, {})
        for name, rule in rules.items():
            if len(found) >= MAX_FOUND:
                return
            if isinstance(rule, Rows) and len(getattr(message, name)) <= rule.most:
                where = f"{path}{name}"
                found.extend(daily_rows([message], name).violations(lambda _, at=where: at).get(0, ()))  # type: ignore[misc]
            elif isinstance(rule, One) and message.HasField(name):
                self._rows(getattr(message, name), f"{path}{name}.", found)
            elif isinstance(rule, Many) and not rule.apart and len(getattr(message, name)) <= rule.most:
                for index, entry in enumerate(getattr(message, name)):
                    self._rows(entry, f"{path}{name}[{index}].", found)


def _choice(name: str, fields: list[str]) -> Check:
    expected = " or ".join(fields)

    def check(message: Any, path: str, found: Found) -> None:
        if message.WhichOneof(name) is None:
            found.append(FieldViolation(path.removesuffix("."), f"is empty; set {expected}"))

    return check
