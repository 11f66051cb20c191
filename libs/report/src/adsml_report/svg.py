"""Draws charts as SVG that takes its colours from the page: light, dark and print look alike.

Lines differ in dash and width as well as in colour (Okabe and Ito's palette, 2008), and every point that
stands out has a shape and words.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from adsml_report.content import Band, Chart, Line, Look, Mark, Moment, Reliability, Values
from adsml_report.markup import Html, joined, tag

WIDTH: Final = 480
HEIGHT: Final = 236
_LEFT: Final = 52
_RIGHT: Final = 8
_TOP: Final = 24
_BOTTOM: Final = 26
_SIDE: Final = 240


_LEAST_SPAN: Final = 1e-300


@dataclass(frozen=True, slots=True)
class _Frame:
    """Days and values to the picture's units."""

    days: int
    low: float
    high: float

    def x(self, day: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * day / max(self.days - 1, 1)

    def y(self, value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)

    def point(self, day: int, value: float) -> str:
        return f"{self.x(day):.4g} {self.y(value):.4g}"


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round values from `low` to `high`, at most `most` of them, steps of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next((k for k in (1, 2, 5) if (high - low) / (step * k) <= most - 1), 10)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def amount(value: float) -> str:
    """A value as an axis shows it: ``1,250``, ``12.5``, ``1.2M``."""
    size = abs(value)
    for bound, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= bound:
            return f"{value / (1e3 if mark == 'k' else bound):.3g}{mark}"
    return f"{value:,.0f}" if size >= 100 else f"{value:.3g}"


def _known(*several: Values) -> list[float]:
    return [value for values in several for value in values if value is not None and math.isfinite(value)]


def _frame(chart: Chart) -> _Frame:
    ends = _known(*(values for band in chart.bands for values in (band.lower, band.upper)))
    known = _known(*(line.values for line in chart.lines), [mark.value for mark in chart.marks])
    known = known or ends or [0.0, 1.0]
    low, high = min(0.0, *known), max(known)
    # A band may be wider than the picture: one day without a bound to speak of must not flatten the line.
    room = high - low or 1.0
    low = max(min([low, *ends]), low - room)
    high = min(max([high, *ends]), high + room)
    # What is too little to divide by is drawn as flat.
    high = high + 0.05 * (high - low) if high - low > _LEAST_SPAN else low + max(1.0, 0.1 * abs(low))
    days = max((len(line.values) for line in chart.lines), default=1)
    return _Frame(days, low, high)


def _path(frame: _Frame, values: Values) -> str:
    """A line that is broken where a value is missing; a value alone between two gaps is a dot."""
    parts: list[str] = []
    open_ = False
    for day, value in enumerate(values):
        if value is None or not math.isfinite(value):
            open_ = False
            continue
        after = values[day + 1] if day + 1 < len(values) else None
        alone = not open_ and (after is None or not math.isfinite(after))
        parts.append(f"{'L' if open_ else 'M'}{frame.point(day, value)}" + ("h.1" if alone else ""))
        open_ = True
    return "".join(parts)


def _line(frame: _Frame, line: Line) -> Html:
    return tag("path", tag("title", line.name), class_=f"l {line.look.value}", d=_path(frame, line.values))


def _band(frame: _Frame, band: Band) -> Html:
    """One polygon per stretch of days with both ends."""
    stretches: list[list[tuple[int, float, float]]] = [[]]
    for day, (low, high) in enumerate(zip(band.lower, band.upper, strict=True)):
        if low is None or high is None:
            stretches.append([])
            continue
        # An end that the data do not bound goes as far as the picture does.
        stretches[-1].append((day, max(low, frame.low), min(high, frame.high)))
    drawn = []
    for stretch in stretches:
        if not stretch:
            continue
        there = "L".join(frame.point(day, high) for day, _, high in stretch)
        back = "L".join(frame.point(day, low) for day, low, _ in reversed(stretch))
        drawn.append(f"M{there}L{back}Z")
    return tag("path", tag("title", band.name), class_="b", d="".join(drawn)) if drawn else Html("")


def _day_of(chart: Chart, day: date) -> int:
    return (day - chart.first_day).days


def _mark(frame: _Frame, chart: Chart, mark: Mark) -> Html:
    x, y = frame.x(_day_of(chart, mark.day)), frame.y(mark.value)
    return tag(
        "path",
        tag("title", f"{mark.day:%d %b %Y}: {mark.text}"),
        class_="m",
        d=f"M{x:.1f} {y - 6:.1f}l5.5 10h-11z",
    )


def _moment(frame: _Frame, chart: Chart, moment: Moment) -> Html:
    x = frame.x(_day_of(chart, moment.day) - 0.5)
    end = x > WIDTH - 90
    return joined(
        [
            tag("line", class_="n", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_TOP, y2=HEIGHT - _BOTTOM),
            tag(
                "text",
                moment.text,
                x=f"{x + (-4 if end else 4):.1f}",
                y=_TOP + 10,
                text_anchor="end" if end else None,
            ),
        ]
    )


def _axes(frame: _Frame, chart: Chart) -> Iterable[Html]:
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        yield tag("line", class_="g", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}")
        yield tag("text", amount(value), x=_LEFT - 5, y=f"{y + 4:.1f}", text_anchor="end")
    step = max(1, math.ceil(frame.days / 5))
    step = step if step < 7 else 7 * math.ceil(step / 7)
    for day in range(0, frame.days, step):
        shown = f"{chart.first_day + timedelta(days=day):%d %b}"
        anchor = "start" if day == 0 else "end" if frame.x(day) > WIDTH - 24 else "middle"
        yield tag("text", shown, x=f"{frame.x(day):.1f}", y=HEIGHT - 8, text_anchor=anchor)
    yield tag("text", chart.unit, x=4, y=13)


def _described(chart: Chart) -> str:
    """What the picture shows, for who can't see it."""
    last = chart.first_day + timedelta(days=_frame(chart).days - 1)
    parts = [f"{chart.title}, {chart.unit}, {chart.first_day:%d %b %Y} to {last:%d %b %Y}."]
    for line in chart.lines:
        known = _known(line.values)
        if known and line.look is not Look.MEMBER:
            parts.append(
                f"{line.name}: from {amount(min(known))} to {amount(max(known))}, last {amount(known[-1])}."
            )
    parts += [f"{moment.day:%d %b %Y}: {moment.text}." for moment in chart.moments]
    parts += [f"{mark.day:%d %b %Y}: {mark.text}." for mark in chart.marks[:5]]
    return " ".join(parts)


def draw(chart: Chart) -> Html:
    """A chart with axes, bands behind lines, and what stands out on top."""
    frame = _frame(chart)
    inside = [mark for mark in chart.marks if 0 <= _day_of(chart, mark.day) < frame.days]
    moments = [one for one in chart.moments if 0 <= _day_of(chart, one.day) < frame.days]
    order = sorted(chart.lines, key=lambda line: list(Look).index(line.look), reverse=True)
    return tag(
        "svg",
        *_axes(frame, chart),
        *(_band(frame, band) for band in chart.bands),
        *(_moment(frame, chart, moment) for moment in moments),
        *(_line(frame, line) for line in order),
        *(_mark(frame, chart, mark) for mark in inside),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=_described(chart),
    )


def legend(chart: Chart) -> list[tuple[str, str]]:
    """What is drawn, as ``(class of its sample, name)``; members share one entry."""
    found = [(line.look.value, line.name) for line in chart.lines if line.look is not Look.MEMBER]
    members = [line.name for line in chart.lines if line.look is Look.MEMBER]
    if members:
        found.append((Look.MEMBER.value, f"members: {', '.join(members)}"))
    found += [("b", band.name) for band in chart.bands]
    if chart.marks:
        found.append(("m", "alarm"))
    return found


def draw_reliability(figure: Reliability) -> Html:
    """Dots by how sure and how often right, area by count; on the diagonal where confidence is earned."""
    most = max((count for count, _, _ in figure.bins), default=1)

    def x(part: float) -> float:
        return _LEFT + _SIDE * part

    def y(part: float) -> float:
        return _TOP + _SIDE * (1 - part)

    dots = [
        tag(
            "circle",
            tag("title", f"{count} answers, {sure:.0%} sure, {right:.0%} right"),
            class_="d",
            cx=f"{x(sure):.1f}",
            cy=f"{y(right):.1f}",
            r=f"{2.5 + 8 * (count / most) ** 0.5:.1f}",
        )
        for count, sure, right in figure.bins
    ]
    axes = [
        part
        for at in (0.0, 0.25, 0.5, 0.75, 1.0)
        for part in (
            tag("line", class_="g", x1=x(0), x2=x(1), y1=y(at), y2=y(at)),
            tag("text", f"{at:.0%}", x=x(0) - 5, y=y(at) + 4, text_anchor="end"),
            tag("text", f"{at:.0%}", x=x(at), y=y(0) + 15, text_anchor="middle"),
        )
    ]
    return tag(
        "svg",
        *axes,
        tag("line", class_="l expected", x1=x(0), y1=y(0), x2=x(1), y2=y(1)),
        *dots,
        tag("text", "share right", x=4, y=13),
        tag("text", "how sure", x=x(0.5), y=y(0) + 31, text_anchor="middle"),
        viewBox=f"0 0 {_LEFT + _SIDE + 20} {_TOP + _SIDE + 38}",
        role="img",
        aria_label=_reliability_described(figure.title, figure.bins),
    )


def _reliability_described(title: str, bins: Sequence[tuple[int, float, float]]) -> str:
    return f"{title}. " + " ".join(
        f"{sure:.0%} sure: {right:.0%} right, {count} answers." for count, sure, right in bins
    )
