"""A picture of one metric's days: what came, what was expected, and which days alarmed.

Colours are of the palette of M. Okabe and K. Ito, which people who are colour-blind tell apart; alarms have a
shape of their own beside the colour.
"""

import math
from collections.abc import Sequence
from typing import Final

from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_report.picture import INK, Plot
from adsml_report.picture import picture as whole
from adsml_report.picture import text as label

from adsml_anomaly.models.results import DayAssessment, MetricAssessment

WIDTH: Final = 820
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 74.0, 18.0, 62.0, 40.0
_BAND, _EXPECTED, _ALARM = "#56B4E9", "#0072B2", "#D55E00"
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


def picture(days: Sequence[DayAssessment], metric: Metric | None, *, title: str, text: str = "") -> str:
    """One metric over the assessed days (or points) as SVG.

    Parameters
    ----------
    days
        Of a report, in order; at least two.
    metric
        Which; None for points.
    title, text
        The line above, and the one below it; without: the worst day in words.

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
    plot = Plot(
        len(days), low, high * 1.05, left=_LEFT, right=WIDTH - _RIGHT, top=_TOP, bottom=HEIGHT - _BOTTOM
    )
    parts = [
        plot.grid(),
        _dates(plot, days),
        plot.band(lower, upper, f"fill='{_BAND}' fill-opacity='0.3'"),
        plot.line(expected, f"stroke='{_EXPECTED}' stroke-width='1.3' stroke-dasharray='5 4'"),
        plot.line(observed, f"stroke='{INK}' stroke-width='1.5'"),
        *(_alarm(plot, t, value) for t, value in enumerate(observed) if days[t].anomalous),
        label(_LEFT, 20, title, size=14, weight="bold"),
        label(_LEFT, 38, _shortened(text) if text else _worst(days)),
        label(_LEFT, _TOP - 8, _UNITS[metric] if metric is not None else "value", size=11),
        _legend(),
    ]
    return whole(WIDTH, HEIGHT, title=title, parts=parts)


def _of(day: DayAssessment, metric: Metric | None) -> MetricAssessment | None:
    return next((one for one in day.metrics if one.metric is metric), None)


def _worst(days: Sequence[DayAssessment]) -> str:
    """The worst day in its own words, as much as fits."""
    alarmed = [day for day in days if day.anomalous]
    if not alarmed:
        return "no alarm"
    worst = max(alarmed, key=lambda day: day.severity)
    when = f"{worst.date}" if worst.date is not None else f"{worst.time:%Y-%m-%d %H:%M}"
    return _shortened(f"{when}, {worst.severity.name.lower()}: {worst.summary}")


def _shortened(words: str) -> str:
    return words if len(words) <= 118 else words[:117] + "…"


def _alarm(plot: Plot, t: int, value: float) -> str:
    """A triangle at the value; at the foot where nothing came."""
    x, y = plot.x(t), plot.y(value if math.isfinite(value) else plot.low)
    return (
        f"<path d='M{x - 6:.1f},{y + 5:.1f} L{x + 6:.1f},{y + 5:.1f} L{x:.1f},{y - 6:.1f} Z' "
        f"fill='{_ALARM}' stroke='white' stroke-width='1'/>"
    )


def _dates(plot: Plot, days: Sequence[DayAssessment]) -> str:
    """Five dates below."""
    last = len(days) - 1
    return "".join(
        label(
            plot.x(t),
            plot.bottom + 18,
            f"{days[t].date or days[t].time:%d %b %Y}",
            anchor="start" if t == 0 else "end" if t == last else "middle",
            size=11,
        )
        for t in sorted({round(k * last / 4) for k in range(5)})
    )


def _legend() -> str:
    x, y = WIDTH - _RIGHT - 372.0, HEIGHT - 8.0
    return (
        f"<line x1='{x}' x2='{x + 22}' y1='{y - 4}' y2='{y - 4}' stroke='{INK}' stroke-width='1.5'/>"
        + label(x + 27, y, "came", size=11)
        + f"<line x1='{x + 70}' x2='{x + 92}' y1='{y - 4}' y2='{y - 4}' stroke='{_EXPECTED}' "
        + "stroke-width='1.3' stroke-dasharray='5 4'/>"
        + label(x + 97, y, "expected", size=11)
        + f"<rect x='{x + 160}' y='{y - 10}' width='22' height='11' fill='{_BAND}' fill-opacity='0.3'/>"
        + label(x + 187, y, "range at the threshold", size=11)
        + f"<path d='M{x + 318},{y} L{x + 330},{y} L{x + 324},{y - 11} Z' fill='{_ALARM}'/>"
        + label(x + 335, y, "alarm", size=11)
    )
