"""Assess days of one entity by a model."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models import attribution, changes, evidence, gates, incidents, stake, wording
from adsml_anomaly.models.channels import (
    BASE,
    CHANNELS,
    EXPOSURE,
    SCALE,
    SIGN,
    Days,
    days_delivered,
    knows_reach,
    metric_values,
)
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.drift import drift_of
from adsml_anomaly.models.local_level import WARM_UP_DAYS, counts
from adsml_anomaly.models.results import (
    DayAssessment,
    Delivery,
    Direction,
    Gate,
    Incident,
    IncidentState,
    Kind,
    MetricAssessment,
    Report,
    Rule,
    RuleAlarm,
    Severity,
    Threshold,
)
from adsml_anomaly.models.rules import STOPPED_DAYS, rule_alarms
from adsml_anomaly.models.series_model import Scores, SeriesModel, score
from adsml_anomaly.models.stabilise import invert

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LOOK_BACK_DAYS: Final = 28
"""How far before the first assessed day an incident's beginning is looked for."""
HISTORY_NEEDED: Final = WARM_UP_DAYS + 1
USUAL_DAYS: Final = 28
_SEVERE_DRIFT: Final = 0.4
_SEVERE_DRIFT_Z: Final = 12.0
_RULE_BOUNDS: Final = {
    Rule.SPEND_SPIKE: 1.0,
    Rule.DELIVERY_COLLAPSE: -1.0,
    Rule.CPL_SPIKE: 1.0,
    Rule.CTR_DROP: -1.0,
}
"""To which side of its range a rule's metric lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked of a detection; see the contract's DetectionOptions.

    Attributes
    ----------
    first_date, last_date
        Days to assess, inclusive; None: the last day, alone.
    false_alarms_per_month
        None: the entity's own threshold.
    metrics
        Empty: all that the rows allow.
    excluded_dates
        Days not to raise alarms on.
    named_days
        Holidays and the like, with their names: they teach nothing, and only rules alarm on them.
    changes
        Known changes beside the stored ones.
    exclude_explained_by_change
        Raise no alarm for a jump that a change explains.
    anomalous_only
        Return only days that are anomalous or excluded.
    """

    first_date: date | None = None
    last_date: date | None = None
    false_alarms_per_month: float | None = None
    metrics: tuple[Metric, ...] = ()
    excluded_dates: frozenset[date] = frozenset()
    named_days: Mapping[date, str] = field(default_factory=dict)
    changes: tuple[ChangeEvent, ...] = ()
    exclude_explained_by_change: bool = False
    anomalous_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The series to assess.

    Attributes
    ----------
    name
        For errors, e.g. ``adset 42 of account 1``; also what incident ids hang on.
    days
        Its history with the days to assess.
    model
        What assesses it; a pooled one by `SeriesModel.for_series`.
    threshold
        Its own threshold.
    changes
        Recorded changes of it and of what it belongs to.
    switched_off
        Whether it is known to be paused now: then no spend at the end of its rows is no alarm.
    completeness
        Of the days; None: complete.
    """

    name: str
    days: Days
    model: SeriesModel
    threshold: Threshold
    changes: Sequence[ChangeEvent] = ()
    switched_off: bool = False
    completeness: Completeness | None = None


def assess(subject: Subject, options: Options | None = None) -> Report:
    """Assess days.

    Raises
    ------
    InvalidInput
        If the asked days are not among the series', or no metric asked for is known.
    InsufficientHistory
        If fewer than 8 days with delivery lie up to the last assessed day.
    """
    options = options or Options()
    days = subject.days
    first, last = _range(days, options)
    had = days_delivered(days.rows[: last + 1])
    if had < HISTORY_NEEDED:
        raise InsufficientHistory(subject.name, had=had, needed=HISTORY_NEEDED)
    threshold = (
        subject.threshold
        if options.false_alarms_per_month is None
        else Threshold(options.false_alarms_per_month, subject.threshold.feedback_count)
    )
    return _Assessment(subject, options, threshold, first, last).report()


def _range(days: Days, options: Options) -> tuple[int, int]:
    last_day = options.last_date or days.last_day
    first_day = options.first_date or last_day
    first, last = days.index(first_day), days.index(last_day)
    if last < first:
        raise InvalidInput.at("options.first_date", f"is {first_day}, after as_of_date {last_day}")
    if last >= len(days.rows) or last < 0:
        raise InvalidInput.at(
            "options.as_of_date", f"is {last_day}; the series has {days.first_day} to {days.last_day}"
        )
    return max(first, 0), last


class _Assessment:
    """Numbers for all days once, words for those that need them."""

    def __init__(
        self, subject: Subject, options: Options, threshold: Threshold, first: int, last: int
    ) -> None:
        self._subject, self._options, self._threshold = subject, options, threshold
        self._first, self._last = first, last
        self._start = max(first - LOOK_BACK_DAYS, 0)
        self._model = subject.model
        self._days = subject.days.until(last)
        self._events = tuple(sorted((*subject.changes, *options.changes), key=lambda event: event.date))
        self._usable = self._choose()
        barred = self._marked({*options.excluded_dates, *options.named_days}, days=1)
        # A change is in force for part of its first day, so that the level moves on both.
        changed = self._marked([event.date for event in self._events], days=2)
        complete = subject.completeness.until(last) if subject.completeness is not None else None
        self._complete = complete
        self._scores: Scores = score(
            self._model, self._days, start=self._start, barred=barred, changed=changed, completeness=complete
        )
        self._log_p = self._p_values()
        self._limit = math.log10(threshold.p_value)
        self._paused_rows = self._paused()
        self._alarms = self._rules()

    def _marked(self, dates: Collection[date], *, days: int) -> BoolArray | None:
        """Which rows are one of so many days from one of these dates on; None where there are no dates."""
        if not dates:
            return None
        out = np.zeros(len(self._days.rows), dtype=np.bool_)
        for one in dates:
            at = self._days.index(one)
            out[max(at, 0) : max(at + days, 0)] = True
        return out

    def _choose(self) -> BoolArray:
        usable = np.ones(len(CHANNELS), dtype=np.bool_)
        self._without_reach = not knows_reach(self._days)
        if self._without_reach:
            usable[CHANNELS.index(Metric.FREQUENCY)] = False
        if self._options.metrics:
            usable &= np.array([metric in self._options.metrics for metric in CHANNELS])
        if not usable.any():
            raise InvalidInput.at("options.metrics", "needs reach, which is missing; ask for other metrics")
        return usable

    def _p_values(self) -> FloatArray:
        if not self._options.metrics:
            return self._scores.combined
        # A choice of metrics has no calibration of its own: Bonferroni's bound is valid, if a little strict.
        chosen = np.concatenate([self._usable, [False, False]])
        return np.minimum(-evidence.combine(self._scores.log_p, chosen=chosen), 0.0)

    def _rules(self) -> dict[int, tuple[RuleAlarm, ...]]:
        alarms = rule_alarms(
            self._days, self._scores, self._model.dynamics.phi, self._model.dynamics.unit_price,
            start=self._start, paused=self._paused_rows, completeness=self._complete,
        )  # fmt: skip
        if self._options.metrics:
            alarms = {
                t: tuple(one for one in several if one.metric in self._options.metrics)
                for t, several in alarms.items()
            }
        return {
            t: tuple(sorted(several, key=lambda one: -one.severity))
            for t, several in alarms.items()
            if several
        }

    def _paused(self) -> frozenset[int]:
        T, out, off = len(self._days.rows), set[int](), False
        switches = {
            self._days.index(event.date): event.change_type is ChangeType.PAUSE
            for event in self._events
            if event.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE)
        }
        for t in range(min([0, *switches]), T if switches else 0):
            off = switches.get(t, off)
            if off:
                out.add(t)
        if self._subject.switched_off:
            delivered = np.flatnonzero(self._days.delivered)
            out.update(range(int(delivered[-1]) + 1 if delivered.size else 0, T))
        return frozenset(out)

    def report(self) -> Report:
        """The whole answer."""
        span = range(self._start, self._last + 1)
        raised = {t: self._raised(t) for t in span}
        drift = self._drift()
        # Most days are ordinary: what began before the assessed days matters where it may be open still.
        open_ended = self._complete is not None or not self._days.rows[self._last, 0] > 0
        if (
            self._options.anomalous_only
            and not open_ended
            and not any(raised[t] for t in span if t >= self._first)
        ):
            raised = dict.fromkeys(span, False)
        assessed: dict[int, DayAssessment] = {}
        found: list[Incident] = []
        if any(raised.values()) or not self._options.anomalous_only or drift is not None:
            self._counts, self._exposure = counts(self._days, self._model.dynamics.unit_price)
            self._values = metric_values(self._days.rows)
            assessed = {
                t: self._day(t, raised=raised[t])
                for t in span
                if raised[t] or (t >= self._first and not self._options.anomalous_only)
            }
            found = self._incidents(assessed)
            if drift is not None:
                found.append(drift)
        young = (
            np.flatnonzero(self._complete.incomplete) if self._complete is not None else np.zeros(0, np.int64)
        )
        return Report(
            days=tuple(day for t, day in assessed.items() if t >= self._first),
            incidents=tuple(found),
            threshold=self._threshold,
            delivery=self._delivery(),
            incomplete_since=self._days.day(young[0]) if len(young) else None,
            without_reach=self._without_reach,
            usual_spend=self._usual_spend(),
        )

    def _incidents(self, assessed: dict[int, DayAssessment]) -> list[Incident]:
        """Incidents that reach into the assessed days; their days get the ids."""
        out = []
        for rows in incidents.grouped([assessed.get(t) for t in range(self._last + 1)]):
            state, words = self._state(rows, assessed)
            if rows[-1] < self._first and state is not IncidentState.OPEN:
                continue
            named = incidents.with_ids([assessed[t] for t in rows], self._subject.name)
            assessed.update(zip(rows, named, strict=True))
            out.append(
                incidents.incident_of(
                    self._subject.name, [assessed[t] for t in rows], state=state, since_words=words
                )
            )
        return out

    def _state(self, rows: list[int], assessed: dict[int, DayAssessment]) -> tuple[IncidentState, str]:
        """How an incident stands on the last day, with what is to be added in words."""
        last, end = self._last, rows[-1]
        if end == last:
            return IncidentState.OPEN, ""
        day = assessed[end]
        after = range(end + 1, last + 1)
        idle = not self._days.rows[end + 1 :, 0].any()
        if day.kind in incidents.NO_DELIVERY and idle:
            if last in self._paused_rows:
                return IncidentState.RESOLVED, "switched off since"
            if not self._expired(end):
                return IncidentState.OPEN, ""
            return IncidentState.NEW_NORMAL, f"stopped: nothing for {STOPPED_DAYS} days"
        if self._complete is not None and all(self._complete.filling[t] for t in after):
            return IncidentState.OPEN, "the days since are not complete yet"
        if day.main_metric is not None:
            c = CHANNELS.index(day.main_metric)
            since = int(self._scores.innovations.shifted[end + 1, c])
            if rows[0] <= since <= end:
                now = self._level_in_words(c, since)
                return IncidentState.NEW_NORMAL, f"new level since {self._days.day(since)}{now}"
        return IncidentState.RESOLVED, ""

    def _expired(self, end: int) -> bool:
        began = end
        while began > 0 and self._days.rows[began - 1, 0] <= 0.0:
            began -= 1
        return self._last - began >= STOPPED_DAYS

    def _level_in_words(self, c: int, since: int) -> str:
        expected = self._scores.innovations.mean[self._last, c]
        if not np.isfinite(expected) or EXPOSURE[c] >= 0:
            return ""
        value = expected * (self._model.dynamics.unit_price if c == 0 else 1.0)
        return f", about {wording.amount(CHANNELS[c], float(value))} a day"

    def _drift(self) -> Incident | None:
        """A slow drift up to the last complete day."""
        if self._options.metrics:
            return None
        last = self._last
        while self._complete is not None and last > self._first and self._complete.filling[last]:
            last -= 1
        drift = drift_of(self._days, self._model.dynamics, last=last)
        if drift is None:
            return None
        worse = (drift.change > 0) == (SIGN[CHANNELS.index(drift.metric)] < 0)
        spend = self._days.rows[max(last - 13, 0) : last + 1, 0].mean()
        first = self._days.day(max(last - 29, 0))
        share = abs(drift.change)
        text = (
            f"{wording.name(drift.metric)} drifted {'up' if drift.change > 0 else 'down'} {share:.0%} in 30 days, "
            f"from {wording.amount(drift.metric, drift.before)} to {wording.amount(drift.metric, drift.now)}"
        )
        severe = worse and (share >= _SEVERE_DRIFT or abs(drift.z) >= _SEVERE_DRIFT_Z)
        return Incident(
            incident_id=incidents.incident_id(
                f"{self._subject.name}|drift {drift.metric}", first.strftime("%Y-%m")
            ),
            first=first,
            last=self._days.day(last),
            state=IncidentState.OPEN,
            kind=Kind.DRIFT,
            severity=Severity.MEDIUM if severe else Severity.LOW,
            direction=Direction.UP if drift.change > 0 else Direction.DOWN,
            main_metric=drift.metric,
            rule=Rule.DRIFT,
            summary=text[0].upper() + text[1:],
            stake_per_day=float(spend) * min(share, 1.0) if worse else 0.0,
        )

    def _delivery(self) -> Delivery:
        rows = self._days
        delivered = np.flatnonzero(rows.delivered)
        present = np.arange(len(rows.rows)) if rows.present is None else np.flatnonzero(rows.present)
        idle = self._last - int(delivered[-1]) if delivered.size else self._last + 1
        return Delivery(
            rows.day(present[-1]) if present.size else None,
            rows.day(delivered[-1]) if delivered.size else None,
            idle,
            stopped=idle >= STOPPED_DAYS or (idle > 0 and self._last in self._paused_rows),
        )

    def _usual_spend(self) -> float:
        spend = self._days.rows[max(self._first - USUAL_DAYS, 0) : self._first, 0]
        spend = spend[spend > 0]
        return float(spend.mean()) if spend.size else 0.0

    def _raised(self, t: int) -> bool:
        return bool(self._log_p[t] <= self._limit + 1e-12) or t in self._alarms

    def _exclusion(self, t: int, main: MetricAssessment | None, alarms: Sequence[RuleAlarm]) -> str:
        day = self._days.day(t)
        if day in self._options.excluded_dates:
            return f"{day} is among the excluded dates"
        if day in self._options.named_days and not any(one.severity is Severity.CRITICAL for one in alarms):
            return f"{self._options.named_days[day]}: such days are unlike others"
        if self._options.exclude_explained_by_change and main is not None:
            for event in changes.related(day, self._events):
                if changes.explains(event, main.metric, main.robust_z or 0.0):
                    return f"explained by a change: {changes.in_words(event)}"
        return ""

    def _shares(self, t: int) -> FloatArray:
        innovations = self._scores.innovations
        day = attribution.Day(
            innovations.z[t],
            self._counts[:, t],
            innovations.mean[t],
            self._model.dynamics.phi,
            innovations.stretch[t],
        )
        return attribution.shares(day, self._model.precision, usable=self._usable)

    def _day(self, t: int, *, raised: bool) -> DayAssessment:
        share = self._shares(t)
        alarms = self._alarms.get(t, ())
        metrics = tuple(
            self._metric(t, c, float(share[c]), alarms)
            for c in np.argsort(-share, kind="stable")
            if self._usable[c]
        )
        # A rule names the day where it is as bad as what the scores say.
        by_scores = self._score_severity(t)
        leading = tuple(one for one in alarms if one.severity >= by_scores)
        main = _main(metrics, leading)
        reason = self._exclusion(t, metrics[0], alarms) if raised else ""
        anomalous = raised and not reason
        z, parts = np.abs(self._scores.innovations.z[t][self._usable]), self._scores.components[t]
        related = changes.related(self._days.day(t), self._events) if raised else ()
        kind = incidents.kind_of(main, leading) if anomalous else None
        expected = self._scores.innovations.mean[t]
        return DayAssessment(
            date=self._days.day(t),
            time=None,
            anomalous=anomalous,
            p_value=float(10.0 ** self._log_p[t]) if np.isfinite(self._log_p[t]) else None,
            isolation_forest=_known(parts[evidence.FOREST]),
            max_robust_z=float(np.nanmax(z)) if np.isfinite(z).any() else None,
            mahalanobis=_known(parts[evidence.DISTANCE]),
            severity=max([by_scores, *(one.severity for one in alarms)]) if anomalous else Severity.NONE,
            direction=_side(metrics, main, leading) if anomalous else Direction.NONE,
            metrics=metrics,
            rule_alarms=alarms,
            related_changes=related,
            excluded=bool(reason),
            exclusion_reason=reason,
            summary=wording.sentence(metrics, main, leading, related) if anomalous else "",
            main_metric=main.metric if anomalous and main is not None else None,
            kind=kind,
            stake=0.0
            if kind is None
            else stake.of_day(
                kind, main.metric if main is not None else None, self._days.rows[: t + 1], expected,
                self._model.dynamics.unit_price,
            ),
            filling=self._complete is not None and bool(self._complete.filling[t]),
            completion=self._complete.leads_in(t) if self._complete is not None else None,
        )  # fmt: skip

    def _score_severity(self, t: int) -> Severity:
        if not self._log_p[t] <= self._limit + 1e-12:
            return Severity.NONE
        decades = self._limit - float(self._log_p[t])
        return Severity(1 + int(decades >= 1.0) + int(decades >= 2.0))

    def _metric(self, t: int, c: int, share: float, alarms: Sequence[RuleAlarm]) -> MetricAssessment:
        innovations, metric = self._scores.innovations, CHANNELS[c]
        observed, z, mean = _known(self._values[t, c]), innovations.z[t, c], innovations.mean[t, c]
        gate = gates.gate_of(metric) if self._scores.gated[t, c] else Gate.NONE
        log_p = self._component_limit(c)
        if not np.isfinite(z):
            gate = gate if self._days.delivered[t] else Gate.NONE
            return MetricAssessment(
                metric, observed, None, None, None, 1.0 - 10.0**log_p, None, Direction.NONE, share, gate
            )
        signed = float(SIGN[c] * z)
        limit = self._model.curves[c].score(log_p)
        phi, stretch = self._model.dynamics.phi[c], innovations.stretch[t, c]
        ends = (invert(mean, phi, -limit * stretch), mean, invert(mean, phi, limit * stretch))
        low, expected, high = (self._unit(t, c, count) for count in ends)
        lower, upper = (low, high) if SIGN[c] > 0 else (high, low)
        outside = abs(signed) > limit
        side = (Direction.UP if signed > 0 else Direction.DOWN) if outside else Direction.NONE
        rule = next((one.rule for one in alarms if one.metric is metric), None)
        if rule is Rule.LEADS_STOPPED:
            # Said of a run of days: a single one without leads may well lie in its range.
            return MetricAssessment(
                metric, observed, expected, None, None, 1.0 - 10.0**log_p, signed, Direction.DOWN, share, gate
            )
        if rule in _RULE_BOUNDS and not outside and observed is not None:
            # The rule's bound is the nearer one.
            side = Direction.UP if _RULE_BOUNDS[rule] > 0 else Direction.DOWN
            middle = (observed + expected) / 2.0
            lower, upper = (
                (lower, min(upper, middle)) if side is Direction.UP else (max(lower, middle), upper)
            )
        return MetricAssessment(
            metric, observed, expected, lower, upper, 1.0 - 10.0**log_p, signed, side, share, gate
        )

    def _component_limit(self, c: int) -> float:
        """Log10 of the p-value at which this metric alone would raise the alarm."""
        if self._options.metrics:
            share = evidence.WEIGHTS[c] / evidence.WEIGHTS[: len(CHANNELS)][self._usable].sum()
            return self._limit + math.log10(share) if self._usable[c] else self._limit
        needed = self._model.combined.score(self._limit)
        return min(float(math.log10(evidence.WEIGHTS[c]) - needed), 0.0)

    def _unit(self, t: int, c: int, count: float) -> float:
        """A count in the metric's own unit."""
        if c == 0:
            return count * self._model.dynamics.unit_price
        if EXPOSURE[c] < 0:
            return count
        x = float(self._exposure[c, t])
        if SIGN[c] > 0:
            return float(SCALE[c]) * count / x
        return float(SCALE[c]) * x / count if count > 0 else math.inf


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _main(metrics: Sequence[MetricAssessment], alarms: Sequence[RuleAlarm]) -> MetricAssessment | None:
    """The metric that a day is about: the worst rule's, else the first that is out of its range, else the first."""
    if alarms:
        return next((one for one in metrics if one.metric is alarms[0].metric), None) or replace(
            metrics[0], metric=alarms[0].metric
        )
    if not metrics:
        return None
    out = (one for one in metrics if one.direction is not Direction.NONE and one.gate is Gate.NONE)
    return next(out, metrics[0])


def _side(
    metrics: Sequence[MetricAssessment], main: MetricAssessment | None, alarms: Sequence[RuleAlarm]
) -> Direction:
    if any(
        one.rule in (Rule.ZERO_SPEND, Rule.ABSENT_DATA, Rule.DELIVERY_COLLAPSE, Rule.LEADS_STOPPED)
        for one in alarms
    ):
        return Direction.DOWN
    if main is None or main.direction is Direction.NONE:
        return Direction.RELATION
    out = {
        one.direction
        for one in metrics
        if one.metric in CHANNELS[:BASE] and one.direction is not Direction.NONE
    }
    return Direction.MIXED if len(out) > 1 else main.direction
