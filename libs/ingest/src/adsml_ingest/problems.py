"""What is wrong with an export: where, what was expected, and what to do about it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adsml_common.domain.errors import FieldViolation, InvalidInput

_SHOWN_PER_KIND = 5
_SHOWN_VALUE = 60


class BadCell(ValueError):
    """A cell that can't be what its column holds; `kind`, `what` and `cure` are those of a `Problem`."""

    def __init__(self, kind: str, what: str, cure: str) -> None:
        super().__init__(what)
        self.kind, self.what, self.cure = kind, what, cure


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place, e.g. ``what`` "is not a number" with its ``cure``."""

    file: str  # as the caller gave it; empty for all files together
    kind: str  # stable word, such as "not_a_number": problems of one kind are counted together
    what: str
    cure: str
    line: int | None = None  # at which the row starts, from 1; None for the whole file
    column: str | None = None  # as the file calls it
    value: str | None = None  # as written
    place: str = "line"  # what `line` counts: lines, or rows of a file without lines

    @property
    def where(self) -> str:
        """File and line, e.g. ``"ads.csv, line 17"``."""
        return self.file if self.line is None else f"{self.file}, {self.place} {self.line}"

    @property
    def text(self) -> str:
        """One sentence without the place, e.g. ``"spend '1.250,50' is not a number; ..."``."""
        subject = self.column or ""
        if self.value is not None:
            shown = self.value if len(self.value) <= _SHOWN_VALUE else self.value[:_SHOWN_VALUE] + "..."
            subject = f"{subject} '{shown}'".strip()
        said = f"{subject} {self.what}".strip()
        return f"{said}; {self.cure}" if self.cure else said


class Refusal(InvalidInput):
    """A file that can't be read any further; if `whole`, not even the rows read before may be loaded."""

    def __init__(self, *problems: Problem, whole: bool = False) -> None:
        self.problems, self.whole = problems, whole
        super().__init__([FieldViolation(problem.where, problem.text) for problem in problems])

    @classmethod
    def all_of(cls, *steps: Callable[[], Any]) -> list[Any]:
        """What every step gives; raises what all of them refuse as one `Refusal`."""
        problems: list[Problem] = []
        results: list[Any] = []
        for step in steps:
            try:
                results.append(step())
            except Refusal as refusal:
                problems += refusal.problems
        if problems:
            raise cls(*problems)
        return results


class Problems:
    """Counts problems by file, kind and column and keeps the first few: a million bad rows need no memory."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str | None]] = Counter()
        self._shown: dict[tuple[str, str, str | None], list[Problem]] = {}

    def add(self, *problems: Problem) -> None:
        """Count some, and keep them if they are among the first of their kind."""
        for problem in problems:
            key = (problem.file, problem.kind, problem.column)
            self._counts[key] += 1
            if self._counts[key] <= _SHOWN_PER_KIND:
                self._shown.setdefault(key, []).append(problem)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def violations(self) -> list[FieldViolation]:
        """The kept ones, and one line for those of each kind that were not kept."""
        found: list[FieldViolation] = []
        for key, kept in self._shown.items():
            found += [FieldViolation(problem.where, problem.text) for problem in kept]
            more = self._counts[key] - len(kept)
            if more:
                last = f"{kept[-1].place} {kept[-1].line}"
                found.append(FieldViolation(key[0], f"{more:,} more rows like {last}"))
        return found

    def texts(self) -> tuple[str, ...]:
        """As `violations`, each a line of text."""
        return tuple(f"{one.path}: {one.description}".removeprefix(": ") for one in self.violations())

    def raise_if_any(self) -> None:
        """Raise `InvalidInput` if there are any."""
        if self:
            raise InvalidInput(self.violations())
