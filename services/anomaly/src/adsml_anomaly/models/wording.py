"""A day in one sentence: what came, and what was to be expected, as figures that agree with the verdict."""

import math
from collections.abc import Sequence
from typing import Final

from adsml_common.domain.metrics import Metric

from adsml_anomaly.models import changes
from adsml_anomaly.models.results import DayAssessment, Direction, MetricAssessment, RuleAlarm

_MONEY: Final = frozenset({Metric.SPEND, Metric.CPL, Metric.CPC, Metric.CPM})
_PERCENT: Final = frozenset({Metric.CTR, Metric.CONVERSION_RATE})
_MORE_DIGITS: Final = 5
_NAMES: Final = {
    Metric.CPL: "CPL", Metric.CTR: "CTR", Metric.CPC: "CPC", Metric.CPM: "CPM",
    Metric.CONVERSION_RATE: "conversion rate",
}  # fmt: skip


def name(metric: Metric | None) -> str:
    """As it stands in a sentence, e.g. ``CPL`` or ``impressions``."""
    return "value" if metric is None else _NAMES.get(metric, str(metric))


def amount(metric: Metric | None, value: float, digits: int | None = None) -> str:
    """A value in its unit; percent with its sign."""
    digits = _digits(metric) if digits is None else digits
    return f"{value:,.{digits}f}{'%' if metric in _PERCENT else ''}"


def _digits(metric: Metric | None) -> int:
    return 2 if metric in _MONEY or metric in _PERCENT or metric is Metric.FREQUENCY else 0


def against_range(metric: Metric | None, observed: float, lower: float, upper: float) -> str:
    """E.g. ``CPL 84.10, expected 31.20 to 52.00``.

    The ends of the range are rounded inward, and digits are added until what lies outside is printed outside and
    what lies inside is printed inside.
    """
    for digits in range(_digits(metric), _digits(metric) + _MORE_DIGITS):
        step = 10.0**digits
        low, high = math.ceil(lower * step - 1e-9) / step, upper
        if math.isfinite(upper):
            high = math.floor(upper * step + 1e-9) / step
        seen = round(observed, digits)
        inside = lower <= observed <= upper
        if low <= high and (low <= seen <= high) == inside:
            break
    end = f"to {amount(metric, high, digits)}" if math.isfinite(high) else "or more"
    return f"{name(metric)} {amount(metric, seen, digits)}, expected {amount(metric, low, digits)} {end}"


def sentence(day: DayAssessment, main: MetricAssessment, alarms: Sequence[RuleAlarm]) -> str:
    """A day out of line: by its rules, the worst first, else by its main metric, else by what parts most."""
    if alarms:
        text = "; ".join(alarm.message for alarm in alarms)
    elif main.direction is not Direction.NONE:
        text = f"{name(main.metric)} missing"
        if main.observed is not None:
            text = f"{name(main.metric)} {amount(main.metric, main.observed)}"
            if main.lower is not None and main.upper is not None:
                text = against_range(main.metric, main.observed, main.lower, main.upper)
    else:
        known = [
            one
            for one in day.metrics
            if one.robust_z is not None and one.observed is not None and not one.gated
        ]
        figures = " with ".join(
            f"{name(one.metric)} {amount(one.metric, one.observed or 0.0)}"
            + (f" (usual {amount(one.metric, one.expected)})" if one.expected is not None else "")
            for one in sorted(known, key=lambda one: -abs(one.robust_z or 0.0))[:2]
        )
        text = "metrics out of step with each other" + (f": {figures}" if figures else "")
    if day.related_changes:
        text += f"; {changes.in_words(day.related_changes[-1])}"
    return text[0].upper() + text[1:]
