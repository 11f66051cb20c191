"""A picture of one metric's days: what came, what was expected, and which days alarmed.

Scalable vector graphics written by hand: a band, two lines and some marks do not earn a plotting library. Colours
are of the palette of M. Okabe and K. Ito, which people who are colour-blind tell apart; alarms have a shape of
their own beside the colour.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric

from adsml_anomaly.report import DayAssessment, MetricAssessment

WIDTH: Final = 820
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 74.0, 18.0, 62.0, 40.0
_INK, _FAINT, _BAND, _EXPECTED, _ALARM = "#1f2933", "#d5dbe1", "#56B4E9", "#0072B2", "#D55E00"
_MOST_ALARM_FACTOR: Final = 1.6
_UNITS: Final = {
    Metric.SPEND: "spend, currency a day",
    Metric.IMPRESSIONS: "impressions a day",
    Metric.CLICKS: "clicks a day",
    Metric.LEADS: "leads a day",
    Metric.CPL: "CPL, currency per lead",
    Metric.CTR: "CTR, percent",
    Metric.CPC: "CPC, currency per click",
    Metric.CPM: "CPM, currency per 1,000 impressions",
    Metric.CONVERSION_RATE: "leads per 100 clicks",
    Metric.FREQUENCY: "impressions per person reached",
}


def picture(days: Sequence[DayAssessment], metric: Metric | None, *, title: str) -> str:
    """One metric over the assessed days (or points) as SVG.

    Parameters
    ----------
    days
        Of a report, in order; at least two.
    metric
        Which; None for points.
    title
        The line above.

    Raises
    ------
    InvalidInput
        Fewer than two days, or the metric is not among those assessed.
    """
    if len(days) < 2:
        raise InvalidInput.at("days", f"has {len(days)}; a picture needs at least 2")
    ones = [_of(day, metric) for day in days]
    if all(one is None or one.observed is None for one in ones):
        raise InvalidInput.at("metric", f"{metric or 'value'} is not known on any of the days")
    observed = [math.nan if one is None or one.observed is None else one.observed for one in ones]
    expected = [math.nan if one is None or one.expected is None else one.expected for one in ones]
    lower = [math.nan if one is None or one.lower is None else one.lower for one in ones]
    upper = [math.nan if one is None or one.upper is None else one.upper for one in ones]
    finite = [value for value in (*observed, *expected, *lower) if math.isfinite(value)]
    low = min(0.0, *finite)
    # An upper end without limit (a cost when nothing may come) leaves through the top.
    tops = [value for value in upper if math.isfinite(value)]
    high = max([*finite, min(max(tops, default=0.0), _MOST_ALARM_FACTOR * max(finite))])
    high = high if high > low else low + 1.0
    canvas = _Canvas(len(days), low, high * 1.05)
    body = [
        canvas.grid(),
        canvas.dates(days),
        canvas.band(lower, [min(value, high * 1.2) if not math.isnan(value) else value for value in upper]),
        canvas.line(expected, f"stroke='{_EXPECTED}' stroke-width='1.3' stroke-dasharray='5 4'"),
        canvas.line(observed, f"stroke='{_INK}' stroke-width='1.5'"),
        *(canvas.alarm(t, value) for t, value in enumerate(observed) if days[t].anomalous),
        _text(_LEFT, 20, title, size=14, weight="bold"),
        _text(_LEFT, 38, _told(days), size=12),
        _text(_LEFT, _TOP - 8, _UNITS[metric] if metric is not None else "value", size=11),
        _legend(),
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{escape(title, quote=True)}'><rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>"
        + "\n".join(body)
        + "</svg>\n"
    )


def _of(day: DayAssessment, metric: Metric | None) -> MetricAssessment | None:
    return next((one for one in day.metrics if one.metric is metric), None)


def _told(days: Sequence[DayAssessment]) -> str:
    """The worst day in its own words, as much as fits."""
    alarmed = [day for day in days if day.anomalous]
    if not alarmed:
        return "no alarm"
    worst = max(alarmed, key=lambda day: day.severity)
    when = worst.date or worst.time
    text = f"{when:%Y-%m-%d %H:%M}" if worst.date is None else f"{when}"
    text = f"{text}, {worst.severity.name.lower()}: {worst.summary}"
    return text if len(text) <= 118 else text[:117] + "…"


class _Canvas:
    """Data coordinates to those of the picture."""

    def __init__(self, days: int, low: float, high: float) -> None:
        self._days, self._low, self._high = days, low, high

    def x(self, t: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * t / (self._days - 1)

    def y(self, value: float) -> float:
        share = (self._high - value) / (self._high - self._low)
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * min(max(share, 0.0), 1.0)

    def line(self, values: Sequence[float], style: str) -> str:
        """Broken where a value is missing; a lone value is a dot."""
        out, pen = list[str](), "M"
        for t, value in enumerate(values):
            if not math.isfinite(value):
                pen = "M"
                continue
            out.append(f"{pen}{self.x(t):.1f},{self.y(value):.1f}")
            pen = "L"
        return f"<path d='{' '.join(out)}' fill='none' stroke-linecap='round' {style}/>"

    def band(self, lower: Sequence[float], upper: Sequence[float]) -> str:
        """Between two lines, one piece for each unbroken stretch."""
        pieces: list[list[int]] = []
        for t, (a, b) in enumerate(zip(lower, upper, strict=True)):
            if math.isnan(a) or math.isnan(b):
                continue
            if pieces and pieces[-1][-1] == t - 1:
                pieces[-1].append(t)
            else:
                pieces.append([t])
        out = []
        for piece in pieces:
            top = [f"{self.x(t):.1f},{self.y(upper[t]):.1f}" for t in piece]
            bottom = [f"{self.x(t):.1f},{self.y(lower[t]):.1f}" for t in reversed(piece)]
            out.append(f"<polygon points='{' '.join((*top, *bottom))}' fill='{_BAND}' fill-opacity='0.3'/>")
        return "".join(out)

    def alarm(self, t: int, value: float) -> str:
        """A triangle at the value; at the foot where nothing came."""
        x, y = self.x(t), self.y(value if math.isfinite(value) else self._low)
        return (
            f"<path d='M{x - 6:.1f},{y + 5:.1f} L{x + 6:.1f},{y + 5:.1f} L{x:.1f},{y - 6:.1f} Z' "
            f"fill='{_ALARM}' stroke='white' stroke-width='1'/>"
        )

    def grid(self) -> str:
        """Lines at round values."""
        out = []
        for value in _ticks(self._low, self._high):
            y = self.y(value)
            out.append(
                f"<line x1='{_LEFT}' x2='{WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_FAINT}' "
                f"stroke-width='0.7'/>{_text(_LEFT - 8, y + 4, f'{value:,.6g}', anchor='end', size=11)}"
            )
        return "".join(out)

    def dates(self, days: Sequence[DayAssessment]) -> str:
        """Five dates below."""
        marks = sorted({round(k * (self._days - 1) / 4) for k in range(5)})
        return "".join(
            _text(
                self.x(t),
                HEIGHT - _BOTTOM + 18,
                f"{days[t].date or days[t].time:%d %b %Y}",
                anchor=anchor,
                size=11,
            )
            for t, anchor in (
                (t, "start" if t == 0 else "end" if t == self._days - 1 else "middle") for t in marks
            )
        )


def _legend() -> str:
    x, y = WIDTH - _RIGHT - 372.0, HEIGHT - 8.0
    return (
        f"<line x1='{x}' x2='{x + 22}' y1='{y - 4}' y2='{y - 4}' stroke='{_INK}' stroke-width='1.5'/>"
        + _text(x + 27, y, "came", size=11)
        + f"<line x1='{x + 70}' x2='{x + 92}' y1='{y - 4}' y2='{y - 4}' stroke='{_EXPECTED}' "
        + "stroke-width='1.3' stroke-dasharray='5 4'/>"
        + _text(x + 97, y, "expected", size=11)
        + f"<rect x='{x + 160}' y='{y - 10}' width='22' height='11' fill='{_BAND}' fill-opacity='0.3'/>"
        + _text(x + 187, y, "range at the threshold", size=11)
        + f"<path d='M{x + 318},{y} L{x + 330},{y} L{x + 324},{y - 11} Z' fill='{_ALARM}'/>"
        + _text(x + 335, y, "alarm", size=11)
    )


def _ticks(low: float, high: float) -> list[float]:
    """Some five round values."""
    raw = (high - low) / 4.5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' font-weight='{weight}' "
        f"fill='{_INK}' font-family='Helvetica, Arial, DejaVu Sans, sans-serif'>{escape(text)}</text>"
    )
