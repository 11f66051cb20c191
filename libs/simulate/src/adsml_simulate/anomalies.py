"""Faults put into an account on purpose, with labels exactly where the numbers changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import FailedPrecondition, Violations

from adsml_simulate.account import SimulatedAccount, anomaly_table
from adsml_simulate.chance import BoolArray, FloatArray, IntArray
from adsml_simulate.delivery import Counts
from adsml_simulate.frames import LEVELS, present, sum_up


class AnomalyKind(StrEnum):
    """What goes wrong."""

    SPIKE = "spike"
    """One stored metric is 10 sigmas above what its weekday has; the others stay."""
    CORRELATION_BREAK = "correlation_break"
    """Leads part from spend by 3 sigmas, up or down; spend stays."""
    DELIVERY_COLLAPSE = "delivery_collapse"
    """Everything falls to 3 to 10% for a day or two, though active."""
    ZERO_SPEND = "zero_spend"
    """Everything is 0 for a day or two, though active; the rows stay."""
    TRACKING_OUTAGE = "tracking_outage"
    """Leads are 0 for one to three days, clicks go on."""


SPIKE_METRICS: Final = ("spend", "impressions", "clicks", "leads")
SPIKE_SIGMAS: Final = 10.0
BREAK_SIGMAS: Final = 3.0
_COLUMNS: Final = {"spend": "cents", "impressions": "impressions", "clicks": "clicks", "leads": "leads"}
_LONGEST: Final = {
    AnomalyKind.DELIVERY_COLLAPSE: 2,
    AnomalyKind.ZERO_SPEND: 2,
    AnomalyKind.TRACKING_OUTAGE: 3,
}
"""Days; the others last one."""
_LEAST_LEADS: Final = {AnomalyKind.CORRELATION_BREAK: 10.0, AnomalyKind.TRACKING_OUTAGE: 3.0}
"""Mean leads per day below which such a fault is no more than an ordinary day."""
_GAP_DAYS: Final = 2
_STEADY_SHARE: Final = 0.8
_MOST_TRIES: Final = 20
_MONTH_DAYS: Final = 30.0
_CLOSE_ENOUGH: Final = 0.85


@dataclass(frozen=True)
class _Incident:
    kind: AnomalyKind
    metric: str
    level: EntityType
    position: int
    days: range
    magnitude: tuple[float, ...]


def inject_anomalies(
    account: SimulatedAccount,
    kinds: Sequence[AnomalyKind],
    *,
    rate: float,
    seed: int,
    entity_type: EntityType = EntityType.ADSET,
    earliest_day: int = 28,
) -> SimulatedAccount:
    """The account with faults at one level; ads below and levels above are changed to match.

    Incidents of one campaign never share a day and lie three days apart or more. A sigma is the standard
    deviation over all days with delivery of the metric around its weekday's mean (for breaks: of
    log(1 + leads) around its regression on log(1 + spend), both weekday-adjusted). A day that can't bear the fault
    (too few clicks for so many leads) is passed over.

    `kinds` are drawn with equal chance; `rate` is the mean number of incidents per entity and 30 days, among entities
    that deliver on 80% of days and have leads enough for the kind; `earliest_day` the index of the first day that may
    be hit: what lies before stays clean for training.

    The account's ``truth.anomalies`` has one row per incident, changed entity and day: ``incident`` (number), the
    entity, ``date``, ``kind``, ``metric`` (that was hit: ``spend`` where all were, ``leads`` for breaks and outages),
    ``target`` (whether this is the entity that was hit, rather than one above or below it), ``magnitude`` (of the
    target: in sigmas for spikes and breaks, else after / before - 1), ``before``, ``after`` (of the metric).

    `InvalidInput` for a rate or day out of range, or no kind; `FailedPrecondition` if the account has injected
    anomalies already, or no entity can bear any of the kinds.
    """
    _check(account, kinds, rate, earliest_day)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    tree, counts, T = account.tree, account.counts, account.settings.days
    now = {name: getattr(counts, column).copy() for name, column in _COLUMNS.items()}
    level_delivered = present(tree, counts, entity_type)
    level_leads = sum_up(tree, counts.leads, entity_type).mean(axis=1)
    steady = level_delivered.mean(axis=1) >= _STEADY_SHARE
    bearable = {kind: np.flatnonzero(steady & (level_leads >= _LEAST_LEADS.get(kind, 0.0))) for kind in kinds}
    hosts = np.unique(np.concatenate(list(bearable.values())))
    if not hosts.size:
        raise FailedPrecondition(
            f"no {entity_type} delivers on 80% of days with leads enough for {', '.join(kinds)};"
            " choose a higher level or other kinds"
        )
    busy = np.zeros((len(tree.campaign_ids), T), dtype=bool)
    incidents: list[_Incident] = []
    for host in hosts.tolist():
        possible = [kind for kind in kinds if host in bearable[kind]]
        delivered = level_delivered[host]
        shape = _Shape(counts, now, tree.below(entity_type, host), delivered, rng)
        campaign = tree.campaign_of(entity_type, host)
        for _ in range(rng.poisson(rate * (T - earliest_day) / _MONTH_DAYS)):
            kind = possible[int(rng.integers(len(possible)))]
            metric = str(rng.choice(SPIKE_METRICS)) if kind is AnomalyKind.SPIKE else _metric_of(kind)
            span = int(rng.integers(1, _LONGEST[kind] + 1)) if kind in _LONGEST else 1
            for _ in range(_MOST_TRIES):
                t = int(rng.integers(earliest_day, T - span + 1))
                around = slice(max(t - _GAP_DAYS, 0), t + span + _GAP_DAYS)
                if busy[campaign, around].any() or not delivered[t : t + span].all():
                    continue
                if magnitude := shape.hit(kind, metric, t, span):
                    busy[campaign, t : t + span] = True
                    days = range(t, t + span)
                    incidents.append(_Incident(kind, metric, entity_type, host, days, magnitude))
                    break
    changed = replace(counts, **{column: now[name] for name, column in _COLUMNS.items()})
    return replace(account, counts=changed, anomalies=anomaly_table(_labels(account, changed, incidents)))


def _check(account: SimulatedAccount, kinds: Sequence[AnomalyKind], rate: float, earliest_day: int) -> None:
    if len(account.anomalies):
        raise FailedPrecondition("this account has injected anomalies; inject all kinds in one call")
    wrong = Violations()
    if not kinds:
        wrong.add("kinds", f"expected at least one of {', '.join(AnomalyKind)}")
    if not 0 < rate <= 10:
        wrong.add("rate", f"is {rate}; expected above 0 and up to 10 incidents per entity and 30 days")
    if not 0 <= earliest_day < account.settings.days - 3:
        wrong.add("earliest_day", f"is {earliest_day}; expected 0 to {account.settings.days - 4}")
    wrong.raise_if_any()


def _metric_of(kind: AnomalyKind) -> str:
    return "spend" if kind in (AnomalyKind.DELIVERY_COLLAPSE, AnomalyKind.ZERO_SPEND) else "leads"


@dataclass(frozen=True)
class _Shape:
    """One entity's series, and how to bend them."""

    counts: Counts
    now: dict[str, IntArray]  # the counts being changed, (A, T) each; `spend` in cents
    ads: IntArray
    delivered: BoolArray
    rng: np.random.Generator

    def hit(self, kind: AnomalyKind, metric: str, t: int, span: int) -> tuple[float, ...]:
        """Change days t to t + span; the magnitude of each, or none if the days can't bear it."""
        days = slice(t, t + span)
        before = self._total(self.now[metric])[days]
        match kind:
            case AnomalyKind.SPIKE:
                return self._spike(metric, t)
            case AnomalyKind.CORRELATION_BREAK:
                return self._break(t)
            case AnomalyKind.TRACKING_OUTAGE:
                if (before == 0).any():
                    return ()
                self.now["leads"][self.ads, days] = 0
            case AnomalyKind.ZERO_SPEND | AnomalyKind.DELIVERY_COLLAPSE:
                keep = 0.0 if kind is AnomalyKind.ZERO_SPEND else float(self.rng.uniform(0.03, 0.1))
                for values in self.now.values():
                    values[self.ads, days] = np.floor(keep * values[self.ads, days]).astype(np.int64)
        after = self._total(self.now[metric])[days]
        return tuple((after / before - 1).tolist())

    def _total(self, values: IntArray) -> FloatArray:
        return np.asarray(values[self.ads].sum(axis=0, dtype=np.float64))

    def _adjusted(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weekday's mean on each day, and the residuals on days with delivery."""
        weekday = np.arange(values.size) % 7
        level = np.empty(values.size)
        for w in range(7):
            on = self.delivered & (weekday == w)
            level[weekday == w] = values[on].mean() if on.any() else values[self.delivered].mean()
        return level, (values - level)[self.delivered]

    def _clean(self, metric: str) -> FloatArray:
        return self._total(getattr(self.counts, _COLUMNS[metric]))

    def _spike(self, metric: str, t: int) -> tuple[float, ...]:
        series = self._clean(metric)
        level, residuals = self._adjusted(series)
        sigma = float(residuals.std(ddof=1))
        total = float(np.rint(level[t] + SPIKE_SIGMAS * sigma))
        if sigma == 0 or total <= series[t] or not self._set(metric, t, int(total)):
            return ()
        return (float((total - level[t]) / sigma),)

    def _break(self, t: int) -> tuple[float, ...]:
        leads, spend = np.log1p(self._clean("leads")), np.log1p(self._clean("spend") / 100.0)
        lead_level, lead_residuals = self._adjusted(leads)
        spend_level, spend_residuals = self._adjusted(spend)
        squares = float(spend_residuals @ spend_residuals)
        slope = float(spend_residuals @ lead_residuals) / squares if squares else 0.0
        sigma = float((lead_residuals - slope * spend_residuals).std(ddof=2))
        expected = lead_level[t] + slope * (spend[t] - spend_level[t])
        first = 1.0 if self.rng.random() < 0.5 else -1.0
        for sign in (first, -first):
            total = max(round(float(np.expm1(expected + sign * BREAK_SIGMAS * sigma))), 0)
            reached = (float(np.log1p(total)) - expected) / sigma if sigma else 0.0
            close = _CLOSE_ENOUGH * BREAK_SIGMAS <= sign * reached <= BREAK_SIGMAS / _CLOSE_ENOUGH
            if close and total != round(float(np.expm1(leads[t]))) and self._set("leads", t, total):
                return (reached,)
        return ()

    def _set(self, metric: str, t: int, total: int) -> bool:
        """Bring the entity's total to a whole number by changing its ads; False if they can't hold it."""
        values = self.now[metric]
        own = values[self.ads, t]
        more = total - int(own.sum())
        within = {"leads": "clicks", "clicks": "impressions"}.get(metric)
        if more < 0:
            room = own
        elif within is not None:
            room = self.now[within][self.ads, t] - own
        else:
            room = own * (1 + abs(more))
        if int(room.sum()) < abs(more) or more == 0:
            return False
        # In proportion to room, whole numbers by largest remainder; a share never exceeds its room.
        exact = abs(more) * (room / room.sum())
        whole = np.minimum(np.floor(exact).astype(np.int64), room)
        order = np.argsort(-(exact - whole) * (room > whole), kind="stable")
        whole[order[: abs(more) - int(whole.sum())]] += 1
        values[self.ads, t] = own + np.sign(more) * whole
        return True


def _labels(
    account: SimulatedAccount, changed: Counts, incidents: Sequence[_Incident]
) -> Iterator[tuple[object, ...]]:
    """Labels where any of the four counts differs, for the entity hit and its relatives."""
    tree = account.tree
    before, after = (
        {
            name: {level: sum_up(tree, getattr(counts, column), level) for level in LEVELS}
            for name, column in _COLUMNS.items()
        }
        for counts in (account.counts, changed)
    )
    ordered = sorted(incidents, key=lambda one: (one.days.start, one.level, one.position))
    for number, incident in enumerate(ordered):
        ads = tree.below(incident.level, incident.position)
        unit = 100.0 if incident.metric == "spend" else 1.0
        for level in LEVELS:
            for at in np.unique(tree.level_of_ads(level)[ads]):
                for day, magnitude in zip(incident.days, incident.magnitude, strict=True):
                    if all(before[n][level][at, day] == after[n][level][at, day] for n in _COLUMNS):
                        continue
                    yield (
                        number,
                        level.value,
                        tree.ids(level)[at],
                        pd.Timestamp(account.settings.first_day + timedelta(days=day)),
                        incident.kind.value,
                        incident.metric,
                        level is incident.level,
                        magnitude,
                        before[incident.metric][level][at, day] / unit,
                        after[incident.metric][level][at, day] / unit,
                    )
