"""Fixed rules beside the scores: what costs money now, whatever the statistics say.

Each asks for volume enough to be believed and for a deviation that noise does not make, so that together they add
next to nothing to the false alarms.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.metrics import Metric

from adsml_anomaly.channels import CHANNELS, Days, metric_values
from adsml_anomaly.model import Scores
from adsml_anomaly.report import Rule, RuleAlarm, Severity

FloatArray = npt.NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class _Seen:
    """A series with what its rules look at."""

    rows: FloatArray
    delivered: npt.NDArray[np.bool_]
    values: FloatArray
    z: FloatArray
    mean: FloatArray
    gated: npt.NDArray[np.bool_]
    phi: FloatArray
    unit_price: float


Found = Iterator[tuple[int, RuleAlarm]]


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
    seen = _Seen(
        days.rows,
        days.delivered,
        metric_values(days.rows),
        found.z,
        found.mean,
        scores.gated,
        phi,
        unit_price,
    )
    out: dict[int, tuple[RuleAlarm, ...]] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for rule in (_zero_spend, _collapse, _spend_spike, _cpl_spike, _ctr_drop, _leads_stopped):
            for t, alarm in rule(seen, start):
                if alarm.rule is not Rule.ZERO_SPEND or t not in paused:
                    out[t] = (*out.get(t, ()), alarm)
    return out


def _from(mask: npt.NDArray[np.bool_], start: int) -> list[int]:
    return [int(t) + start for t in np.flatnonzero(mask[start:])]


def _zero_spend(seen: _Seen, start: int) -> Found:
    for t in _from(seen.rows[:, 0] <= 0.0, start):
        before = slice(max(t - 7, 0), t)
        usual = seen.rows[before][seen.delivered[before]]
        if len(usual) < ACTIVE_DAYS or np.median(usual[:, 1]) < LEAST_IMPRESSIONS:
            continue
        text = f"no spend; usual is {np.median(usual[:, 0]):.2f} a day"
        yield t, RuleAlarm(Rule.ZERO_SPEND, Metric.SPEND, Severity.CRITICAL, text)


def _collapse(seen: _Seen, start: int) -> Found:
    expected = seen.mean[:, _IMPRESSIONS]
    mask = (
        (seen.rows[:, 0] > 0)
        & (seen.rows[:, 1] <= COLLAPSE_SHARE * expected)
        & (expected >= LEAST_IMPRESSIONS)
        & (seen.z[:, _IMPRESSIONS] <= -_COLLAPSE_Z)
    )
    for t in _from(mask, start):
        text = f"{seen.rows[t, 1]:,.0f} impressions, expected about {expected[t]:,.0f}"
        yield t, RuleAlarm(Rule.DELIVERY_COLLAPSE, Metric.IMPRESSIONS, Severity.CRITICAL, text)


def _spend_spike(seen: _Seen, start: int) -> Found:
    expected = seen.mean[:, _SPEND] * seen.unit_price
    mask = (seen.rows[:, 0] >= SPIKE_FACTOR * expected) & (seen.z[:, _SPEND] >= _FAR_Z)
    for t in _from(mask, start):
        times = seen.rows[t, 0] / expected[t]
        bad = Severity.CRITICAL if times >= RUNAWAY_FACTOR else Severity.HIGH
        text = f"spend {seen.rows[t, 0]:,.2f}, {times:.1f} times the expected {expected[t]:,.2f}"
        yield t, RuleAlarm(Rule.SPEND_SPIKE, Metric.SPEND, bad, text)


def _cpl_spike(seen: _Seen, start: int) -> Found:
    cpl, expected = seen.values[:, _CPL], seen.rows[:, 0] / seen.mean[:, _CPL]
    mask = (cpl >= CPL_FACTOR * expected) & (seen.z[:, _CPL] <= -_CLEAR_Z) & ~seen.gated[:, _CPL]
    for t in _from(mask, start):
        text = f"CPL {cpl[t]:,.2f} on {seen.rows[t, 3]:g} leads, expected {expected[t]:,.2f}"
        yield t, RuleAlarm(Rule.CPL_SPIKE, Metric.CPL, Severity.HIGH, text)


def _ctr_drop(seen: _Seen, start: int) -> Found:
    ctr, expected = seen.values[:, _CTR], 100.0 * seen.mean[:, _CTR] / seen.rows[:, 1]
    mask = (ctr <= CTR_FACTOR * expected) & (seen.z[:, _CTR] <= -_CLEAR_Z) & ~seen.gated[:, _CTR]
    for t in _from(mask, start):
        text = f"CTR {ctr[t]:.2f}% on {seen.rows[t, 1]:,.0f} impressions, expected {expected[t]:.2f}%"
        yield t, RuleAlarm(Rule.CTR_DROP, Metric.CTR, Severity.MEDIUM, text)


def _leads_stopped(seen: _Seen, start: int) -> Found:
    going_on = seen.rows[:, 2] >= _CLICKS_SHARE * seen.mean[:, _CLICKS]
    for t in _from(seen.delivered & (seen.rows[:, 3] == 0) & going_on, start):
        missing = _missing_leads(t, seen)
        if missing > 0:
            text = f"no leads on {seen.rows[t, 2]:,.0f} clicks, about {missing:.0f} expected: is tracking broken?"
            yield t, RuleAlarm(Rule.LEADS_STOPPED, Metric.LEADS, Severity.CRITICAL, text)


def _missing_leads(t: int, seen: _Seen) -> float:
    """Leads that a run of lead-less days should have had, if that is past chance; else 0.

    The chance of none is that of an uneven count, ``(1 + phi expected) ** (-1 / phi)``.
    """
    rows, first = seen.rows, t
    while (
        first > 0 and t - first < _LONGEST_RUN - 1 and seen.delivered[first - 1] and rows[first - 1, 3] == 0
    ):
        first -= 1
    usual, phi = seen.mean[first, _CVR], float(seen.phi[_CVR])
    if not np.isfinite(usual) or rows[first, 2] <= 0:
        return 0.0
    # The rate as it was believed before the run began, on all clicks since.
    expected = float(usual / rows[first, 2] * rows[first : t + 1, 2].sum())
    log_chance = -math.log1p(phi * expected) / phi
    return expected if log_chance <= _LOG_CHANCE else 0.0
