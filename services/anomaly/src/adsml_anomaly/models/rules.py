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
from adsml_anomaly.models.channels import CHANNELS, Days
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.local_level import COLLAPSE_SHARE
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
_SPEND, _IMPRESSIONS, _CLICKS, _CPL, _CTR, _CVR = (
    CHANNELS.index(m)
    for m in (
        Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.CPL, Metric.CTR, Metric.CONVERSION_RATE,
    )
)  # fmt: skip
_ORDER: Final = (
    Rule.ZERO_SPEND, Rule.DELIVERY_COLLAPSE, Rule.SPEND_SPIKE, Rule.CPL_SPIKE, Rule.CTR_DROP, Rule.LEADS_STOPPED,
)  # fmt: skip
_ZERO, _FALL, _SPIKE, _COST, _DROP, _STOPPED = range(len(_ORDER))


def rule_alarms(
    days: Days,
    scores: Scores,
    phi: FloatArray,
    unit_price: float,
    *,
    start: int,
    paused: frozenset[int],
    completeness: Completeness | None = None,
) -> dict[int, tuple[RuleAlarm, ...]]:
    """Alarms by row, for rows from `start` on.

    `phi`, shape (channels,), is the unevenness, `unit_price` the spend in one unit of the spend channel; on `paused`
    rows no spend is no alarm; without `completeness` all days are complete.
    """
    innovations = scores.innovations
    complete = Completeness.whole(len(days.rows)) if completeness is None else completeness
    usual, since = _fire(
        days.rows, days.first_day.weekday(), innovations.z, innovations.mean, innovations.stretch, scores.gated,
        float(phi[_CVR]), unit_price, complete.filling, complete.factor[_CVR], start,
    )  # fmt: skip
    out: dict[int, tuple[RuleAlarm, ...]] = {}
    for t, k in zip(*np.nonzero(usual[start:]), strict=True):
        row = int(t) + start
        if _ORDER[k] is not Rule.ZERO_SPEND or row not in paused:
            alarm = _alarm(_ORDER[k], days, row, int(since[row, k]), float(usual[row, k]))
            out[row] = (*out.get(row, ()), alarm)
    return out


@compiled
def _fire(  # one branch a rule
    rows: FloatArray,
    weekday: int,
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
            usual[t, _ZERO], since[t, _ZERO] = _missing_spend(rows, weekday, t)
        expected = mean[t, _IMPRESSIONS]
        if (
            spend > 0.0
            and not filling[t]
            and expected >= LEAST_IMPRESSIONS
            and impressions <= COLLAPSE_SHARE * expected
            and z[t, _IMPRESSIONS] <= -_COLLAPSE_Z
        ):
            usual[t, _FALL] = expected
        expected = mean[t, _SPEND] * unit_price
        if expected > 0.0 and spend >= SPIKE_FACTOR * expected and z[t, _SPEND] >= _FAR_Z:
            usual[t, _SPIKE] = expected
        if filling[t]:
            continue
        # Of a cost, the count's innovation is what falls.
        if leads > 0.0 and not gated[t, _CPL] and z[t, _CPL] <= -_CLEAR_Z and mean[t, _CPL] > 0.0:
            expected = spend / mean[t, _CPL]
            if spend / leads >= CPL_FACTOR * expected:
                usual[t, _COST] = expected
        if impressions > 0.0 and not gated[t, _CTR] and z[t, _CTR] <= -_CLEAR_Z:
            expected = 100.0 * mean[t, _CTR] / impressions
            if 100.0 * clicks / impressions <= CTR_FACTOR * expected:
                usual[t, _DROP] = expected
        delivered = spend > 0.0 or impressions > 0.0
        if delivered and leads == 0.0 and clicks >= _CLICKS_SHARE * mean[t, _CLICKS]:
            usual[t, _STOPPED], since[t, _STOPPED] = _missing_leads(
                t, rows, mean, stretch, phi_conversion, leads_in
            )
    return usual, since


@compiled
def _missing_spend(rows: FloatArray, weekday: int, t: int) -> tuple[float, int]:
    """Usual spend on a day without any, and when that began; 0 where none was to be expected.

    Expected is what the last good week had, or the last weeks on this weekday where only some weekdays deliver.
    """
    first = t
    while first > 0 and rows[first - 1, 0] <= 0.0:
        first -= 1
    if t - first >= STOPPED_DAYS:
        return 0.0, -1
    spend, impressions, n = np.empty(7), np.empty(7), 0
    for s in range(max(first - 7, 0), first):
        if rows[s, 0] > 0.0 or rows[s, 1] > 0.0:
            spend[n], impressions[n] = rows[s, 0], rows[s, 1]
            n += 1
    if n < ACTIVE_DAYS:
        n = _same_weekday(rows, weekday, first, t, spend, impressions)
    if n == 0 or np.median(impressions[:n]) < LEAST_IMPRESSIONS:
        return 0.0, -1
    return float(np.median(spend[:n])), first


@compiled
def _same_weekday(
    rows: FloatArray, weekday: int, first: int, t: int, spend: FloatArray, impressions: FloatArray
) -> int:
    """How many days with delivery this weekday had before `first`, into the arrays; 0 where that is no pattern."""
    if first < 7 * PATTERN_WEEKS:
        return 0
    active = np.zeros(7, dtype=np.int64)
    for s in range(first - 7 * PATTERN_WEEKS, first):
        active[(weekday + s) % 7] += rows[s, 0] > 0.0
    exceptions = 0
    for w in range(7):
        exceptions += min(active[w], PATTERN_WEEKS - active[w])
    if exceptions > PATTERN_EXCEPTIONS or active[(weekday + t) % 7] < PATTERN_WEEKS - 1:
        return 0
    n = 0
    for s in range(first - 7 * PATTERN_WEEKS, first):
        if (weekday + s) % 7 == (weekday + t) % 7 and rows[s, 0] > 0.0:
            spend[n], impressions[n] = rows[s, 0], rows[s, 1]
            n += 1
    return n


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
    usual = mean[first, _CVR]
    if not np.isfinite(usual) or rows[first, 2] <= 0.0:
        return 0.0, -1
    # The rate as it was believed before the run began, on all clicks since.
    clicks = 0.0
    for s in range(first, t + 1):
        clicks += rows[s, 2] * leads_in[s]
    expected = usual / (rows[first, 2] * leads_in[first]) * clicks
    noise = phi + 1.0 / (usual + ANSCOMBE)
    v = phi + noise * (stretch[first, _CVR] ** 2 - 1.0)
    if math.log1p(v * expected) / v < -_LOG_CHANCE:
        return 0.0, -1
    return float(expected), first


def _alarm(rule: Rule, days: Days, t: int, since: int, usual: float) -> RuleAlarm:
    """An alarm in words; `usual` and `since` as `_fire` gives them."""
    spend, impressions, clicks, leads = (float(value) for value in days.rows[t, :4])
    match rule:
        case Rule.ZERO_SPEND:
            absent = days.present is not None and not days.present[since : t + 1].any()
            what = "no rows" if absent else "no spend"
            span = f" since {days.day(since)}" if since < t else ""
            text = f"{what}{span}; usual is {usual:,.2f} a day"
            return RuleAlarm(
                Rule.ABSENT_DATA if absent else rule, Metric.SPEND, Severity.CRITICAL, text, days.day(since)
            )
        case Rule.DELIVERY_COLLAPSE:
            text = f"{impressions:,.0f} impressions, expected about {usual:,.0f}"
            return RuleAlarm(rule, Metric.IMPRESSIONS, Severity.CRITICAL, text)
        case Rule.SPEND_SPIKE:
            times = spend / usual
            bad = Severity.CRITICAL if times >= RUNAWAY_FACTOR else Severity.HIGH
            text = f"spend {spend:,.2f}, {times:.1f} times the expected {usual:,.2f}"
            return RuleAlarm(rule, Metric.SPEND, bad, text)
        case Rule.CPL_SPIKE:
            text = f"CPL {spend / leads:,.2f} on {leads:g} leads, expected {usual:,.2f}"
            return RuleAlarm(rule, Metric.CPL, Severity.HIGH, text)
        case Rule.CTR_DROP:
            ctr = 100.0 * clicks / impressions
            text = f"CTR {ctr:.2f}% on {impressions:,.0f} impressions, expected {usual:.2f}%"
            return RuleAlarm(rule, Metric.CTR, Severity.MEDIUM, text)
        case Rule.LEADS_STOPPED:
            seen = f"{days.rows[since : t + 1, 2].sum():,.0f} clicks"
            span = f" since {days.day(since)}" if since < t else ""
            text = f"no leads on {seen}{span}, about {usual:,.0f} expected: is tracking broken?"
            return RuleAlarm(rule, Metric.LEADS, Severity.CRITICAL, text, days.day(since))
        case _:
            raise AssertionError(rule)
