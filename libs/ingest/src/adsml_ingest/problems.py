"""What is wrong with an export: where, what was expected, and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adsml_common.domain.errors import FieldViolation, InvalidInput

_SHOWN_PER_KIND = 5
_SHOWN_VALUE = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place.

    Attributes
    ----------
    file
        Path as the caller gave it; empty for all files together.
    kind
        Stable word for what is wrong, e.g. ``"not_a_number"``; problems of one kind are counted together.
    what
        What is wrong, e.g. ``"is not a number"``.
    cure
        What to do about it.
    line
        1-based line of the file at which the row starts (row number for Parquet); None for the whole file.
    column
        The column as the file calls it.
    value
        The cell as it was written.
    place
        What `line` counts: ``"line"`` or ``"row"``.
    """

    file: str
    kind: str
    what: str
    cure: str
    line: int | None = None
    column: str | None = None
    value: str | None = None
    place: str = "line"

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

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.file else self.text


class Refusal(InvalidInput):
    """A whole file that can't be read any further.

    Attributes
    ----------
    problems
        Why.
    whole
        Whether nothing of the file may be loaded, not even the rows read before.
    """

    def __init__(self, *problems: Problem, whole: bool = False) -> None:
        self.problems, self.whole = problems, whole
        super().__init__([FieldViolation(problem.where, problem.text) for problem in problems])

    @classmethod
    def all_of(cls, *steps: Callable[[], object]) -> None:
        """Take steps, and raise what all of them refuse at once.

        Raises
        ------
        Refusal
            With the problems of every step that raised one.
        """
        problems: list[Problem] = []
        for step in steps:
            try:
                step()
            except Refusal as refusal:
                problems += refusal.problems
        if problems:
            raise cls(*problems)


class Problems:
    """Counts problems by kind and keeps the first few of each, so that a million bad rows need no memory."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str | None]] = Counter()
        self.shown: dict[tuple[str, str, str | None], list[Problem]] = {}

    def add(self, problem: Problem) -> None:
        """Count one, and keep it if it is among the first of its file, kind and column."""
        key = (problem.file, problem.kind, problem.column)
        self.counts[key] += 1
        if self.counts[key] <= _SHOWN_PER_KIND:
            self.shown.setdefault(key, []).append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several."""
        for problem in problems:
            self.add(problem)

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def total(self) -> int:
        """How many there were."""
        return self.counts.total()

    def first(self) -> list[Problem]:
        """The kept ones, in the order in which their kinds first appeared."""
        return [problem for kept in self.shown.values() for problem in kept]

    def violations(self) -> list[FieldViolation]:
        """The kept ones, and one line for those of each kind that were not kept."""
        found: list[FieldViolation] = []
        for key, kept in self.shown.items():
            found += [FieldViolation(problem.where, problem.text) for problem in kept]
            more = self.counts[key] - len(kept)
            if more:
                found.append(
                    FieldViolation(key[0], f"{more:,} more rows like {kept[-1].place} {kept[-1].line}")
                )
        return found

    def raise_if_any(self) -> None:
        """Raise `InvalidInput` if there are any."""
        if self:
            raise InvalidInput(self.violations())
