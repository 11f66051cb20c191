"""What happened to one entity: its days out of line, the incidents they make, and how these stand."""

from dataclasses import replace
from typing import Final

import numpy as np

from adsml_anomaly.models import incidents, results, wording
from adsml_anomaly.models.assessment import Options, SeriesAssessment, Subject
from adsml_anomaly.models.channels import CHANNELS, EXPOSURE, SIGN
from adsml_anomaly.models.drift import WINDOW_DAYS, drift_of
from adsml_anomaly.models.rules import STOPPED_DAYS

USUAL_DAYS: Final = 28
_SEVERE_DRIFT: Final = 0.4
_SEVERE_DRIFT_Z: Final = 12.0


def assess(subject: Subject, options: Options | None = None) -> results.Report:
    """Assess days; raises as `SeriesAssessment`."""
    series = SeriesAssessment(subject, options or Options())
    first, last, only = series.first, series.last, series.options.anomalous_only
    raised = series.raised()
    # Most days are ordinary: what began before the assessed days matters where it may be open still.
    may_be_open = series.complete.filling[last] or not series.days.rows[last, 0] > 0
    if only and not may_be_open and not (raised and raised[-1] >= first):
        raised = []
    wanted = sorted({*raised, *(() if only else range(first, last + 1))})
    days = {t: series.day(t, raised=t in raised) for t in wanted}
    # Incidents that reach into the assessed days; their days get the ids.
    found = []
    for rows in incidents.grouped(days):
        state, note = _state(series, rows, days[rows[-1]])
        if rows[-1] >= first or state is results.IncidentState.OPEN:
            one = incidents.incident_id(subject.name, days[rows[0]].date)
            days.update({t: replace(days[t], incident_id=one) for t in rows})
            found.append(incidents.incident_of([days[t] for t in rows], state=state, note=note))
    if (drift := _drift(series)) is not None:
        found.append(drift)
    young = np.flatnonzero(series.complete.incomplete)
    spend = series.days.rows[max(first - USUAL_DAYS, 0) : first, 0]
    spend = spend[spend > 0]
    return results.Report(
        days=tuple(day for t, day in days.items() if t >= first),
        incidents=tuple(found),
        threshold=series.threshold,
        delivery=_delivery(series),
        incomplete_since=series.days.day(young[0]) if len(young) else None,
        without_reach=series.without_reach,
        usual_spend=float(spend.mean()) if spend.size else 0.0,
    )


def _state(
    series: SeriesAssessment, rows: list[int], day: results.DayAssessment
) -> tuple[results.IncidentState, str]:
    """How an incident whose last day is given stands on the last assessed one, with what is to be added in words."""
    last, end = series.last, rows[-1]
    if end == last:
        return results.IncidentState.OPEN, ""
    spend = series.days.rows[:, 0]
    if day.kind in incidents.NO_DELIVERY and not spend[end + 1 :].any():
        if series.paused[last]:
            return results.IncidentState.RESOLVED, "switched off since"
        began = int(np.flatnonzero(spend > 0.0)[-1]) + 1 if (spend > 0.0).any() else 0
        if last - began < STOPPED_DAYS:
            return results.IncidentState.OPEN, ""
        return results.IncidentState.NEW_NORMAL, f"stopped: nothing for {STOPPED_DAYS} days"
    if series.complete.filling[end + 1 : last + 1].all():
        return results.IncidentState.OPEN, "the days since are not complete yet"
    if day.main_metric is not None:
        c = CHANNELS.index(day.main_metric)
        since = int(series.scores.innovations.shifted[end + 1, c])
        if rows[0] <= since <= end:
            note, expected = (
                f"new level since {series.days.day(since)}",
                series.scores.innovations.mean[last, c],
            )
            if np.isfinite(expected) and EXPOSURE[c] < 0:
                level = wording.amount(day.main_metric, series.in_unit(last, c, float(expected)))
                note = f"{note}, about {level} a day"
            return results.IncidentState.NEW_NORMAL, note
    return results.IncidentState.RESOLVED, ""


def _drift(series: SeriesAssessment) -> results.Incident | None:
    """A slow drift up to the last complete day."""
    if series.options.metrics:
        return None
    last = series.last
    while last > series.first and series.complete.filling[last]:
        last -= 1
    drift = drift_of(series.days, series.subject.model.dynamics, last=last)
    if drift is None:
        return None
    change = drift.now / drift.before - 1.0
    direction, share = results.Direction.UP if change > 0 else results.Direction.DOWN, abs(change)
    worse = (direction is results.Direction.UP) == (SIGN[CHANNELS.index(drift.metric)] < 0)
    spend = series.days.rows[max(last - WINDOW_DAYS + 1, 0) : last + 1, 0].mean()
    first = series.days.day(max(last - 29, 0))
    text = (
        f"{wording.name(drift.metric)} drifted {direction} {share:.0%} in 30 days, "
        f"from {wording.amount(drift.metric, drift.before)} to {wording.amount(drift.metric, drift.now)}"
    )
    severe = worse and (share >= _SEVERE_DRIFT or abs(drift.z) >= _SEVERE_DRIFT_Z)
    return results.Incident(
        incident_id=incidents.incident_id(f"{series.subject.name}|drift {drift.metric}", f"{first:%Y-%m}"),
        first=first,
        last=series.days.day(last),
        state=results.IncidentState.OPEN,
        kind=results.Kind.DRIFT,
        severity=results.Severity.MEDIUM if severe else results.Severity.LOW,
        direction=direction,
        main_metric=drift.metric,
        rule=results.Rule.DRIFT,
        summary=text[0].upper() + text[1:],
        stake_per_day=float(spend) * min(share, 1.0) if worse else 0.0,
    )


def _delivery(series: SeriesAssessment) -> results.Delivery:
    days, last = series.days, series.last
    delivered = np.flatnonzero(days.delivered)
    present = np.arange(len(days.rows)) if days.present is None else np.flatnonzero(days.present)
    idle = last - int(delivered[-1]) if delivered.size else last + 1
    return results.Delivery(
        days.day(present[-1]) if present.size else None,
        days.day(delivered[-1]) if delivered.size else None,
        idle,
        stopped=idle >= STOPPED_DAYS or (idle > 0 and bool(series.paused[last])),
    )
