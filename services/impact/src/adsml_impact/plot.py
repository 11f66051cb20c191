"""A picture of one metric's effect: actual against counterfactual with its band, and the effect so far."""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import FailedPrecondition, InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_report.picture import FAINT, INK, Plot, picture, text
from google.type import date_pb2

from adsml_impact.analysis.plan import LABELS

_WIDTH, _LEFT, _RIGHT = 900.0, 74.0, 20.0
_TOP, _HEIGHT, _GAP, _LOWER = 78.0, 250.0, 34.0, 110.0
_ACTUAL, _EXPECTED = "#0b6bcb", "#d9480f"


def _plot(values: Sequence[float], days: int, *, top: float, height: float) -> Plot:
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.1
    low = low - margin if low else low
    return Plot(days, low, high + margin, left=_LEFT, right=_WIDTH - _RIGHT, top=top, bottom=top + height)


def draw_svg(report: pb.ImpactReport) -> str:
    """The picture of the primary metric; FailedPrecondition if the report was asked for without series."""
    shown = report.effects[0]
    if not shown.series:
        raise FailedPrecondition(f"there is no series of {_label(shown)} to draw")
    series = shown.series
    first = _day(series[0].date)
    actual, expected, so_far = (
        [float(getattr(day, field)) if day.HasField(field) else math.nan for day in series]
        for field in ("actual", "counterfactual", "cumulative_effect")
    )
    low = [day.interval.lower if day.HasField("interval") else math.nan for day in series]
    high = [day.interval.upper if day.HasField("interval") else math.nan for day in series]
    upper = _plot([*actual, *low, *high], len(series), top=_TOP, height=_HEIGHT)
    lower = _plot(so_far, len(series), top=upper.bottom + _GAP, height=_LOWER)
    parts = [
        _heading(report, shown),
        upper.grid(),
        upper.band(low, high, f"fill='{_EXPECTED}' fill-opacity='0.13'"),
        _marks(report, upper, first, bottom=lower.bottom),
        upper.line(expected, f"stroke='{_EXPECTED}' stroke-width='1.8' stroke-dasharray='6 4'"),
        upper.line(actual, f"stroke='{_ACTUAL}' stroke-width='2'"),
        text(_LEFT, lower.top - 10, "effect since the change", size=11),
        lower.grid(),
        lower.line(so_far, f"stroke='{INK}' stroke-width='2'"),
        _dates(lower, first, len(series)),
    ]
    return picture(_WIDTH, lower.bottom + 46, title=_title(report, shown), parts=parts)


def _day(message: date_pb2.Date) -> date:
    return date(message.year, message.month, message.day)


def _label(shown: pb.MetricEffect) -> str:
    return LABELS[Metric(metrics_pb2.Metric.Name(shown.metric).removeprefix("METRIC_").lower())]


def _title(report: pb.ImpactReport, shown: pb.MetricEffect) -> str:
    names = ", ".join(one.entity_id for one in report.treated[:3])
    change = change_pb2.ChangeType.Name(report.change.change_type).removeprefix("CHANGE_TYPE_").lower()
    level = entity_pb2.EntityType.Name(report.treated[0].entity_type).removeprefix("ENTITY_TYPE_").lower()
    return f"{_label(shown).capitalize()}: {change.replace('_', ' ')} of {level} {names}"


def _heading(report: pb.ImpactReport, shown: pb.MetricEffect) -> str:
    interval = shown.relative_interval
    verdict = change_pb2.Verdict.Name(shown.verdict).removeprefix("VERDICT_").lower() if shown.verdict else ""
    figures = (
        f"{100 * shown.relative:+.1f}%  [{100 * interval.lower:+.1f}%, {100 * interval.upper:+.1f}%]   "
        f"p = {shown.p_value:.3f}   {verdict}"
    )
    legend_x = _WIDTH - _RIGHT - 250
    return (
        text(_LEFT, 26, _title(report, shown), size=16, weight="bold")
        + text(_LEFT, 48, figures, size=13)
        + f"<line x1='{legend_x}' x2='{legend_x + 26}' y1='60' y2='60' stroke='{_ACTUAL}' stroke-width='2'/>"
        + text(legend_x + 32, 64, "actual", size=11)
        + f"<line x1='{legend_x + 88}' x2='{legend_x + 114}' y1='60' y2='60' stroke='{_EXPECTED}' "
        "stroke-width='1.8' stroke-dasharray='6 4'/>"
        + text(legend_x + 120, 64, "without the change", size=11)
    )


def _marks(report: pb.ImpactReport, plot: Plot, first: date, *, bottom: float) -> str:
    """The change, and the days left out after it."""
    change = (_day(report.windows.before_last_date) - first).days + 0.5
    after = (_day(report.windows.after_first_date) - first).days - 0.5
    x, x_after = plot.x(change), plot.x(after)
    out = ""
    if x_after > x + 0.5:
        out += (
            f"<rect x='{x:.1f}' y='{plot.top}' width='{x_after - x:.1f}' height='{bottom - plot.top:.1f}' "
            f"fill='{FAINT}' fill-opacity='0.5'/>"
        )
    return out + (
        f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{plot.top}' y2='{bottom:.1f}' stroke='{INK}' "
        "stroke-width='1' stroke-dasharray='2 3'/>"
        + text(x - 5, plot.top + 12, "change", anchor="end", size=11)
    )


def _dates(plot: Plot, first: date, days: int) -> str:
    step = max(7, 7 * math.ceil(days / 70))
    labels = {day: f"{first + timedelta(days=day):%d %b}" for day in range(0, days, step)}
    return "".join(
        text(plot.x(day), plot.bottom + 20, label, anchor="middle", size=11) for day, label in labels.items()
    )


def save(svg: str, path: Path) -> None:
    """Write a picture; InvalidInput if the file's ending is not .svg."""
    if path.suffix != ".svg":
        raise InvalidInput.at("plot", f"ends in {path.suffix or 'nothing'!r}; expected .svg")
    path.write_text(svg, encoding="utf-8")
