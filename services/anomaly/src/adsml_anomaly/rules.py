"""Fixed rules beside the scores: what costs money now, whatever the statistics say.

Each asks for volume enough to be believed and for a deviation that noise does not make, so that together they add
next to nothing to the false alarms.
"""

import math
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
_SPEND, _IMPRESSIONS, _CLICKS, _LEADS, _CPL, _CTR, _CVR = (
    CHANNELS.index(m)
    for m in (
        Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.LEADS, Metric.CPL, Metric.CTR,
        Metric.CONVERSION_RATE,
    )
)  # fmt: skip


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
    rows, delivered = days.rows, days.delivered
    z, mean = scores.innovations.z, scores.innovations.mean
    values = metric_values(rows)
    found: dict[int, list[RuleAlarm]] = {}

    def add(t: int, rule: Rule, metric: Metric, severity: Severity, message: str) -> None:
        found.setdefault(t, []).append(RuleAlarm(rule, metric, severity, message))

    for t in np.flatnonzero(rows[start:, 0] <= 0.0) + start:
        before = slice(max(t - 7, 0), t)
        active = delivered[before]
        usual = rows[before][active]
        if int(t) in paused or active.sum() < ACTIVE_DAYS or np.median(usual[:, 1]) < LEAST_IMPRESSIONS:
            continue
        spend = float(np.median(usual[:, 0]))
        add(int(t), Rule.ZERO_SPEND, Metric.SPEND, Severity.CRITICAL, f"no spend; usual is {spend:.2f} a day")
    with np.errstate(invalid="ignore"):
        collapsed = (
            delivered
            & (rows[:, 0] > 0)
            & (rows[:, 1] <= COLLAPSE_SHARE * mean[:, _IMPRESSIONS])
            & (mean[:, _IMPRESSIONS] >= LEAST_IMPRESSIONS)
            & (z[:, _IMPRESSIONS] <= -_COLLAPSE_Z)
        )
        expected_spend = mean[:, _SPEND] * unit_price
        spiked = (rows[:, 0] >= SPIKE_FACTOR * expected_spend) & (z[:, _SPEND] >= _FAR_Z)
        expected_cpl = rows[:, 0] / mean[:, _CPL]
        dear = (
            (values[:, _CPL] >= CPL_FACTOR * expected_cpl)
            & (z[:, _CPL] <= -_CLEAR_Z)
            & ~scores.gated[:, _CPL]
        )
        expected_ctr = 100.0 * mean[:, _CTR] / rows[:, 1]
        dull = (
            (values[:, _CTR] <= CTR_FACTOR * expected_ctr)
            & (z[:, _CTR] <= -_CLEAR_Z)
            & ~scores.gated[:, _CTR]
        )
        silent = delivered & (rows[:, 3] == 0) & (rows[:, 2] >= 0.3 * mean[:, _CLICKS])
    for t in map(int, np.flatnonzero(collapsed)):
        if t >= start:
            what = f"{rows[t, 1]:,.0f} impressions, expected about {mean[t, _IMPRESSIONS]:,.0f}"
            add(t, Rule.DELIVERY_COLLAPSE, Metric.IMPRESSIONS, Severity.CRITICAL, what)
    for t in map(int, np.flatnonzero(spiked)):
        if t >= start:
            times = rows[t, 0] / expected_spend[t]
            bad = Severity.CRITICAL if times >= RUNAWAY_FACTOR else Severity.HIGH
            what = f"spend {rows[t, 0]:,.2f}, {times:.1f} times the expected {expected_spend[t]:,.2f}"
            add(t, Rule.SPEND_SPIKE, Metric.SPEND, bad, what)
    for t in map(int, np.flatnonzero(dear)):
        if t >= start:
            what = f"CPL {values[t, _CPL]:,.2f} on {rows[t, 3]:g} leads, expected {expected_cpl[t]:,.2f}"
            add(t, Rule.CPL_SPIKE, Metric.CPL, Severity.HIGH, what)
    for t in map(int, np.flatnonzero(dull)):
        if t >= start:
            what = f"CTR {values[t, _CTR]:.2f}% on {rows[t, 1]:,.0f} impressions, expected {expected_ctr[t]:.2f}%"
            add(t, Rule.CTR_DROP, Metric.CTR, Severity.MEDIUM, what)
    for t in map(int, np.flatnonzero(silent)):
        if t >= start:
            missing = _missing_leads(t, rows, delivered, mean, float(phi[_CVR]))
            if missing:
                what = (
                    f"no leads on {rows[t, 2]:,.0f} clicks, about {missing:.0f} expected: is tracking broken?"
                )
                add(t, Rule.LEADS_STOPPED, Metric.LEADS, Severity.CRITICAL, what)
    return {t: tuple(alarms) for t, alarms in found.items()}


def _missing_leads(
    t: int, rows: FloatArray, delivered: npt.NDArray[np.bool_], mean: FloatArray, phi: float
) -> float:
    """Leads that a run of lead-less days should have had, if that is past chance; else 0.

    The chance of none is that of an uneven count, ``(1 + phi expected) ** (-1 / phi)``.
    """
    first = t
    while first > 0 and t - first < _LONGEST_RUN - 1 and delivered[first - 1] and rows[first - 1, 3] == 0:
        first -= 1
    usual = mean[first, _CVR]
    if not np.isfinite(usual) or rows[first, 2] <= 0:
        return 0.0
    # The rate as it was believed before the run began, on all clicks since.
    expected = float(usual / rows[first, 2] * rows[first : t + 1, 2].sum())
    log_chance = -math.log1p(phi * expected) / phi if phi > 0 else -expected
    return expected if log_chance <= _LOG_CHANCE else 0.0
