"""Judge a series of points as the service answers it."""

import math
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_anomaly import incidents, points
from adsml_anomaly.report import (
    DayAssessment,
    Direction,
    Incident,
    MetricAssessment,
    Report,
    Severity,
    Threshold,
)

FloatArray = npt.NDArray[np.float64]

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
    """Judge every point by the points before it.

    Parameters
    ----------
    name
        Of the measure.
    seconds
        Shape (n,): times since 1970 in seconds, rising.
    values
        Shape (n,): NaN where not known.
    season_length
        Steps in a season; None: found from the spacing.
    threshold
        Its rate is per 30 steps.
    anomalous_only
        Return only the points that are anomalous.
    """
    position, step = points.positions(seconds)
    season = points.season_of(step, season_length)
    found = points.judge(values, position, season)
    known = np.isfinite(found.z)
    calibrated = points.calibrate(found.score, known, season, p_value=threshold.p_value)
    p, limits = calibrated.p, calibrated.limits
    flags = np.nan_to_num(p, nan=1.0) <= threshold.p_value + 1e-12
    times = [datetime.fromtimestamp(s, UTC) for s in seconds]
    ids: dict[int, str] = {}
    groups: list[range] = []
    for a, b in incidents.runs(flags.tolist()):
        groups.append(range(a, b + 1))
        ids.update(dict.fromkeys(groups[-1], incidents.incident_id(name, times[a].isoformat())))
    told: dict[int, DayAssessment] = {}
    for t in range(values.size):
        if flags[t] or not anomalous_only:
            told[t] = _point(times[t], values[t], found, t, p[t], limits[t], threshold, ids.get(t, ""))
    return Report(
        days=tuple(told.values()),
        incidents=tuple(_incident([told[t] for t in rows], rows[-1] == values.size - 1) for rows in groups),
        threshold=threshold,
        warnings=(f"the first {season.learning} points are for learning and have no p-value",),
    )


def _point(
    time: datetime,
    value: float,
    found: points.Judged,
    t: int,
    p: float,
    limit: float,
    threshold: Threshold,
    incident: str,
) -> DayAssessment:
    known = bool(np.isfinite(found.z[t]))
    anomalous = bool(incident)
    side = Direction.UP if found.z[t] > 0 else Direction.DOWN
    observed = float(value) if np.isfinite(value) else None
    bounded = known and np.isfinite(limit)
    one = MetricAssessment(
        metric=None,
        observed=observed,
        expected=float(found.expected[t]) if np.isfinite(found.expected[t]) else None,
        lower=found.value_at(t, -limit) if bounded else None,
        upper=found.value_at(t, limit) if bounded else None,
        level=1.0 - threshold.p_value,
        robust_z=float(found.z[t]) if known else None,
        direction=side if anomalous else Direction.NONE,
        attribution=1.0,
    )
    severity = Severity.NONE
    if anomalous:
        severity = Severity(1 + int(found.score[t] >= _MEDIUM_Z) + int(found.score[t] >= _HIGH_Z))
    return DayAssessment(
        date=None,
        time=time,
        anomalous=anomalous,
        p_value=float(p) if np.isfinite(p) else None,
        isolation_forest=None,
        max_robust_z=float(found.score[t]) if known else None,
        mahalanobis=None,
        severity=severity,
        direction=one.direction,
        metrics=(one,),
        incident_id=incident,
        summary=_words(one) if anomalous else "",
    )


def _words(one: MetricAssessment) -> str:
    if one.lower is None or one.upper is None or not math.isfinite(one.upper):
        return f"Value {one.observed:.6g}"
    return f"Value {one.observed:.6g}, expected {one.lower:.6g} to {one.upper:.6g}"


def _incident(days: list[DayAssessment], ongoing: bool) -> Incident:
    worst = max(days, key=lambda day: (day.severity, day.max_robust_z or 0.0))
    sides = {day.direction for day in days}
    first, last = days[0].time, days[-1].time
    assert first is not None  # noqa: S101  # points are timed
    assert last is not None  # noqa: S101
    return Incident(
        incident_id=days[0].incident_id,
        first=first,
        last=last,
        severity=worst.severity,
        direction=sides.pop() if len(sides) == 1 else Direction.NONE,
        main_metric=None,
        ongoing=ongoing,
        summary=f"{len(days)} point{'s' if len(days) > 1 else ''} from {first:%Y-%m-%d %H:%M}: {worst.summary}",
    )
