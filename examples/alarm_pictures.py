"""Draw every kind of alarm on a simulated account.

Run: python examples/alarm_pictures.py [FOLDER]

Faults are put into the last days of one campaign; the detector has learned from the days before. The pictures of
docs/anomaly.md were drawn by this, into docs/anomaly/.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_anomaly.histories import series
from adsml_anomaly.models.assessment import Options, Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import fit_entity, learn_pool
from adsml_anomaly.models.point_detection import assess_points
from adsml_anomaly.models.results import DayAssessment, MetricAssessment, Threshold
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_report.picture import INK, Plot
from adsml_report.picture import picture as whole
from adsml_report.picture import text as label
from adsml_simulate import simulate_account
from adsml_simulate.presets import clean

LAST_DAY = date(2026, 3, 31)
DAYS, LEARNED, SHOWN = 120, 100, 42
SPEND, IMPRESSIONS, CLICKS, LEADS, REACH = range(5)
Rows = npt.NDArray[np.float64]


def scaled(*columns: int, by: float, days: slice) -> Callable[[Rows], None]:
    """Multiply some metrics on some days."""

    def change(rows: Rows) -> None:
        for column in columns:
            rows[days, column] = np.round(rows[days, column] * by, 2 if column == SPEND else 0)

    return change


EVERY = (SPEND, IMPRESSIONS, CLICKS, LEADS, REACH)
FAULTS: dict[str, tuple[str, Metric, Callable[[Rows], None]]] = {
    "zero-spend": ("Zero spend", Metric.SPEND, scaled(*EVERY, by=0.0, days=slice(-4, -2))),
    "delivery-collapse": (
        "Delivery collapse",
        Metric.IMPRESSIONS,
        scaled(*EVERY, by=0.06, days=slice(-4, -2)),
    ),
    "spend-spike": ("Spend spike: a runaway budget", Metric.SPEND, scaled(SPEND, by=4.0, days=slice(-3, -2))),
    "cpl-spike": ("CPL spike", Metric.CPL, scaled(LEADS, by=0.3, days=slice(-3, -2))),
    "ctr-drop": ("CTR drop", Metric.CTR, scaled(CLICKS, by=0.5, days=slice(-3, -1))),
    "leads-stopped": (
        "Leads stopped while clicks go on",
        Metric.LEADS,
        scaled(LEADS, by=0.0, days=slice(-4, -1)),
    ),
    "correlation-break": (
        "Leads part from spend",
        Metric.CONVERSION_RATE,
        scaled(LEADS, by=0.72, days=slice(-3, -2)),
    ),
}


BEGAN = LEARNED
"""Row on which the faults of the states begin."""


def halved(rows: Rows) -> None:
    """Half of the conversion rate, from one day on."""
    rows[BEGAN:, LEADS] = np.round(rows[BEGAN:, LEADS] * 0.5)


def fading(rows: Rows) -> None:
    """A little more than a percent of the leads less every day."""
    rows[60:, LEADS] = np.round(rows[60:, LEADS] * np.exp(-0.013 * np.arange(len(rows) - 60)))


def gone(rows: Rows) -> None:
    """No delivery, from one day on."""
    rows[BEGAN:] = 0.0


def back(rows: Rows) -> None:
    """No delivery for four days."""
    rows[BEGAN : BEGAN + 4] = 0.0


STATES: dict[str, tuple[str, Metric, Callable[[Rows], None], int]] = {
    "state-opened": ("Opened: the first day", Metric.SPEND, gone, BEGAN),
    "state-still-open": ("Still open: the seventh day", Metric.SPEND, gone, BEGAN + 6),
    "state-resolved": ("Resolved: back after four days", Metric.SPEND, back, BEGAN + 8),
    "state-new-normal": ("New normal: a level that stayed", Metric.CPL, halved, BEGAN + 12),
    "state-stopped": (
        "New normal: stopped, after two weeks without delivery",
        Metric.SPEND,
        gone,
        BEGAN + 15,
    ),
    "state-drift": ("Drift: no single day stands out", Metric.CONVERSION_RATE, fading, LEARNED + 10),
}


# Colours are of the palette of M. Okabe and K. Ito, which people who are colour-blind tell apart.
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
    """One metric over the assessed days (or points) as SVG; `text` is the line below the title, else the worst day."""
    ones = [_of(day, metric) for day in days]
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


def main() -> None:
    """Draw and write."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/anomaly")
    folder.mkdir(parents=True, exist_ok=True)
    histories = series(simulate_account(clean(last_day=LAST_DAY, days=DAYS), seed=11).daily, 1)
    known = {ref: Days(days.first_day, days.rows[:LEARNED]) for ref, days in histories.items()}
    pool = learn_pool(known)
    campaigns = [ref for ref in histories if ref.entity_type is EntityType.CAMPAIGN]
    ref = max(campaigns, key=lambda one: histories[one].rows[:, LEADS].sum())
    days = histories[ref]
    model = fit_entity(known[ref], pool, ref.entity_type, what=str(ref)).model
    options = Options(first_date=days.day(len(days.rows) - SHOWN), last_date=days.last_day)
    subject = Subject(name=str(ref), days=days, model=model, threshold=Threshold(1.0))

    def draw(name: str, title: str, metric: Metric, rows: Rows, *changes: ChangeEvent) -> None:
        changed = replace(subject, days=Days(days.first_day, rows), changes=changes)
        svg = picture(assess(changed, options).days, metric, title=title)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")

    for name, (title, metric, change) in FAULTS.items():
        rows = days.rows.copy()
        change(rows)
        draw(name, title, metric, rows)
    rows = days.rows.copy()
    scaled(*EVERY, by=1.7, days=slice(-3, None))(rows)
    raised = ChangeEvent(
        ref,
        ChangeType.BUDGET_CHANGE,
        days.last_day - timedelta(days=3),
        {"budget_before": 200.0, "budget_after": 340.0},
    )
    draw("after-a-budget-change", "The day after a budget was raised", Metric.SPEND, rows, raised)

    for name, (title, metric, change, last) in STATES.items():
        rows = days.rows.copy()
        change(rows)
        seen = replace(subject, days=Days(days.first_day, rows[: last + 1]))
        report = assess(seen, Options(first_date=days.day(last - SHOWN + 1), last_date=days.day(last)))
        incident = report.incidents[-1]
        svg = picture(report.days, incident.main_metric or metric, title=title, text=incident.summary)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")

    rng = np.random.default_rng(5)
    hours = np.arange(24 * 28)
    usual = 1.2 + 0.4 * np.sin(2 * math.pi * hours / 24) + 0.2 * ((hours // 24) % 7 >= 5)
    values = usual * np.exp(0.08 * rng.standard_normal(hours.size))
    values[-30] *= 2.2
    found = assess_points(
        "cpc", 1_772_323_200 + 3600.0 * hours, values,
        season_length=None, threshold=Threshold(0.04), anomalous_only=False,
    )  # fmt: skip
    svg = picture(found.days[-24 * 8 :], None, title="An hour out of line: hourly CPC")
    (folder / "hourly.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
