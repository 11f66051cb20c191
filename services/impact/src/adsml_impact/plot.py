"""A picture of one metric's effect: actual against counterfactual with its band, and the effect so far.

Scalable vector graphics written by hand: some twenty lines of drawing do not earn a plotting library.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from pathlib import Path

from adsml_common.domain.errors import FailedPrecondition, InvalidInput

from adsml_impact.effect import EffectDay
from adsml_impact.recommendation import LABELS
from adsml_impact.report import ImpactReport, MetricReport

_WIDTH, _LEFT, _RIGHT = 900.0, 74.0, 20.0
_TOP, _HEIGHT, _GAP, _LOWER = 78.0, 250.0, 34.0, 110.0
_INK, _FAINT, _ACTUAL, _EXPECTED = "#1f2933", "#cbd2d9", "#0b6bcb", "#d9480f"
_FONT = "font-family='Helvetica, Arial, DejaVu Sans, sans-serif'"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Data coordinates to those of the picture."""

    days: int
    low: float
    high: float
    top: float
    height: float

    def x(self, day: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * day / max(self.days - 1, 1)

    def y(self, value: float) -> float:
        return self.top + self.height * (self.high - value) / (self.high - self.low)

    def line(self, values: Sequence[float], style: str) -> str:
        """A line that is broken where a value is missing."""
        parts: list[str] = []
        pen = "M"
        for day, value in enumerate(values):
            if not math.isfinite(value):
                pen = "M"
                continue
            parts.append(f"{pen}{self.x(day):.1f},{self.y(value):.1f}")
            pen = "L"
        return f"<path d='{' '.join(parts)}' fill='none' {style}/>"

    def axis(self) -> str:
        """Grid lines with their values."""
        out = []
        for value in _ticks(self.low, self.high):
            y = self.y(value)
            out.append(
                f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_FAINT}' "
                "stroke-width='0.7'/>" + _text(_LEFT - 8, y + 4, f"{value:,.6g}", anchor="end", size=11)
            )
        return "".join(out)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = _INK,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' font-weight='{weight}' "
        f"fill='{colour}' {_FONT}>{escape(text)}</text>"
    )


def _ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (step * k) <= 5)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _range(values: Sequence[float], *, with_zero: bool) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)] + ([0.0] if with_zero else [])
    low, high = min(known, default=0.0), max(known, default=1.0)
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return (low if with_zero and low == 0.0 else low - margin), high + margin


def draw_svg(report: ImpactReport, metric: MetricReport | None = None) -> str:
    """The picture of a metric, the primary one unless another is given.

    Raises
    ------
    FailedPrecondition
        If the report has no series for it: it was asked for without, or the metric is missing.
    """
    shown = metric or report.primary
    if shown.effect is None or not shown.effect.series:
        raise FailedPrecondition(f"there is no series of {LABELS[shown.metric]} to draw")
    series = shown.effect.series
    first = report.windows.before_last + timedelta(days=1 - shown.effect.comparison.baseline)
    upper = _Frame(
        len(series),
        *_range([v for day in series for v in (day.actual, day.lower, day.upper)], with_zero=True),
        top=_TOP,
        height=_HEIGHT,
    )
    lower = _Frame(
        len(series),
        *_range([day.cumulative for day in series], with_zero=True),
        top=_TOP + _HEIGHT + _GAP,
        height=_LOWER,
    )
    height = lower.top + _LOWER + 46
    body = [
        _heading(report, shown),
        upper.axis(),
        _band(upper, series),
        _marks(report, upper, first, bottom=lower.top + _LOWER),
        upper.line(
            [day.counterfactual for day in series],
            f"stroke='{_EXPECTED}' stroke-width='1.8' stroke-dasharray='6 4'",
        ),
        upper.line([day.actual for day in series], f"stroke='{_ACTUAL}' stroke-width='2'"),
        _text(_LEFT, lower.top - 10, "effect since the change", size=11),
        lower.axis(),
        lower.line([day.cumulative for day in series], f"stroke='{_INK}' stroke-width='2'"),
        _dates(lower, first, len(series)),
    ]  # fmt: skip
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH:.0f} {height:.0f}' "
        f"width='{_WIDTH:.0f}' height='{height:.0f}' role='img'>"
        f"<rect width='100%' height='100%' fill='white'/>{''.join(body)}</svg>\n"
    )


def _heading(report: ImpactReport, shown: MetricReport) -> str:
    names = ", ".join(report.question.treated[:3])
    change = report.question.change_type.replace("_", " ")
    effect = shown.effect
    assert effect is not None  # noqa: S101 - checked by the caller
    interval = effect.percent_interval
    title = f"{LABELS[shown.metric].capitalize()}: {change} of {report.question.entity_type} {names}"
    figures = (
        f"{effect.percent:+.1f}%  [{interval.lower:+.1f}%, {interval.upper:+.1f}%]   p = {effect.p_value:.3f}   "
        f"{shown.verdict}"
    )
    legend_x = _WIDTH - _RIGHT - 250
    return (
        _text(_LEFT, 26, title, size=16, weight="bold")
        + _text(_LEFT, 48, figures, size=13)
        + f"<line x1='{legend_x}' x2='{legend_x + 26}' y1='60' y2='60' stroke='{_ACTUAL}' stroke-width='2'/>"
        + _text(legend_x + 32, 64, "actual", size=11)
        + f"<line x1='{legend_x + 88}' x2='{legend_x + 114}' y1='60' y2='60' stroke='{_EXPECTED}' "
        "stroke-width='1.8' stroke-dasharray='6 4'/>"
        + _text(legend_x + 120, 64, "without the change", size=11)
    )


def _band(frame: _Frame, series: Sequence[EffectDay]) -> str:
    known = [day for day in series if math.isfinite(day.lower) and math.isfinite(day.upper)]
    if not known:
        return ""
    there = [f"{frame.x(day.day):.1f},{frame.y(day.upper):.1f}" for day in known]
    back = [f"{frame.x(day.day):.1f},{frame.y(day.lower):.1f}" for day in reversed(known)]
    return f"<polygon points='{' '.join(there + back)}' fill='{_EXPECTED}' fill-opacity='0.13'/>"


def _marks(report: ImpactReport, frame: _Frame, first: date, *, bottom: float) -> str:
    """The change, and the days left out after it."""
    change = (report.windows.before_last - first).days + 0.5
    after = (report.windows.after_first - first).days - 0.5
    x, x_after = frame.x(change), frame.x(after)
    out = ""
    if x_after > x + 0.5:
        out += (
            f"<rect x='{x:.1f}' y='{frame.top}' width='{x_after - x:.1f}' height='{bottom - frame.top:.1f}' "
            f"fill='{_FAINT}' fill-opacity='0.5'/>"
        )
    return out + (
        f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{frame.top}' y2='{bottom:.1f}' stroke='{_INK}' "
        "stroke-width='1' stroke-dasharray='2 3'/>"
        + _text(x - 5, frame.top + 12, "change", anchor="end", size=11)
    )


def _dates(frame: _Frame, first: date, days: int) -> str:
    step = max(7, 7 * math.ceil(days / 70))
    return "".join(
        _text(
            frame.x(day),
            frame.top + frame.height + 20,
            f"{first + timedelta(days=day):%d %b}",
            anchor="middle",
            size=11,
        )
        for day in range(0, days, step)
    )


def save(svg: str, path: Path) -> None:
    """Write a picture.

    Raises
    ------
    InvalidInput
        The file's ending is not .svg.
    """
    if path.suffix != ".svg":
        raise InvalidInput.at("plot", f"ends in {path.suffix or 'nothing'!r}; expected .svg")
    path.write_text(svg, encoding="utf-8")
