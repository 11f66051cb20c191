"""Judge a series of points as the service answers it."""

import math
from datetime import UTC, datetime
from typing import Final

import numpy as np

from adsml_anomaly.models import incidents, points
from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.results import (
    DayAssessment,
    Direction,
    IncidentState,
    MetricAssessment,
    Report,
    Severity,
    Threshold,
)

_MEDIUM_Z: Final = 5.0
_HIGH_Z: Final = 8.0


def assess_points(
    name: str,
    seconds: FloatArray,
    values: FloatArray,
    *,
    season_length: int | None,
    threshold: Threshold,
    anomalous_only: bool,
) -> Report:
    """Judge every point (seconds since 1970, rising, and values, NaN where not known) by the points before it.

    `season_length` is in steps (None: found from the spacing), the threshold's rate per 30 steps.
    """
    position, step = points.positions(seconds)
    season = points.season_of(step, season_length)
    scores = points.judge(values, position, season)
    known = np.isfinite(scores.z)
    p, limits = points.calibrate(scores.score, known, season, p_value=threshold.p_value)
    flags = np.nan_to_num(p, nan=1.0) <= threshold.p_value + 1e-12
    times = [datetime.fromtimestamp(s, UTC) for s in seconds]
    ids: dict[int, str] = {}
    groups: list[range] = []
    for t in np.flatnonzero(flags).tolist():
        if groups and groups[-1].stop == t:
            groups[-1] = range(groups[-1].start, t + 1)
        else:
            groups.append(range(t, t + 1))
        ids[t] = incidents.incident_id(name, times[groups[-1].start].isoformat())
    assessed = {
        t: _point(times[t], values[t], scores, t, p[t], limits[t], threshold, ids.get(t, ""))
        for t in range(values.size)
        if flags[t] or not anomalous_only
    }
    last = values.size - 1
    return Report(
        days=tuple(assessed.values()),
        incidents=tuple(
            incidents.incident_of(
                [assessed[t] for t in rows],
                state=IncidentState.RESOLVED if rows[-1] < last else IncidentState.OPEN,
            )
            for rows in groups
        ),
        threshold=threshold,
        learning_points=season.learning,
    )


def _point(
    time: datetime,
    value: float,
    scores: points.PointScores,
    t: int,
    p: float,
    limit: float,
    threshold: Threshold,
    incident: str,
) -> DayAssessment:
    known = bool(np.isfinite(scores.z[t]))
    anomalous = bool(incident)
    side = Direction.UP if scores.z[t] > 0 else Direction.DOWN
    bounded = known and np.isfinite(limit)
    one = MetricAssessment(
        metric=None,
        observed=float(value) if np.isfinite(value) else None,
        expected=float(scores.expected[t]) if np.isfinite(scores.expected[t]) else None,
        lower=scores.value_at(t, -limit) if bounded else None,
        upper=scores.value_at(t, limit) if bounded else None,
        level=1.0 - threshold.p_value,
        robust_z=float(scores.z[t]) if known else None,
        direction=side if anomalous else Direction.NONE,
        attribution=1.0,
    )
    severity = Severity.NONE
    if anomalous:
        severity = Severity(1 + int(scores.score[t] >= _MEDIUM_Z) + int(scores.score[t] >= _HIGH_Z))
    return DayAssessment(
        date=None,
        time=time,
        anomalous=anomalous,
        p_value=float(p) if np.isfinite(p) else None,
        isolation_forest=None,
        max_robust_z=float(scores.score[t]) if known else None,
        mahalanobis=None,
        severity=severity,
        direction=one.direction,
        metrics=(one,),
        incident_id=incident,
        summary=_words(one) if anomalous else "",
    )


def _words(one: MetricAssessment) -> str:
    observed = one.observed or 0.0
    if one.lower is None or one.upper is None or not math.isfinite(one.upper):
        return f"Value {observed:.6g}"
    for digits in range(6, 17):
        seen, low, high = (float(f"{value:.{digits}g}") for value in (observed, one.lower, one.upper))
        if not low <= seen <= high:
            break
    return f"Value {seen:.{digits}g}, expected {low:.{digits}g} to {high:.{digits}g}"
