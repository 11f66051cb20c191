"""Days of one entity by a model: numbers for all of them at once, words for those that are asked for."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models import attribution, changes, evidence, gates, incidents, stake, wording
from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.channels import (
    BASE,
    CHANNELS,
    EXPOSURE,
    SCALE,
    SIGN,
    Days,
    days_delivered,
    metric_values,
)
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.local_level import WARM_UP_DAYS, counts
from adsml_anomaly.models.results import (
    DayAssessment,
    Direction,
    Gate,
    MetricAssessment,
    Rule,
    RuleAlarm,
    Severity,
    Threshold,
)
from adsml_anomaly.models.rules import rule_alarms
from adsml_anomaly.models.series_model import SeriesModel, score
from adsml_anomaly.models.stabilise import invert
from adsml_anomaly.models.survival import Survival

LOOK_BACK_DAYS: Final = 28
"""How far before the first assessed day an incident's beginning is looked for."""
HISTORY_NEEDED: Final = WARM_UP_DAYS + 1
_REACH_KNOWN: Final = 0.8
_RULE_SIDES: Final = {
    Rule.SPEND_SPIKE: Direction.UP,
    Rule.DELIVERY_COLLAPSE: Direction.DOWN,
    Rule.CPL_SPIKE: Direction.UP,
    Rule.CTR_DROP: Direction.DOWN,
}
"""To which side of its range a rule's metric lies."""
_DOWN_RULES: Final = (Rule.ZERO_SPEND, Rule.ABSENT_DATA, Rule.DELIVERY_COLLAPSE, Rule.LEADS_STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked of a detection; see the contract's DetectionOptions."""

    # Days to assess, inclusive; None: the last day, alone
    first_date: date | None = None
    last_date: date | None = None
    false_alarms_per_month: float | None = None  # None: the entity's own threshold
    metrics: tuple[Metric, ...] = ()  # Empty: all that the rows allow
    excluded_dates: frozenset[date] = frozenset()
    # Holidays and the like, with their names: they teach nothing, and only critical rules alarm on them
    named_days: Mapping[date, str] = field(default_factory=dict)
    changes: tuple[ChangeEvent, ...] = ()  # Known changes beside the stored ones
    exclude_explained_by_change: bool = False
    anomalous_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The series to assess: its history with the days that are asked for, and what assesses it."""

    name: str  # For errors, e.g. ``adset 42 of account 1``; also what incident ids hang on.
    days: Days
    model: SeriesModel
    threshold: Threshold
    changes: Sequence[ChangeEvent] = ()  # Recorded ones of it and of what it belongs to
    # Whether it is known to be paused now: then no spend at the end of its rows is no alarm
    switched_off: bool = False
    completeness: Completeness | None = None  # Of the days; None: complete


class SeriesAssessment:
    """The days of a subject from some weeks before the first asked one (row `start`) to the last.

    Raises
    ------
    InvalidInput
        If the asked days are not among the series', or no metric asked for is known.
    InsufficientHistory
        If fewer than 8 days with delivery lie up to the last assessed day.
    """

    def __init__(self, subject: Subject, options: Options) -> None:
        self.subject, self.options = subject, options
        self.first, self.last = _range(subject.days, options)
        self.start = max(self.first - LOOK_BACK_DAYS, 0)
        self.days = subject.days.until(self.last)
        had, with_reach = days_delivered(self.days.rows)
        if had < HISTORY_NEEDED:
            raise InsufficientHistory(subject.name, had=had, needed=HISTORY_NEEDED)
        self.threshold = (
            subject.threshold
            if options.false_alarms_per_month is None
            else Threshold(options.false_alarms_per_month, subject.threshold.feedback_count)
        )
        self.without_reach = with_reach < _REACH_KNOWN * had
        self._usable = self._choose()
        self._events = tuple(sorted((*subject.changes, *options.changes), key=lambda event: event.date))
        self.complete = None if subject.completeness is None else subject.completeness.until(self.last)
        self.scores = score(
            subject.model,
            self.days,
            start=self.start,
            barred=self._marked({*options.excluded_dates, *options.named_days}, days=1),
            # A change is in force for part of its first day, so that the level moves on both.
            changed=self._marked([event.date for event in self._events], days=2),
            completeness=self.complete,
        )
        self._log_p = self._p_values()
        self._limit = math.log10(self.threshold.p_value)
        self.paused = self._paused()  # rows on which it is known to have been switched off
        self._alarms = self._rules()

    @cached_property
    def _figures(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Counts and exposures, shape (channels, T), and the metrics in their units, shape (T, channels)."""
        unit = self.subject.model.dynamics.unit_price
        return (*counts(self.days.rows, unit), metric_values(self.days.rows))

    def raised(self) -> list[int]:
        """Rows that are alarms, unless they are excluded, in order."""
        by_scores = np.flatnonzero(self._log_p[self.start :] <= self._limit + 1e-12) + self.start
        return sorted({*by_scores.tolist(), *self._alarms})

    def day(self, t: int, *, raised: bool) -> DayAssessment:
        """A day in figures and words."""
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
        z, parts = np.abs(self.scores.innovations.z[t][self._usable]), self.scores.components[t]
        related = changes.related(self.days.day(t), self._events) if raised else ()
        quiet = DayAssessment(
            date=self.days.day(t),
            time=None,
            anomalous=False,
            p_value=float(10.0 ** self._log_p[t]) if np.isfinite(self._log_p[t]) else None,
            isolation_forest=_known(parts[evidence.FOREST]),
            max_robust_z=float(np.nanmax(z)) if np.isfinite(z).any() else None,
            mahalanobis=_known(parts[evidence.DISTANCE]),
            severity=Severity.NONE,
            direction=Direction.NONE,
            metrics=metrics,
            rule_alarms=alarms,
            related_changes=related,
            excluded=bool(reason),
            exclusion_reason=reason,
            filling=self.complete is not None and bool(self.complete.filling[t]),
            completion=self.complete.leads_in(t) if self.complete is not None else None,
        )
        if not raised or reason:
            return quiet
        kind = incidents.kind_of(main, leading)
        return replace(
            quiet,
            anomalous=True,
            severity=max([by_scores, *(one.severity for one in alarms)]),
            direction=_side(metrics, main, leading),
            summary=wording.sentence(metrics, main, leading, related),
            main_metric=main.metric,
            kind=kind,
            stake=stake.of_day(
                kind, main.metric, self.days.rows[: t + 1], self.scores.innovations.mean[t],
                self.subject.model.dynamics.unit_price,
            ),
        )  # fmt: skip

    # -- inside ----------------------------------------------------------------------------------------------

    def _marked(self, dates: Collection[date], *, days: int) -> BoolArray | None:
        """Which rows are one of so many days from one of these dates on; None where there are no dates."""
        if not dates:
            return None
        out = np.zeros(len(self.days.rows), dtype=np.bool_)
        for one in dates:
            at = self.days.index(one)
            out[max(at, 0) : max(at + days, 0)] = True
        return out

    def _choose(self) -> BoolArray:
        usable = np.ones(len(CHANNELS), dtype=np.bool_)
        usable[CHANNELS.index(Metric.FREQUENCY)] = not self.without_reach
        if self.options.metrics:
            usable &= np.array([metric in self.options.metrics for metric in CHANNELS])
        if not usable.any():
            raise InvalidInput.at("options.metrics", "needs reach, which is missing; ask for other metrics")
        return usable

    def _p_values(self) -> FloatArray:
        if not self.options.metrics:
            return self.scores.combined
        # A choice of metrics has no calibration of its own: Bonferroni's bound is valid, if a little strict.
        chosen = evidence.log_weights(np.concatenate([self._usable, [False, False]]))
        return np.minimum(-evidence.combine(self.scores.log_p, chosen), 0.0)

    def _rules(self) -> dict[int, tuple[RuleAlarm, ...]]:
        dynamics, metrics = self.subject.model.dynamics, self.options.metrics
        alarms = rule_alarms(
            self.days, self.scores, dynamics.phi, dynamics.unit_price,
            start=self.start, paused=self.paused, completeness=self.complete,
        )  # fmt: skip
        out = {}
        for t, several in alarms.items():
            wanted = [one for one in several if not metrics or one.metric in metrics]
            if wanted:
                out[t] = tuple(sorted(wanted, key=lambda one: -one.severity))
        return out

    def _paused(self) -> frozenset[int]:
        T, out, off = len(self.days.rows), set[int](), False
        switches = {
            self.days.index(event.date): event.change_type is ChangeType.PAUSE
            for event in self._events
            if event.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE)
        }
        for t in range(min([0, *switches]), T if switches else 0):
            off = switches.get(t, off)
            if off:
                out.add(t)
        if self.subject.switched_off:
            delivered = np.flatnonzero(self.days.delivered)
            out.update(range(int(delivered[-1]) + 1 if delivered.size else 0, T))
        return frozenset(out)

    def _exclusion(self, t: int, most_to_blame: MetricAssessment, alarms: Sequence[RuleAlarm]) -> str:
        day = self.days.day(t)
        if day in self.options.excluded_dates:
            return f"{day} is among the excluded dates"
        if day in self.options.named_days and not any(one.severity is Severity.CRITICAL for one in alarms):
            return f"{self.options.named_days[day]}: such days are unlike others"
        if self.options.exclude_explained_by_change:
            for event in changes.related(day, self._events):
                if changes.explains(event, most_to_blame.metric, most_to_blame.robust_z or 0.0):
                    return f"explained by a change: {changes.in_words(event)}"
        return ""

    def _shares(self, t: int) -> FloatArray:
        innovations, model, count = self.scores.innovations, self.subject.model, self._figures[0]
        day = attribution.Day(
            innovations.z[t], count[:, t], innovations.mean[t], model.dynamics.phi, innovations.stretch[t]
        )
        return attribution.shares(day, model.precision, usable=self._usable)

    def _score_severity(self, t: int) -> Severity:
        if not self._log_p[t] <= self._limit + 1e-12:
            return Severity.NONE
        decades = self._limit - float(self._log_p[t])
        return Severity(1 + int(decades >= 1.0) + int(decades >= 2.0))

    def _metric(self, t: int, c: int, share: float, alarms: Sequence[RuleAlarm]) -> MetricAssessment:
        innovations, metric, model = self.scores.innovations, CHANNELS[c], self.subject.model
        observed, z, mean = _known(self._figures[2][t, c]), innovations.z[t, c], innovations.mean[t, c]
        gate = gates.gate_of(metric) if self.scores.gated[t, c] else Gate.NONE
        log_p = self._component_limit(c)
        unknown = MetricAssessment(
            metric, observed, None, None, None, 1.0 - 10.0**log_p, None, Direction.NONE, share, gate
        )
        if not np.isfinite(z):
            return unknown if self.days.delivered[t] else replace(unknown, gate=Gate.NONE)
        signed = float(SIGN[c] * z)
        limit = Survival(model.grids[c]).score(log_p)
        phi, stretch = model.dynamics.phi[c], innovations.stretch[t, c]
        ends = (invert(mean, phi, -limit * stretch), mean, invert(mean, phi, limit * stretch))
        low, expected, high = (self._unit(t, c, count) for count in ends)
        lower, upper = (low, high) if SIGN[c] > 0 else (high, low)
        outside = abs(signed) > limit
        side = (Direction.UP if signed > 0 else Direction.DOWN) if outside else Direction.NONE
        rule = next((one.rule for one in alarms if one.metric is metric), None)
        if rule is Rule.LEADS_STOPPED:
            # Said of a run of days: a single one without leads may well lie in its range.
            return replace(unknown, expected=expected, robust_z=signed, direction=Direction.DOWN)
        if rule in _RULE_SIDES and not outside and observed is not None:
            # The rule's bound is the nearer one.
            side, middle = _RULE_SIDES[rule], (observed + expected) / 2.0
            if side is Direction.UP:
                upper = min(upper, middle)
            else:
                lower = max(lower, middle)
        return replace(unknown, expected=expected, lower=lower, upper=upper, robust_z=signed, direction=side)

    def _component_limit(self, c: int) -> float:
        """Log10 of the p-value at which this metric alone would raise the alarm."""
        if self.options.metrics:
            share = evidence.WEIGHTS[c] / evidence.WEIGHTS[: len(CHANNELS)][self._usable].sum()
            return self._limit + math.log10(share)
        needed = self.subject.model.combined.score(self._limit)
        return min(float(math.log10(evidence.WEIGHTS[c]) - needed), 0.0)

    def _unit(self, t: int, c: int, count: float) -> float:
        """A count in the metric's own unit."""
        if c == 0:
            return count * self.subject.model.dynamics.unit_price
        if EXPOSURE[c] < 0:
            return count
        x = float(self._figures[1][c, t])
        if SIGN[c] > 0:
            return float(SCALE[c]) * count / x
        return float(SCALE[c]) * x / count if count > 0 else math.inf


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


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _main(metrics: Sequence[MetricAssessment], alarms: Sequence[RuleAlarm]) -> MetricAssessment:
    """The metric that a day is about: the worst rule's, else the first that is out of its range, else the first."""
    if alarms:
        metric = alarms[0].metric
        return next((one for one in metrics if one.metric is metric), replace(metrics[0], metric=metric))
    out = (one for one in metrics if one.direction is not Direction.NONE and one.gate is Gate.NONE)
    return next(out, metrics[0])


def _side(
    metrics: Sequence[MetricAssessment], main: MetricAssessment, alarms: Sequence[RuleAlarm]
) -> Direction:
    if any(one.rule in _DOWN_RULES for one in alarms):
        return Direction.DOWN
    if main.direction is Direction.NONE:
        return Direction.RELATION
    out = {one.direction for one in metrics if one.metric in CHANNELS[:BASE]} - {Direction.NONE}
    return Direction.MIXED if len(out) > 1 else main.direction
