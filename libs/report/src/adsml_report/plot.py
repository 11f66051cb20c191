"""Draws charts as SVG: in the page, which gives them its colours, or as pictures that stand by themselves.

Lines differ in dash and width as well as in colour (Okabe and Ito's palette, 2008), and every point that stands out
has a shape and words.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final

from markupsafe import Markup

from adsml_report.content import Band, Chart, Look, Mark, Moment, Reliability, Values
from adsml_report.wording import day, short_day

WIDTH: Final = 440
HEIGHT: Final = 210
_LEFT: Final = 46
_RIGHT: Final = 8
_TOP: Final = 24
_BOTTOM: Final = 24
_SIDE: Final = 240
_WIDE: Final = 760
_MOST_LETTERS: Final = 115
_LEAST_SPAN: Final = 1e-300
_OUTLYING: Final = 4.0
"""What is so many times the 95th percentile is drawn at the edge, with its value, and flattens nothing else."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Days and values to the picture's units; what lies outside is drawn at the edge."""

    days: int
    low: float
    high: float
    width: int

    @classmethod
    def of(cls, chart: Chart, *, width: int = WIDTH) -> "_Scale":
        """A chart's, so that its lines fill it."""
        ends = _known(*(values for band in chart.bands for values in (band.lower, band.upper)))
        known = sorted(_known(*(line.values for line in chart.lines), [mark.value for mark in chart.marks]))
        known = known or sorted(ends) or [0.0, 1.0]
        low, high, typical = min(0.0, known[0]), max(0.0, known[-1]), known[int(0.95 * (len(known) - 1))]
        if 0.0 < _OUTLYING * typical < high:
            high = 0.5 * _OUTLYING * typical
        # A band may be wider than the picture: one day without a bound to speak of must not flatten the line.
        room = high - low or 1.0
        low, high = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
        # What is too little to divide by is drawn as flat.
        high = high + 0.05 * (high - low) if high - low > _LEAST_SPAN else low + max(1.0, 0.1 * abs(low))
        return cls(chart.days, low, high, width)

    def x(self, at: float) -> float:
        return _LEFT + (self.width - _LEFT - _RIGHT) * at / max(self.days - 1, 1)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high - inside) / (self.high - self.low)

    def point(self, at: int, value: float) -> str:
        return f"{self.x(at):.4g} {self.y(value):.4g}"


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


def draw(chart: Chart) -> Markup:
    """A chart with axes, bands behind lines, and what stands out on top."""
    inner = Markup("").join(_parts(chart, _Scale.of(chart)))
    return Markup('<svg viewBox="0 0 {} {}" data-x="{} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, _LEFT, WIDTH - _RIGHT, _described(chart), inner
    )


def legend(chart: Chart) -> list[tuple[str, str]]:
    """What is drawn, as ``(class of its sample, name)``; members share one entry."""
    found = [(line.look.value, line.name) for line in chart.lines if line.look is not Look.MEMBER]
    members = [line.name for line in chart.lines if line.look is Look.MEMBER]
    if members:
        found.append((Look.MEMBER.value, f"members: {', '.join(members)}"))
    found += [(f"b {band.look}", band.name) for band in chart.bands]
    return found + ([("m", "alarm")] if chart.marks else [])


def readings(chart: Chart) -> dict[str, Any]:
    """What the page's script reads out under a pointer: first day, names with values, bands, words by day."""
    return {
        "d": chart.first_day.isoformat(),
        "l": [(one.name, _rounded(one.values)) for one in chart.lines if one.look is not Look.MEMBER],
        "b": [(one.name, _rounded(one.lower), _rounded(one.upper)) for one in chart.bands],
        "m": {(at - chart.first_day).days: text for at, text in chart.remarks},
    }


def draw_reliability(figure: Reliability) -> Markup:
    """Dots by how sure and how often right, area by count; on the diagonal where confidence is earned."""
    label = f"{figure.title}. " + " ".join(
        f"{sure:.0%} sure: {right:.0%} right, {count} answers." for count, sure, right in figure.bins
    )
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _LEFT + _SIDE + 20, _TOP + _SIDE + 38, label, Markup("").join(_reliability(figure))
    )


def picture(figures: Sequence[Chart | Reliability], *, title: str, text: str = "") -> str:
    """Charts one below the other as one SVG file with its colours written in.

    Parameters
    ----------
    title
        Above all, and for who can't see it.
    text
        A line below the title.
    """
    css = files("adsml_report").joinpath("templates/plot.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+):([^;}]+)", css.partition("\n")[0]))
    rules = re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], css.partition("\n")[2])
    shown = text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    parts, top = [_text(8, 20, title, "t"), _text(8, 38, shown)], 46
    for figure in figures:
        if isinstance(figure, Chart):
            inner, keys, height = _parts(figure, _Scale.of(figure, width=_WIDE)), _keys(figure), HEIGHT
            if figure.title != title:
                parts.append(_text(8, top + 14, figure.title))
                top += 16
        else:
            inner, keys, height = _reliability(figure), iter(()), _TOP + _SIDE + 38
        parts += [_moved(top, inner), _moved(top + height, keys)]
        top += height + (16 * len(legend(figure)) + 8 if isinstance(figure, Chart) else 0)
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" '
        'aria-label="{2}"><style>{3}</style><rect class="p" width="100%" height="100%"/>{4}</svg>\n'
    ).format(_WIDE, top, title, Markup(rules), Markup("\n").join(parts))  # noqa: S704  # our own


def _moved(top: float, parts: Iterable[Markup]) -> Markup:
    return Markup('<g transform="translate(0 {})">{}</g>').format(top, Markup("").join(parts))


def _keys(chart: Chart) -> Iterator[Markup]:
    for at, (look, name) in enumerate(legend(chart)):
        y = 16 * at + 8
        if look == "m":
            yield Markup('<path class="m" d="M{} {}l5.5 10h-11z"/>').format(_LEFT + 8, y - 5)
        elif look.startswith("b "):
            yield Markup('<path class="{}" d="M{} {}h16v-8h-16z"/>').format(look, _LEFT, y + 4)
        else:
            yield Markup('<path class="l {}" d="M{} {}h16"/>').format(look, _LEFT, y)
        yield _text(_LEFT + 22, y + 4, name)


def _known(*several: Values) -> list[float]:
    return [value for values in several for value in values if value is not None and math.isfinite(value)]


def _rounded(values: Values) -> list[float | None]:
    return [
        None if one is None or not math.isfinite(one) else round(one, 0 if abs(one) >= 1000 else 2)
        for one in values
    ]


def _text(x: float, y: float, words: str, kind: str | None = None, anchor: str = "") -> Markup:
    more = Markup(' class="{}"').format(kind) if kind else ""
    more += Markup(' text-anchor="{}"').format(anchor) if anchor else ""
    return Markup('<text x="{:.4g}" y="{:.4g}"{}>{}</text>').format(x, y, more, words)


def _parts(chart: Chart, scale: _Scale) -> Iterator[Markup]:
    yield from _axes(chart, scale)
    yield from (_band(scale, band) for band in chart.bands)
    yield from (_moment(chart, scale, one) for one in chart.moments if 0 <= _at(chart, one) < chart.days)
    for line in sorted(chart.lines, key=lambda line: list(Look).index(line.look), reverse=True):
        yield Markup('<path class="l {}" d="{}"/>').format(line.look.value, _path(scale, line.values))
        if line.look is Look.ACTUAL:
            yield from _outlying(scale, line.values)
    yield from (_mark(chart, scale, one) for one in chart.marks if 0 <= _at(chart, one) < chart.days)


def _at(chart: Chart, one: Mark | Moment) -> int:
    return (one.day - chart.first_day).days


def _stretches(known: Iterable[bool]) -> list[list[int]]:
    """Unbroken runs of days."""
    out: list[list[int]] = []
    for at, there in enumerate(known):
        if there and out and out[-1][-1] == at - 1:
            out[-1].append(at)
        elif there:
            out.append([at])
    return out


def _path(scale: _Scale, values: Values) -> str:
    """A line that is broken where a value is missing; a value alone between two gaps is a dot."""
    parts = []
    for run in _stretches(value is not None and math.isfinite(value) for value in values):
        points = "L".join(scale.point(at, values[at] or 0.0) for at in run)
        parts.append(f"M{points}" + ("h.1" if len(run) == 1 else ""))
    return "".join(parts)


def _outlying(scale: _Scale, values: Values) -> Iterator[Markup]:
    """The highest value of each run that leaves the picture."""
    for run in _stretches(value is not None and scale.high < value < math.inf for value in values):
        at = max(run, key=lambda one: values[one] or 0.0)
        anchor = "end" if scale.x(at) > scale.width - 60 else "start"
        shift = -5 if anchor == "end" else 5
        yield _text(
            scale.x(at) + shift, _TOP + 9, f"\N{UPWARDS ARROW}{amount(values[at] or 0.0)}", anchor=anchor
        )


def _band(scale: _Scale, band: Band) -> Markup:
    """One polygon per stretch of days with both ends; an end without bound goes as far as the picture does."""
    drawn = []
    for run in _stretches(
        low is not None and high is not None for low, high in zip(band.lower, band.upper, strict=True)
    ):
        there = "L".join(scale.point(at, band.upper[at] or 0.0) for at in run)
        back = "L".join(scale.point(at, band.lower[at] or 0.0) for at in reversed(run))
        drawn.append(f"M{there}L{back}Z")
    kind = f"b {band.look}"
    return Markup('<path class="{}" d="{}"/>').format(kind, "".join(drawn)) if drawn else Markup("")


def _mark(chart: Chart, scale: _Scale, mark: Mark) -> Markup:
    x, y = scale.x(_at(chart, mark)), scale.y(mark.value)
    return Markup('<path class="m" d="M{:.1f} {:.1f}l5.5 10h-11z"/>').format(x, y - 6)


def _moment(chart: Chart, scale: _Scale, moment: Moment) -> Markup:
    x = scale.x(_at(chart, moment) - 0.5)
    end = x > scale.width - 90
    line = Markup('<path class="n" d="M{:.1f} {}V{}"/>').format(x, _TOP, HEIGHT - _BOTTOM)
    return line + _text(x + (-4 if end else 4), _TOP + 10, moment.text, anchor="end" if end else "")


def _axes(chart: Chart, scale: _Scale) -> Iterator[Markup]:
    for value in ticks(scale.low, scale.high):
        y = scale.y(value)
        yield Markup('<path class="g" d="M{} {:.1f}H{}"/>').format(_LEFT, y, scale.width - _RIGHT)
        yield _text(_LEFT - 5, y + 4, amount(value), anchor="end")
    step = max(1, math.ceil(chart.days / 5))
    step = step if step < 7 else 7 * math.ceil(step / 7)
    for at in range(0, chart.days, step):
        anchor = "" if at == 0 else "end" if scale.x(at) > scale.width - 24 else "middle"
        yield _text(scale.x(at), HEIGHT - 7, short_day(chart.first_day + timedelta(days=at)), anchor=anchor)
    yield _text(4, 13, chart.unit)


def _described(chart: Chart) -> str:
    """What the picture shows, for who can't see it."""
    last = chart.first_day + timedelta(days=chart.days - 1)
    parts = [f"{chart.title}, {chart.unit}, {day(chart.first_day)} to {day(last)}."]
    for line in chart.lines:
        known = _known(line.values)
        if known and line.look is not Look.MEMBER:
            ends = f"from {amount(min(known))} to {amount(max(known))}"
            parts.append(f"{line.name}: {ends}, last {amount(known[-1])}.")
    parts += [f"{day(at)}: {text}." for at, text in chart.remarks[:6]]
    return " ".join(parts)


def _reliability(figure: Reliability) -> Iterator[Markup]:
    most = max((count for count, _, _ in figure.bins), default=1)

    def x(part: float) -> float:
        return _LEFT + _SIDE * part

    def y(part: float) -> float:
        return _TOP + _SIDE * (1 - part)

    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield Markup('<path class="g" d="M{} {}H{}"/>').format(x(0), y(at), x(1))
        yield _text(x(0) - 5, y(at) + 4, f"{at:.0%}", anchor="end")
        yield _text(x(at), y(0) + 15, f"{at:.0%}", anchor="middle")
    yield Markup('<path class="l expected" d="M{} {}L{} {}"/>').format(x(0), y(0), x(1), y(1))
    for count, sure, right in figure.bins:
        yield Markup('<circle class="d" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>').format(
            x(sure), y(right), 2.5 + 8 * (count / most) ** 0.5,
            f"{count} answers, {sure:.0%} sure, {right:.0%} right",
        )  # fmt: skip
    yield _text(4, 13, "share right")
    yield _text(x(0.5), y(0) + 31, "how sure", anchor="middle")
