"""Draw every kind of alarm on a simulated account.

Run: python examples/alarm_pictures.py [FOLDER]

Faults are put into the last days of one campaign; the detector has learned from the days before. The pictures of
docs/anomaly.md were drawn by this, into docs/anomaly/.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from adsml_anomaly.histories import series
from adsml_anomaly.models.assessment import Options, Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import fit_entity, learn_pool
from adsml_anomaly.models.results import DayAssessment, Threshold
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_report.content import Band, Chart, Line, Look, Mark
from adsml_report.plot import picture
from adsml_report.wording import METRIC_LABELS, unit
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


def drawn(days: Sequence[DayAssessment], metric: Metric, *, title: str, text: str = "") -> str:
    """One metric over the assessed days; below the title the worst day in words, where no text is given."""
    ones = [next((one for one in day.metrics if one.metric is metric), None) for day in days]

    def values(name: str) -> list[float | None]:
        return [None if one is None else getattr(one, name) for one in ones]

    dates = [day.date or LAST_DAY for day in days]
    observed = values("observed")
    marks = tuple(
        Mark(at, value or 0.0, day.summary)
        for at, day, value in zip(dates, days, observed, strict=True)
        if day.anomalous
    )
    worst = max((day for day in days if day.anomalous), key=lambda day: day.severity, default=None)
    chart = Chart(
        title,
        unit(metric.value),
        dates[0],
        (Line(METRIC_LABELS[metric.value], observed), Line("expected", values("expected"), Look.EXPECTED)),
        (Band("range at the threshold", values("lower"), values("upper")),),
        marks,
    )
    told = text or (f"{worst.date}, {worst.severity.name.lower()}: {worst.summary}" if worst else "no alarm")
    return picture([chart], title=title, text=told)


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
        svg = drawn(assess(changed, options).days, metric, title=title)
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
        svg = drawn(report.days, incident.main_metric or metric, title=title, text=incident.summary)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
