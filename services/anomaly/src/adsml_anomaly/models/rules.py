"""Fixed rules beside the scores: what costs money now, whatever the statistics say.

Each asks for volume enough to be believed and for a deviation that noise does not make, so that together they add
next to nothing to the false alarms. A rule holds on every day until the entity is back, not only on the first ones: no
delivery is held against the last week (or the last weeks of that weekday) with delivery, lost leads against the
conversion rate before the first day without.
"""

import math
from typing import Final

import numpy as np
from adsml_common.compiled import compiled
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import BoolArray, FloatArray, IntArray
from adsml_anomaly.models.channels import CLICKS, CONVERSION, CPL, CTR, IMPRESSIONS, SPEND, Days
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.local_level import COLLAPSE_SHARE, Dynamics
from adsml_anomaly.models.results import Rule, RuleAlarm, Severity
from adsml_anomaly.models.series_model import Scores
from adsml_anomaly.models.stabilise import ANSCOMBE

ACTIVE_DAYS: Final = 6
"""Of the 7 days before it stopped, days with delivery that make an entity one that delivers daily."""
PATTERN_WEEKS: Final = 4
PATTERN_EXCEPTIONS: Final = 2
"""An entity that delivers on some weekdays only: weeks looked at, and days in them that may break the pattern."""
STOPPED_DAYS: Final = 14
"""Days without delivery after which an entity has stopped: its alarm ends."""
LEAST_IMPRESSIONS: Final = 200.0
SPIKE_FACTOR: Final = 1.5
RUNAWAY_FACTOR: Final = 3.0
CPL_FACTOR: Final = 1.5
CTR_FACTOR: Final = 0.7
_FAR_Z: Final = 5.0
_CLEAR_Z: Final = 3.5
_COLLAPSE_Z: Final = 4.0
_LOG_CHANCE: Final = math.log(5e-4)
_LONGEST_RUN: Final = 28
_CLICKS_SHARE: Final = 0.3
_ORDER: Final = (
    Rule.ZERO_SPEND, Rule.DELIVERY_COLLAPSE, Rule.SPEND_SPIKE, Rule.CPL_SPIKE, Rule.CTR_DROP, Rule.LEADS_STOPPED,
)  # fmt: skip
_ZERO, _FALL, _SPIKE, _COST, _DROP, _STOPPED = range(len(_ORDER))


def rule_alarms(
    days: Days, scores: Scores, dynamics: Dynamics, *, start: int, paused: BoolArray, complete: Completeness
) -> dict[int, tuple[RuleAlarm, ...]]:
    """Alarms by row, for rows from `start` on; on `paused` rows no spend is no alarm."""
    innovations, phi, leads_in = scores.innovations, dynamics.phi[CONVERSION], complete.factor[CONVERSION]
    usual, since = _fire(
        days.rows, innovations.z, innovations.mean, innovations.stretch, scores.gated,
        float(phi), dynamics.unit_price, complete.filling, leads_in, start,
    )  # fmt: skip
    out: dict[int, tuple[RuleAlarm, ...]] = {}
    for t, k in zip(*np.nonzero(usual[start:]), strict=True):
        row = int(t) + start
        if _ORDER[k] is not Rule.ZERO_SPEND or not paused[row]:
            alarm = _alarm(_ORDER[k], days, row, int(since[row, k]), float(usual[row, k]))
            out[row] = (*out.get(row, ()), alarm)
    return out


@compiled
def _fire(  # one branch a rule
    rows: FloatArray,
    z: FloatArray,
    mean: FloatArray,
    stretch: FloatArray,
    gated: BoolArray,
    phi_conversion: float,
    unit_price: float,
    filling: BoolArray,
    leads_in: FloatArray,
    start: int,
) -> tuple[FloatArray, IntArray]:
    """Shape (T, rules): what was to be expected where a rule of `_ORDER` fires, above 0, and since which row."""
    usual = np.zeros((rows.shape[0], _STOPPED + 1))
    since = np.full(usual.shape, -1, dtype=np.int64)
    for t in range(start, rows.shape[0]):
        spend, impressions, clicks, leads = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3]
        if spend <= 0.0 and not filling[t]:
            usual[t, _ZERO], since[t, _ZERO] = _missing_spend(rows, t)
        expected = mean[t, IMPRESSIONS]
        if (
            spend > 0.0
            and not filling[t]
            and expected >= LEAST_IMPRESSIONS
            and impressions <= COLLAPSE_SHARE * expected
            and z[t, IMPRESSIONS] <= -_COLLAPSE_Z
        ):
            usual[t, _FALL] = expected
        expected = mean[t, SPEND] * unit_price
        if expected > 0.0 and spend >= SPIKE_FACTOR * expected and z[t, SPEND] >= _FAR_Z:
            usual[t, _SPIKE] = expected
        if filling[t]:
            continue
        # Of a cost, the count's innovation is what falls.
        if leads > 0.0 and not gated[t, CPL] and z[t, CPL] <= -_CLEAR_Z and mean[t, CPL] > 0.0:
            expected = spend / mean[t, CPL]
            if spend / leads >= CPL_FACTOR * expected:
                usual[t, _COST] = expected
        if impressions > 0.0 and not gated[t, CTR] and z[t, CTR] <= -_CLEAR_Z:
            expected = 100.0 * mean[t, CTR] / impressions
            if 100.0 * clicks / impressions <= CTR_FACTOR * expected:
                usual[t, _DROP] = expected
        delivered = spend > 0.0 or impressions > 0.0
        if delivered and leads == 0.0 and clicks >= _CLICKS_SHARE * mean[t, CLICKS]:
            usual[t, _STOPPED], since[t, _STOPPED] = _missing_leads(
                t, rows, mean, stretch, phi_conversion, leads_in
            )
    return usual, since


@compiled
def _missing_spend(rows: FloatArray, t: int) -> tuple[float, int]:
    """Usual spend on a day without any, and when that began; 0 where none was to be expected.

    Expected is what the last good week had, or the last weeks on this weekday where only some weekdays deliver.
    """
    first = t
    while first > 0 and rows[first - 1, 0] <= 0.0:
        first -= 1
    if t - first >= STOPPED_DAYS:
        return 0.0, -1
    due = np.zeros(first, dtype=np.bool_)
    for s in range(max(first - 7, 0), first):
        due[s] = rows[s, 0] > 0.0 or rows[s, 1] > 0.0
    if due.sum() < ACTIVE_DAYS:
        due[:] = False
        if _is_weekly(rows, first, t):
            for s in range(first - 7 * PATTERN_WEEKS, first):
                due[s] = (t - s) % 7 == 0 and rows[s, 0] > 0.0
    if not due.any() or np.median(rows[:first, 1][due]) < LEAST_IMPRESSIONS:
        return 0.0, -1
    return float(np.median(rows[:first, 0][due])), first


@compiled
def _is_weekly(rows: FloatArray, first: int, t: int) -> bool:
    """Whether before `first` some weekdays delivered, that of `t` among them, and others did not."""
    if first < 7 * PATTERN_WEEKS:
        return False
    active = np.zeros(7, dtype=np.int64)
    for s in range(first - 7 * PATTERN_WEEKS, first):
        active[s % 7] += rows[s, 0] > 0.0
    exceptions = np.minimum(active, PATTERN_WEEKS - active).sum()
    return bool(exceptions <= PATTERN_EXCEPTIONS and active[t % 7] >= PATTERN_WEEKS - 1)


@compiled
def _missing_leads(
    t: int, rows: FloatArray, mean: FloatArray, stretch: FloatArray, phi: float, leads_in: FloatArray
) -> tuple[float, int]:
    """Leads that a run of lead-less days should have had, if that is past chance, and its first day; else 0.

    The chance of none is that of an uneven count, ``(1 + v expected) ** (-1 / v)``, where ``v`` is the unevenness
    from day to day and what is not known of the rate.
    """
    first, s = t, t - 1
    while s >= 0 and t - s < _LONGEST_RUN and rows[s, 3] == 0.0:
        if rows[s, 0] > 0.0 or rows[s, 1] > 0.0:
            first = s
        s -= 1
    usual = mean[first, CONVERSION]
    if not np.isfinite(usual) or rows[first, 2] <= 0.0:
        return 0.0, -1
    # The rate as it was believed before the run began, on all clicks since.
    clicks = 0.0
    for s in range(first, t + 1):
        clicks += rows[s, 2] * leads_in[s]
    expected = usual / (rows[first, 2] * leads_in[first]) * clicks
    noise = phi + 1.0 / (usual + ANSCOMBE)
    v = phi + noise * (stretch[first, CONVERSION] ** 2 - 1.0)
    if math.log1p(v * expected) / v < -_LOG_CHANCE:
        return 0.0, -1
    return float(expected), first


def _alarm(rule: Rule, days: Days, t: int, since: int, usual: float) -> RuleAlarm:
    """An alarm in words; `usual` and `since` as `_fire` gives them."""
    spend, impressions, clicks, leads = (float(value) for value in days.rows[t, :4])
    began = days.day(since) if since >= 0 else None
    span = f" since {began}" if since < t else ""
    severity = Severity.CRITICAL
    match rule:
        case Rule.ZERO_SPEND:
            absent = days.present is not None and not days.present[since : t + 1].any()
            rule, metric = Rule.ABSENT_DATA if absent else rule, Metric.SPEND
            text = f"no {'rows' if absent else 'spend'}{span}; usual is {usual:,.2f} a day"
        case Rule.DELIVERY_COLLAPSE:
            metric, text = Metric.IMPRESSIONS, f"{impressions:,.0f} impressions, expected about {usual:,.0f}"
        case Rule.SPEND_SPIKE:
            severity = severity if spend / usual >= RUNAWAY_FACTOR else Severity.HIGH
            times = f"{spend / usual:.1f} times the expected {usual:,.2f}"
            metric, text = Metric.SPEND, f"spend {spend:,.2f}, {times}"
        case Rule.CPL_SPIKE:
            metric, severity = Metric.CPL, Severity.HIGH
            text = f"CPL {spend / leads:,.2f} on {leads:g} leads, expected {usual:,.2f}"
        case Rule.CTR_DROP:
            metric, severity, ctr = Metric.CTR, Severity.MEDIUM, 100.0 * clicks / impressions
            text = f"CTR {ctr:.2f}% on {impressions:,.0f} impressions, expected {usual:.2f}%"
        case _:
            metric, clicks = Metric.LEADS, days.rows[since : t + 1, 2].sum()
            text = f"no leads on {clicks:,.0f} clicks{span}, about {usual:,.0f} expected: is tracking broken?"
    return RuleAlarm(rule, metric, severity, text, began)
