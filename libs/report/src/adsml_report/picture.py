"""What pictures that stand by themselves are made of: scalable vector graphics with their colours written in.

The report's own charts (`svg`) take theirs from the page around them; these are opened, mailed or put into a
document alone. Some lines of drawing do not earn a plotting library.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from adsml_report.svg import ticks

INK: Final = "#1f2933"
FAINT: Final = "#d5dbe1"
_FONT: Final = "Helvetica, Arial, DejaVu Sans, sans-serif"


@dataclass(frozen=True, slots=True)
class Plot:
    """The area that daily values are drawn in: days and values to the picture's units.

    Attributes
    ----------
    days
        How many; the first and the last lie on the edges.
    low, high
        Values at the lower and the upper edge.
    left, right, top, bottom
        The edges.
    """

    days: int
    low: float
    high: float
    left: float
    right: float
    top: float
    bottom: float

    def x(self, day: float) -> float:
        """Of a day, counted from 0."""
        return self.left + (self.right - self.left) * day / max(self.days - 1, 1)

    def y(self, value: float) -> float:
        """Of a value; what lies outside is drawn at the edge."""
        share = (self.high - value) / (self.high - self.low)
        return self.top + (self.bottom - self.top) * min(max(share, 0.0), 1.0)

    def line(self, values: Sequence[float], style: str) -> str:
        """A line that is broken where a value is missing; a value alone between two gaps is a dot."""
        out: list[str] = []
        for piece in _stretches([math.isfinite(value) for value in values]):
            points = [f"{self.x(day):.1f},{self.y(values[day]):.1f}" for day in piece]
            out.append(f"M{' L'.join(points)}" + (" h0.1" if len(points) == 1 else ""))
        return f"<path d='{' '.join(out)}' fill='none' stroke-linecap='round' {style}/>"

    def band(self, lower: Sequence[float], upper: Sequence[float], style: str) -> str:
        """Between two lines, one polygon for each unbroken stretch; an infinite end goes to the edge."""
        known = [not math.isnan(a) and not math.isnan(b) for a, b in zip(lower, upper, strict=True)]
        out = []
        for piece in _stretches(known):
            there = [f"{self.x(day):.1f},{self.y(upper[day]):.1f}" for day in piece]
            back = [f"{self.x(day):.1f},{self.y(lower[day]):.1f}" for day in reversed(piece)]
            out.append(f"<polygon points='{' '.join((*there, *back))}' {style}/>")
        return "".join(out)

    def grid(self) -> str:
        """Lines at round values, with the values."""
        out = []
        for value in ticks(self.low, self.high):
            y = self.y(value)
            out.append(
                f"<line x1='{self.left}' x2='{self.right}' y1='{y:.1f}' y2='{y:.1f}' stroke='{FAINT}' "
                f"stroke-width='0.7'/>{text(self.left - 8, y + 4, f'{value:,.6g}', anchor='end', size=11)}"
            )
        return "".join(out)


def text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    """Words at a place; they may hold anything."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' font-weight='{weight}' "
        f"fill='{INK}' font-family='{_FONT}'>{escape(words)}</text>"
    )


def picture(width: float, height: float, *, title: str, parts: Sequence[str]) -> str:
    """The whole, on white.

    Parameters
    ----------
    width, height
        In the units of the parts; shown at this many pixels where nothing says otherwise.
    title
        For who can't see it.
    parts
        Drawn in this order.
    """
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' width='{width:g}' "
        f"height='{height:g}' role='img' aria-label='{escape(title, quote=True)}'>"
        "<rect width='100%' height='100%' fill='white'/>\n" + "\n".join(parts) + "</svg>\n"
    )


def _stretches(known: Sequence[bool]) -> list[list[int]]:
    """Unbroken runs of days."""
    out: list[list[int]] = []
    for day, there in enumerate(known):
        if there and out and out[-1][-1] == day - 1:
            out[-1].append(day)
        elif there:
            out.append([day])
    return out
