"""What a report says, as plain data: families fill it, `adsml_report.page` draws it.

Nothing in here is HTML. Every text is shown as it is, whatever characters it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TypeAlias

Values: TypeAlias = "Sequence[float | None]"
"""One per day; None where there is none, and the line is broken."""


class Tone(StrEnum):
    """What a word means to the reader; always shown with the word, never by colour alone."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    BAD = "bad"
    PLAIN = "plain"


class Look(StrEnum):
    """How a line is drawn."""

    ACTUAL = "actual"
    EXPECTED = "expected"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Chip:
    """A word that stands out, such as a tier or a verdict."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Listing:
    """Several short texts in one cell, one below the other."""

    items: tuple[str, ...]


Cell: TypeAlias = "str | Chip | Listing | None"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    cells
        One per column; None for an empty one.
    campaign
        Id of the campaign it belongs to; None for the account's own, which every filter shows.
    """

    cells: tuple[Cell, ...]
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption, which is read out to who can't see it.

    Attributes
    ----------
    numbers
        Columns aligned to the right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Line:
    """A line through a chart."""

    name: str
    values: Values
    look: Look = Look.ACTUAL


@dataclass(frozen=True, slots=True)
class Band:
    """A range around a line; a day without one of the two ends has none."""

    name: str
    lower: Values
    upper: Values


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that stands out on a day, with its words."""

    day: date
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A day at which something begins: the change, the forecast."""

    day: date
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A series by day.

    Attributes
    ----------
    title
        Above it, and read out.
    unit
        Of the vertical axis, such as ``"leads per day"`` or ``"EUR"``.
    first_day
        Of every line and band.
    """

    title: str
    unit: str
    first_day: date
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    moments: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class Reliability:
    """How sure answers were against how often they were right: one ``(count, sure, right)`` per bin, shares."""

    title: str
    bins: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number worth a tile of its own."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Tiles in a row."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that opens on demand: one entity's forecast, one alarm, one change.

    Attributes
    ----------
    title
        What it is about, such as an entity's name.
    summary
        The answer in one line: what a reader learns without opening it.
    chip
        A word that stands out beside the title.
    campaign
        As of `Row`.
    """

    title: str
    summary: str
    blocks: "tuple[Block, ...]"
    chip: Chip | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence; a caution is framed."""

    text: str
    caution: bool = False


Block: TypeAlias = "Table | Chart | Reliability | Figures | Entry | Note"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    key
        Its anchor: lower-case letters and hyphens.
    title
        Its heading.
    intro
        What the reader is looking at, in a sentence or two.
    """

    key: str
    title: str
    intro: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)
