"""What a contract can say of one field, each compiled into a plain function."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Protocol, TypeAlias

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from adsml_common.domain.errors import FieldViolation
from adsml_common.serving.rows import FIRST_YEAR, LAST_YEAR

Found: TypeAlias = list[FieldViolation]
Check: TypeAlias = Callable[[Any, str, Found], None]
"""Looks at a message whose dotted path is given (with a dot at its end, or empty)."""

MAX_FOUND: Final = 200
_TOMORROW: Final = timedelta(days=1)


class Compiler(Protocol):
    """Knows the rules of all messages, and the day."""

    @property
    def today(self) -> Callable[[], date]:
        """The present day in UTC."""

    def checks(self, descriptor: Any) -> tuple[Check, ...]:
        """The compiled checks of a type of message."""


class Rule(Protocol):
    """What a contract says of one field."""

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """The check of this field in a message."""


@dataclass(frozen=True, slots=True)
class Free:
    """Anything goes: a boolean, a seed."""

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Nothing to check."""
        return _nothing


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds, both included unless `above` says that the lower one is not.

    `zero`: 0 is fine too, for fields where it means the default. Fields with presence are looked at when set.
    """

    low: float
    high: float = math.inf
    above: bool = False
    zero: bool = False
    required: bool = False

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check the bounds."""
        name, low, high, above, zero = field.name, self.low, self.high, self.above, self.zero
        presence, required = field.has_presence, self.required
        lower = f"above {low:.15g}" if above else f"{low:.15g} or more"
        if math.isfinite(high):
            expected = f"{'above ' if above else ''}{low:.15g} to {high:.15g}"
        else:
            expected = f"a finite number, {lower}"

        def check(message: Any, path: str, found: Found) -> None:
            if presence and not message.HasField(name):
                if required:
                    found.append(FieldViolation(path + name, f"is not set; expected {expected}"))
                return
            value = getattr(message, name)
            if zero and value == 0:
                return
            # Written so that NaN fails.
            if (low < value if above else low <= value) and value <= high and value != math.inf:
                return
            found.append(FieldViolation(path + name, f"is {value:.15g}; expected {expected}"))

        return check


@dataclass(frozen=True, slots=True)
class Text:
    """A string of so many characters; control characters only (tab, line end) where it may have `lines`."""

    least: int
    most: int
    lines: bool = False

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check length and characters."""
        name = field.name
        each = _text_problem(self.least, self.most, lines=self.lines)

        def check(message: Any, path: str, found: Found) -> None:
            if (problem := each(getattr(message, name))) is not None:
                found.append(FieldViolation(path + name, problem))

        return check


@dataclass(frozen=True, slots=True)
class Texts:
    """Up to `most` strings of 1 to `length` characters."""

    most: int
    length: int

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check number, length and characters."""
        name, most = field.name, self.most
        each = _text_problem(1, self.length, lines=False)

        def check(message: Any, path: str, found: Found) -> None:
            values = getattr(message, name)
            if len(values) > most:
                found.append(
                    FieldViolation(path + name, f"has {len(values)} entries; expected at most {most}")
                )
                return
            for index, value in enumerate(values):
                if (problem := each(value)) is not None:
                    found.append(FieldViolation(f"{path}{name}[{index}]", problem))

        return check


@dataclass(frozen=True, slots=True)
class Numbers:
    """Up to `most` numbers of at least `low`."""

    most: int
    low: int

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check number and bound."""
        name, most, low = field.name, self.most, self.low

        def check(message: Any, path: str, found: Found) -> None:
            values = getattr(message, name)
            if len(values) > most:
                found.append(
                    FieldViolation(path + name, f"has {len(values)} entries; expected at most {most}")
                )
            elif values and min(values) < low:
                found.extend(
                    FieldViolation(f"{path}{name}[{index}]", f"is {value}; expected {low} or more")
                    for index, value in enumerate(values)
                    if value < low
                )

        return check


@dataclass(frozen=True, slots=True)
class Word:
    """One of an enum's names."""

    required: bool = False
    refused: tuple[str, ...] = ()

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check that the number has a name."""
        name = field.name
        kind = _enum(field)
        allowed, expected = _words(kind, zero=not self.required, refused=self.refused)

        def check(message: Any, path: str, found: Found) -> None:
            value = getattr(message, name)
            if value not in allowed:
                said = "is not set" if value == 0 else f"is {_named(kind, value)}"
                found.append(FieldViolation(path + name, f"{said}; expected {expected}"))

        return check


@dataclass(frozen=True, slots=True)
class Words:
    """Several of an enum's names, each at most once."""

    refused: tuple[str, ...] = ()

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check that each number has a name and comes once."""
        name = field.name
        kind = _enum(field)
        allowed, expected = _words(kind, zero=False, refused=self.refused)

        def check(message: Any, path: str, found: Found) -> None:
            seen: set[int] = set()
            for index, value in enumerate(getattr(message, name)):
                shown = _named(kind, value)
                if value not in allowed:
                    found.append(FieldViolation(f"{path}{name}[{index}]", f"is {shown}; expected {expected}"))
                elif value in seen:
                    found.append(
                        FieldViolation(f"{path}{name}[{index}]", f"is {shown} again; name each once")
                    )
                seen.add(value)
                if len(found) >= MAX_FOUND:
                    return

        return check


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar; not after tomorrow (in UTC, as today in some zone may be) where `past`."""

    required: bool = False
    past: bool = False

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check that there is such a day."""
        name, required = field.name, self.required
        each = _day_problem(compiler.today if self.past else None)

        def check(message: Any, path: str, found: Found) -> None:
            if not message.HasField(name):
                if required:
                    found.append(FieldViolation(path + name, "is not set; expected year, month and day"))
            elif (problem := each(getattr(message, name))) is not None:
                found.append(FieldViolation(path + name, problem))

        return check


@dataclass(frozen=True, slots=True)
class Days:
    """Up to `most` days of the calendar."""

    most: int

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check number and days."""
        name, most = field.name, self.most
        each = _day_problem(None)

        def check(message: Any, path: str, found: Found) -> None:
            days = getattr(message, name)
            if len(days) > most:
                found.append(FieldViolation(path + name, f"has {len(days)} days; expected at most {most}"))
                return
            for index, one in enumerate(days):
                if (problem := each(one)) is not None:
                    found.append(FieldViolation(f"{path}{name}[{index}]", problem))

        return check


@dataclass(frozen=True, slots=True)
class One:
    """A message, checked by its own rules where it is set."""

    required: bool = False

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check it by its own rules."""
        name, required, checks = field.name, self.required, compiler.checks(field.message_type)

        def check(message: Any, path: str, found: Found) -> None:
            if message.HasField(name):
                inside = getattr(message, name)
                for one in checks:
                    one(inside, f"{path}{name}.", found)
            elif required:
                found.append(FieldViolation(path + name, "is not set; it is required"))

        return check


@dataclass(frozen=True, slots=True)
class Many:
    """So many messages, each checked by its own rules.

    `apart`: the entries of a batch, which fail one by one; the handler checks each with `violations`.
    """

    least: int
    most: int
    apart: bool = False

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check number and, unless apart, entries."""
        name, least, most = field.name, self.least, self.most
        checks = () if self.apart else compiler.checks(field.message_type)

        def check(message: Any, path: str, found: Found) -> None:
            entries = getattr(message, name)
            if not least <= len(entries) <= most:
                expected = f"{least} to {most}" if least else f"at most {most}"
                found.append(FieldViolation(path + name, f"has {len(entries)} entries; expected {expected}"))
                return
            if checks:
                for index, entry in enumerate(entries):
                    for one in checks:
                        one(entry, f"{path}{name}[{index}].", found)
                    if len(found) >= MAX_FOUND:
                        return

        return check


@dataclass(frozen=True, slots=True)
class Rows:
    """So many daily rows. What stands in them is checked where they are read."""

    least: int
    most: int

    def compile(self, field: FieldDescriptor, compiler: Compiler) -> Check:
        """Check the number."""
        name, least, most = field.name, self.least, self.most

        def check(message: Any, path: str, found: Found) -> None:
            count = len(getattr(message, name))
            if not least <= count <= most:
                expected = f"{least} to {most}" if least else f"at most {most}"
                found.append(FieldViolation(path + name, f"has {count} rows; expected {expected}"))

        return check


def _nothing(message: Any, path: str, found: Found) -> None:
    """Find nothing wrong."""


def _text_problem(least: int, most: int, *, lines: bool) -> Callable[[str], str | None]:
    def problem(value: str) -> str | None:
        if not least <= len(value) <= most:
            if not value:
                return f"is empty; expected {least} to {most} characters"
            return f"has {len(value)} characters; expected {least} to {most}"
        if not value.isprintable() and not all(
            one.isprintable() or one.isspace() if lines else not _is_control(one) for one in value
        ):
            return "has control characters"
        return None

    return problem


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0


def _day_problem(today: Callable[[], date] | None) -> Callable[[Any], str | None]:
    def problem(value: Any) -> str | None:
        try:
            found = date(value.year, value.month, value.day)
        except (ValueError, OverflowError):
            found = date.min
        shown = f"is {value.year}-{value.month:02d}-{value.day:02d}"
        if not FIRST_YEAR <= found.year <= LAST_YEAR:
            return f"{shown}; expected a day of the calendar from {FIRST_YEAR} to {LAST_YEAR}"
        if today is not None and found > today() + _TOMORROW:
            return f"{shown}, which lies in the future"
        return None

    return problem


def _words(kind: EnumDescriptor, *, zero: bool, refused: tuple[str, ...]) -> tuple[frozenset[int], str]:
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    named = {
        value.number: value.name.removeprefix(prefix)
        for value in kind.values
        if value.number != 0 and value.name.removeprefix(prefix) not in refused
    }
    return frozenset(named) | ({0} if zero else set()), f"one of {', '.join(named.values())}"


def _enum(field: FieldDescriptor) -> EnumDescriptor:
    if field.enum_type is None:
        raise TypeError(f"{field.full_name} is no enum")
    return field.enum_type


def _named(kind: EnumDescriptor, number: int) -> str:
    value = kind.values_by_number.get(number)
    return f"{number}, which has no name" if value is None else value.name
