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

from adsml_anomaly.models import attribution, changes, channels, evidence, incidents, wording
from adsml_anomaly.models.arrays import BoolArray, FloatArray
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.local_level import WARM_UP_DAYS, counts
from adsml_anomaly.models.results import (
    DayAssessment,
    Direction,
    MetricAssessment,
    Rule,
    RuleAlarm,
    Severity,
    Threshold,
    figure,
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
    days: channels.Days
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
        days, model = subject.days, subject.model
        last_day = options.last_date or days.last_day
        first_day = options.first_date or last_day
        self.last = days.index(last_day)
        if last_day < first_day:
            raise InvalidInput.at("options.first_date", f"is {first_day}, after as_of_date {last_day}")
        if not 0 <= self.last < len(days.rows):
            span = f"{days.first_day} to {days.last_day}"
            raise InvalidInput.at("options.as_of_date", f"is {last_day}; the series has {span}")
        self.first = max(days.index(first_day), 0)
        self.start = max(self.first - LOOK_BACK_DAYS, 0)
        self.days = days.until(self.last)
        delivered = self.days.delivered
        had, with_reach = int(delivered.sum()), int((self.days.rows[delivered, channels.REACH] > 0).sum())
        if had < HISTORY_NEEDED:
            raise InsufficientHistory(subject.name, had=had, needed=HISTORY_NEEDED)
        self.threshold = subject.threshold
        if options.false_alarms_per_month is not None:
            self.threshold = replace(subject.threshold, false_alarms_per_month=options.false_alarms_per_month)
        self._limit = math.log10(self.threshold.p_value)
        metrics = options.metrics or channels.CHANNELS
        self.without_reach = with_reach < _REACH_KNOWN * had
        self._usable = np.array([metric in metrics for metric in channels.CHANNELS])
        self._usable[channels.FREQUENCY] &= not self.without_reach
        if not self._usable.any():
            raise InvalidInput.at("options.metrics", "needs reach, which is missing; ask for other metrics")
        self._events = tuple(sorted((*subject.changes, *options.changes), key=lambda event: event.date))
        self.complete = (subject.completeness or Completeness.whole(self.last + 1)).until(self.last)
        self.scores = score(
            model,
            self.days,
            start=self.start,
            barred=self._marked({*options.excluded_dates, *options.named_days}, days=1),
            # A change is in force for part of its first day, so that the level moves on both.
            changed=self._marked([event.date for event in self._events], days=2),
            complete=self.complete,
        )
        self._log_p = self.scores.combined
        if options.metrics:
            # A choice of metrics has no calibration of its own: Bonferroni's bound is valid, if a little strict.
            chosen = evidence.log_weights(np.concatenate([self._usable, [False, False]]))
            self._log_p = np.minimum(-evidence.combine(self.scores.log_p, chosen), 0.0)
        self.paused = self._paused()
        alarms = rule_alarms(
            self.days,
            self.scores,
            model.dynamics,
            start=self.start,
            paused=self.paused,
            complete=self.complete,
        )
        self._alarms = {
            t: tuple(sorted(wanted, key=lambda one: -one.severity))
            for t, several in alarms.items()
            if (wanted := [one for one in several if one.metric in metrics])
        }

    @cached_property
    def _figures(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Counts and exposures, shape (channels, T), and the metrics in their units, shape (T, channels)."""
        unit = self.subject.model.dynamics.unit_price
        return (*counts(self.days.rows, unit), channels.metric_values(self.days.rows))

    def raised(self) -> list[int]:
        """Rows that are alarms, unless they are excluded, in order."""
        by_scores = np.flatnonzero(self._log_p[self.start :] <= self._limit + 1e-12) + self.start
        return sorted({*by_scores.tolist(), *self._alarms})

    def day(self, t: int, *, raised: bool) -> DayAssessment:
        """A day in figures and words."""
        model, innovations = self.subject.model, self.scores.innovations
        share = attribution.shares(innovations, t, self._figures[0][:, t], model, usable=self._usable)
        alarms = self._alarms.get(t, ())
        metrics = tuple(
            self._metric(t, c, float(share[c]), alarms)
            for c in np.argsort(-share, kind="stable")
            if self._usable[c]
        )
        # A rule names the day where it is as bad as what the scores say.
        by_scores, decades = Severity.NONE, self._limit - float(self._log_p[t])
        if self._log_p[t] <= self._limit + 1e-12:
            by_scores = Severity(1 + int(decades >= 1.0) + int(decades >= 2.0))
        leading = tuple(one for one in alarms if one.severity >= by_scores)
        main = _main(metrics, leading)
        reason = self._exclusion(t, metrics[0], alarms) if raised else ""
        z, parts = np.abs(innovations.z[t][self._usable]), self.scores.components[t]
        quiet = DayAssessment(
            date=self.days.day(t),
            p_value=figure(10.0 ** self._log_p[t]),
            isolation_forest=figure(parts[evidence.FOREST]),
            max_robust_z=float(np.nanmax(z)) if np.isfinite(z).any() else None,
            mahalanobis=figure(parts[evidence.DISTANCE]),
            metrics=metrics,
            rule_alarms=alarms,
            related_changes=changes.related(self.days.day(t), self._events) if raised else (),
            excluded=bool(reason),
            exclusion_reason=reason,
            still_filling=bool(self.complete.filling[t]),
            expected_completion=self.complete.leads_in(t),
        )
        if not raised or reason:
            return quiet
        kind = incidents.kind_of(main, leading)
        return replace(
            quiet,
            anomalous=True,
            severity=max([by_scores, *(one.severity for one in alarms)]),
            direction=_side(metrics, main, leading),
            summary=wording.sentence(quiet, main, leading),
            main_metric=main.metric,
            kind=kind,
            stake=incidents.stake_of(
                kind, main.metric, self.days.rows[: t + 1], innovations.mean[t], model.dynamics.unit_price
            ),
        )

    def in_unit(self, t: int, c: int, count: float) -> float:
        """A count of a day in the metric's own unit."""
        if c == 0:
            return count * self.subject.model.dynamics.unit_price
        if channels.EXPOSURE[c] < 0:
            return count
        x = float(self._figures[1][c, t])
        if channels.SIGN[c] > 0:
            return float(channels.SCALE[c]) * count / x
        return float(channels.SCALE[c]) * x / count if count > 0 else math.inf

    # -- inside ----------------------------------------------------------------------------------------------

    def _marked(self, dates: Collection[date], *, days: int) -> BoolArray:
        """Which rows are one of so many days from one of these dates on."""
        out = np.zeros(len(self.days.rows), dtype=np.bool_)
        for one in dates:
            at = self.days.index(one)
            out[max(at, 0) : max(at + days, 0)] = True
        return out

    def _paused(self) -> BoolArray:
        """Rows on which it is known to have been switched off."""
        out = np.zeros(len(self.days.rows), dtype=np.bool_)
        for event in self._events:
            if event.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE):
                out[max(self.days.index(event.date), 0) :] = event.change_type is ChangeType.PAUSE
        if self.subject.switched_off:
            delivered = np.flatnonzero(self.days.delivered)
            out[delivered[-1] + 1 if delivered.size else 0 :] = True
        return out

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

    def _metric(self, t: int, c: int, share: float, alarms: Sequence[RuleAlarm]) -> MetricAssessment:
        innovations, metric, model = self.scores.innovations, channels.CHANNELS[c], self.subject.model
        observed, z, mean = figure(self._figures[2][t, c]), innovations.z[t, c], innovations.mean[t, c]
        gated = bool(self.scores.gated[t, c])
        log_p = self._component_limit(c)
        unknown = MetricAssessment(metric, observed, 1.0 - 10.0**log_p, share, gated)
        if not np.isfinite(z):
            return unknown if self.days.delivered[t] else replace(unknown, gated=False)
        signed = float(channels.SIGN[c] * z)
        limit = Survival(model.curves[c]).score(log_p)
        phi, stretch = model.dynamics.phi[c], innovations.stretch[t, c]
        ends = (invert(mean, phi, -limit * stretch), mean, invert(mean, phi, limit * stretch))
        low, expected, high = (self.in_unit(t, c, count) for count in ends)
        lower, upper = (low, high) if channels.SIGN[c] > 0 else (high, low)
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
            share = evidence.WEIGHTS[c] / evidence.WEIGHTS[: len(channels.CHANNELS)][self._usable].sum()
            return self._limit + math.log10(share)
        needed = Survival(self.subject.model.curves[-1]).score(self._limit)
        return min(float(math.log10(evidence.WEIGHTS[c]) - needed), 0.0)


def _main(metrics: Sequence[MetricAssessment], alarms: Sequence[RuleAlarm]) -> MetricAssessment:
    """The metric that a day is about: the worst rule's, else the first that is out of its range, else the first."""
    if alarms:
        metric = alarms[0].metric
        return next((one for one in metrics if one.metric is metric), replace(metrics[0], metric=metric))
    out = (one for one in metrics if one.direction is not Direction.NONE and not one.gated)
    return next(out, metrics[0])


def _side(
    metrics: Sequence[MetricAssessment], main: MetricAssessment, alarms: Sequence[RuleAlarm]
) -> Direction:
    if any(one.rule in _DOWN_RULES for one in alarms):
        return Direction.DOWN
    if main.direction is Direction.NONE:
        return Direction.RELATION
    out = {one.direction for one in metrics if one.metric in channels.CHANNELS[: channels.BASE]} - {
        Direction.NONE
    }
    return Direction.MIXED if len(out) > 1 else main.direction
