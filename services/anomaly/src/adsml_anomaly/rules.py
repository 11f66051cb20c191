"""Fixed rules beside the scores: what costs money now, whatever the statistics say.

Each asks for volume enough to be believed and for a deviation that noise does not make, so that together they add
next to nothing to the false alarms.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled
from adsml_common.domain.metrics import Metric

from adsml_anomaly.channels import CHANNELS, Days
from adsml_anomaly.model import Scores
from adsml_anomaly.report import Rule, RuleAlarm, Severity

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ACTIVE_DAYS: Final = 6
"""Of the 7 days before, days with delivery that make an entity active."""
LEAST_IMPRESSIONS: Final = 200.0
COLLAPSE_SHARE: Final = 0.15
SPIKE_FACTOR: Final = 1.5
RUNAWAY_FACTOR: Final = 3.0
CPL_FACTOR: Final = 1.5
CTR_FACTOR: Final = 0.7
_FAR_Z: Final = 5.0
_CLEAR_Z: Final = 3.5
_COLLAPSE_Z: Final = 4.0
_LOG_CHANCE: Final = math.log(5e-4)
_LONGEST_RUN: Final = 7
_CLICKS_SHARE: Final = 0.3
_SPEND, _IMPRESSIONS, _CLICKS, _CPL, _CTR, _CVR = (
    CHANNELS.index(m)
    for m in (
        Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.CPL, Metric.CTR,
        Metric.CONVERSION_RATE,
    )
)  # fmt: skip


_ORDER: Final = (
    Rule.ZERO_SPEND, Rule.DELIVERY_COLLAPSE, Rule.SPEND_SPIKE, Rule.CPL_SPIKE, Rule.CTR_DROP, Rule.LEADS_STOPPED,
)  # fmt: skip
_ZERO, _FALL, _SPIKE, _COST, _DROP, _STOPPED = range(len(_ORDER))


def rule_alarms(
    days: Days, scores: Scores, phi: FloatArray, unit_price: float, *, start: int, paused: frozenset[int]
) -> dict[int, tuple[RuleAlarm, ...]]:
    """Alarms by row, for rows from `start` on.

    Parameters
    ----------
    days, scores
        The series and its scores.
    phi
        Shape (channels,): unevenness.
    unit_price
        Spend in one unit of the spend channel.
    start
        First row to look at.
    paused
        Rows on which the entity is known to have been switched off: there, no spend is no alarm.
    """
    found = scores.innovations
    usual = np.zeros((len(days.rows), len(_ORDER)))
    _fire(days.rows, found.z, found.mean, scores.gated, float(phi[_CVR]), unit_price, start, usual)
    out: dict[int, tuple[RuleAlarm, ...]] = {}
    for t, k in zip(*np.nonzero(usual[start:]), strict=True):
        row = int(t) + start
        if _ORDER[k] is not Rule.ZERO_SPEND or row not in paused:
            alarm = _told(_ORDER[k], days.rows[row], float(usual[row, k]))
            out[row] = (*out.get(row, ()), alarm)
    return out


@compiled
def _fire(  # one branch a rule
    rows: FloatArray,
    z: FloatArray,
    mean: FloatArray,
    gated: BoolArray,
    phi_conversion: float,
    unit_price: float,
    start: int,
    usual: FloatArray,
) -> None:
    """Per rule in `_ORDER`: what was to be expected where it fires, above 0; else 0 as it was."""
    for t in range(start, rows.shape[0]):
        spend, impressions, clicks, leads = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3]
        if spend <= 0.0:
            usual[t, _ZERO] = _usual_spend(rows, t)
        expected = mean[t, _IMPRESSIONS]
        if (
            spend > 0.0
            and expected >= LEAST_IMPRESSIONS
            and impressions <= COLLAPSE_SHARE * expected
            and z[t, _IMPRESSIONS] <= -_COLLAPSE_Z
        ):
            usual[t, _FALL] = expected
        expected = mean[t, _SPEND] * unit_price
        if expected > 0.0 and spend >= SPIKE_FACTOR * expected and z[t, _SPEND] >= _FAR_Z:
            usual[t, _SPIKE] = expected
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
            usual[t, _STOPPED] = _missing_leads(t, rows, mean, phi_conversion)


@compiled
def _usual_spend(rows: FloatArray, t: int) -> float:
    """Median spend of the active days in the week before; 0 where the entity was hardly active."""
    first, n = max(t - 7, 0), 0
    spend, impressions = np.empty(7), np.empty(7)
    for s in range(first, t):
        if rows[s, 0] > 0.0 or rows[s, 1] > 0.0:
            spend[n], impressions[n] = rows[s, 0], rows[s, 1]
            n += 1
    if n < ACTIVE_DAYS or np.median(impressions[:n]) < LEAST_IMPRESSIONS:
        return 0.0
    return float(np.median(spend[:n]))


@compiled
def _missing_leads(t: int, rows: FloatArray, mean: FloatArray, phi: float) -> float:
    """Leads that a run of lead-less days should have had, if that is past chance; else 0.

    The chance of none is that of an uneven count, ``(1 + phi expected) ** (-1 / phi)``.
    """
    first = t
    while (
        first > 0
        and t - first < _LONGEST_RUN - 1
        and (rows[first - 1, 0] > 0.0 or rows[first - 1, 1] > 0.0)
        and rows[first - 1, 3] == 0.0
    ):
        first -= 1
    usual = mean[first, _CVR]
    if not np.isfinite(usual) or rows[first, 2] <= 0.0:
        return 0.0
    # The rate as it was believed before the run began, on all clicks since.
    expected = float(usual / rows[first, 2] * rows[first : t + 1, 2].sum())
    log_chance = -math.log1p(phi * expected) / phi
    return expected if log_chance <= _LOG_CHANCE else 0.0


def _told(rule: Rule, row: FloatArray, usual: float) -> RuleAlarm:
    """An alarm in words; `usual` as `_fire` gives it."""
    spend, impressions, clicks, leads = (float(value) for value in row[:4])
    match rule:
        case Rule.ZERO_SPEND:
            text = f"no spend; usual is {usual:,.2f} a day"
            return RuleAlarm(rule, Metric.SPEND, Severity.CRITICAL, text)
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
            text = f"no leads on {clicks:,.0f} clicks, about {usual:.0f} expected: is tracking broken?"
            return RuleAlarm(rule, Metric.LEADS, Severity.CRITICAL, text)
