"""What a report says, as plain data: families fill it, `adsml_report.page` draws it.

Nothing in here is HTML. Every text is shown as it is, whatever characters it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import ClassVar, TypeAlias

Values: TypeAlias = "Sequence[float | None]"
"""One per day; None where there is none, and the line is broken."""


class Tone(StrEnum):
    """What a word means to the reader; shown by a sign and the word, never by colour alone."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    BAD = "bad"
    PLAIN = "plain"


class Look(StrEnum):
    """How a line is drawn; later ones lie behind."""

    ACTUAL = "actual"
    EXPECTED = "expected"
    EARLIER = "earlier"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Chip:
    """A word that stands out, such as a tier or a verdict."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Detailed:
    """A text with smaller ones below it, and where on the page there is more (`Entry.key`)."""

    text: str
    details: tuple[str, ...] = ()
    link: str | None = None


Cell: TypeAlias = "str | date | Chip | Detailed | None"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a cell per column, and the campaign (id) it belongs to; None: shown for every campaign."""

    cells: tuple[Cell, ...]
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; columns in `numbers` are aligned to the right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: frozenset[str] = frozenset()
    kind: ClassVar = "table"


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
    look: Look = Look.EXPECTED


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
    """A series by day, from `first_day` on; `unit` is the vertical axis', such as ``"leads per day"``."""

    title: str
    unit: str
    first_day: date
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    moments: tuple[Moment, ...] = ()
    kind: ClassVar = "chart"

    @property
    def days(self) -> int:
        """The longest line's."""
        return max((len(line.values) for line in self.lines), default=1)

    @property
    def remarks(self) -> list[tuple[date, str]]:
        """What is said of its days."""
        moments = [(one.day, one.text) for one in self.moments]
        return moments + [(one.day, one.text) for one in self.marks]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How sure answers were against how often they were right: one ``(count, sure, right)`` per bin, shares."""

    title: str
    bins: tuple[tuple[int, float, float], ...]
    kind: ClassVar = "reliability"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number in large letters."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers side by side."""

    figures: tuple[Figure, ...]
    kind: ClassVar = "figures"


@dataclass(frozen=True, slots=True)
class Entry:
    """What opens on demand: a summary that says the answer, and more inside."""

    title: str
    summary: str
    blocks: "tuple[Block, ...]"
    chip: Chip | None = None
    campaign: str | None = None  # as of `Row`
    key: str = ""  # its anchor, of its own on the page; empty where nothing links to it
    kind: ClassVar = "entry"


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence; a caution is framed."""

    text: str
    caution: bool = False
    kind: ClassVar = "note"


@dataclass(frozen=True, slots=True)
class PerCampaign:
    """Blocks about the account, and those that take their place when a campaign (id) is chosen."""

    account: "tuple[Block, ...]"
    campaigns: "Mapping[str, tuple[Block, ...]]"
    kind: ClassVar = "percampaign"


Block: TypeAlias = "Table | Chart | Reliability | Figures | Entry | Note | PerCampaign"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence for the first screen."""

    head: str  # what it is about, in a few words
    text: str  # the rest of the sentence
    tone: Tone
    weekly: float | None  # money in it a week, by which sentences are ranked; None: it comes last
    link: str  # `Entry.key` or `Section.key` of its picture
    campaign: str | None = None  # as of `Row`


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    key: str  # its anchor: lower-case letters and hyphens
    title: str
    intro: str  # what the reader is looking at, in a sentence or two
    blocks: tuple[Block, ...] = ()
    rank: int = 0  # sections come by it, the lowest first
    findings: tuple[
        Finding, ...
    ] = ()  # what of it belongs on the first screen, two or three sentences at most
    behind: tuple[Block, ...] = ()  # what answered and how well it was measured; shown at the end of the page
