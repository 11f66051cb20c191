"""Judge days of one entity by a model."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_common.domain.metrics import Metric

from adsml_anomaly import attribution, changes, evidence, gates, incidents
from adsml_anomaly.channels import (
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
from adsml_anomaly.local_level import WARM_UP_DAYS, counts
from adsml_anomaly.model import Scores, SeriesModel, score
from adsml_anomaly.report import (
    DayAssessment,
    Direction,
    Incident,
    MetricAssessment,
    Report,
    Rule,
    RuleAlarm,
    Severity,
    Threshold,
)
from adsml_anomaly.rules import rule_alarms
from adsml_anomaly.stabilise import invert

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LOOK_BACK_DAYS: Final = 14
"""How far before the first assessed day an incident's beginning is looked for."""
HISTORY_NEEDED: Final = WARM_UP_DAYS + 1
_MONEY: Final = frozenset({Metric.SPEND, Metric.CPL, Metric.CPC, Metric.CPM})
_PERCENT: Final = frozenset({Metric.CTR, Metric.CONVERSION_RATE})


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
    changes: tuple[ChangeEvent, ...] = ()
    exclude_explained_by_change: bool = False
    anomalous_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The series to judge.

    Attributes
    ----------
    name
        For errors, e.g. ``adset 42 of account 1``; also what incident ids hang on.
    days
        Its history with the days to judge.
    model
        What judges it; a pooled one by `SeriesModel.for_series`.
    threshold
        Its own threshold.
    changes
        Recorded changes of it and of what it belongs to.
    switched_off
        Whether it is known to be paused now: then no spend at the end of its rows is no alarm.
    """

    name: str
    days: Days
    model: SeriesModel
    threshold: Threshold
    changes: Sequence[ChangeEvent] = ()
    switched_off: bool = False


def assess(subject: Subject, options: Options | None = None) -> Report:
    """Judge days.

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
    # Most days are ordinary: where only alarms are asked for, those days alone decide whether more is worked out.
    if options.anomalous_only:
        looked = _Judge(subject, options, threshold, first, last, look_back=0)
        if not looked.raises():
            return Report((), (), threshold, looked.warnings)
    return _Judge(subject, options, threshold, first, last, look_back=LOOK_BACK_DAYS).report()


def _range(days: Days, options: Options) -> tuple[int, int]:
    last_day = options.last_date or days.last_day
    first_day = options.first_date or last_day
    first, last = days.index(first_day), days.index(last_day)
    if last < first:
        raise InvalidInput.at("options.first_date", f"is {first_day}, after last_date {last_day}")
    if last >= len(days.rows) or last < 0:
        raise InvalidInput.at(
            "options.last_date", f"is {last_day}; the series has {days.first_day} to {days.last_day}"
        )
    return max(first, 0), last


class _Judge:
    """One assessment: numbers for all days once, words for those that need them."""

    def __init__(
        self,
        subject: Subject,
        options: Options,
        threshold: Threshold,
        first: int,
        last: int,
        *,
        look_back: int,
    ) -> None:
        self._subject, self._options, self._threshold = subject, options, threshold
        self._first, self._last = first, last
        self._start = max(first - look_back, 0)
        self._model = subject.model
        self._days = Days(subject.days.first_day, subject.days.rows[: last + 1])
        self._events = tuple(sorted((*subject.changes, *options.changes), key=lambda event: event.date))
        self._usable, self.warnings = self._choose()
        barred = self._marked(options.excluded_dates, days=1)
        # A change is in force for part of its first day, so that the level moves on both.
        changed = self._marked([event.date for event in self._events], days=2)
        self._scores: Scores = score(
            self._model, self._days, start=self._start, barred=barred, changed=changed
        )
        self._log_p = self._p_values()
        self._limit = math.log10(threshold.p_value)
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

    def _choose(self) -> tuple[BoolArray, tuple[str, ...]]:
        usable, warnings = np.ones(len(CHANNELS), dtype=np.bool_), []
        if not knows_reach(self._days):
            usable[CHANNELS.index(Metric.FREQUENCY)] = False
            warnings.append("reach is missing: frequency was not looked at")
        if self._options.metrics:
            usable &= np.array([metric in self._options.metrics for metric in CHANNELS])
        if not usable.any():
            raise InvalidInput.at("options.metrics", "needs reach, which is missing; ask for other metrics")
        return usable, tuple(warnings)

    def _p_values(self) -> FloatArray:
        if not self._options.metrics:
            return self._scores.combined
        # A choice of metrics has no calibration of its own: Bonferroni's bound is valid, if a little strict.
        chosen = np.concatenate([self._usable, [False, False]])
        return np.minimum(-evidence.combine(self._scores.log_p, chosen=chosen), 0.0)

    def _rules(self) -> dict[int, tuple[RuleAlarm, ...]]:
        found = rule_alarms(
            self._days, self._scores, self._model.dynamics.phi, self._model.dynamics.unit_price,
            start=self._start, paused=self._paused(),
        )  # fmt: skip
        if not self._options.metrics:
            return found
        chosen = {
            t: tuple(one for one in alarms if one.metric in self._options.metrics)
            for t, alarms in found.items()
        }
        return {t: alarms for t, alarms in chosen.items() if alarms}

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

    def raises(self) -> bool:
        """Whether any day is past the threshold or raised a rule, excluded or not."""
        return any(self._raised(t) for t in range(self._first, self._last + 1))

    def report(self) -> Report:
        """The whole answer."""
        self._counts, self._exposure = counts(self._days, self._model.dynamics.unit_price)
        self._values = metric_values(self._days.rows)
        span = range(self._start, self._last + 1)
        raised = {t: self._raised(t) for t in span}
        reasons = {t: self._exclusion(t) if raised[t] else "" for t in span}
        alarmed = [raised[t] and not reasons[t] for t in span]
        ids: dict[int, str] = {}
        groups: list[tuple[str, range]] = []
        for a, b in incidents.runs(alarmed):
            rows = range(self._start + a, self._start + b + 1)
            if rows[-1] < self._first:
                continue
            name = incidents.incident_id(self._subject.name, self._days.day(rows[0]))
            groups.append((name, rows))
            ids.update(dict.fromkeys(rows, name))
        wanted = [
            t for t in range(self._first, self._last + 1) if raised[t] or not self._options.anomalous_only
        ]
        told = {t: self._day(t, reasons[t], ids.get(t, "")) for t in {*wanted, *ids}}
        return Report(
            days=tuple(told[t] for t in wanted),
            incidents=tuple(self._incident(name, [told[t] for t in rows]) for name, rows in groups),
            threshold=self._threshold,
            warnings=self.warnings,
        )

    def _raised(self, t: int) -> bool:
        return bool(self._log_p[t] <= self._limit + 1e-12) or t in self._alarms

    def _exclusion(self, t: int) -> str:
        day = self._days.day(t)
        if day in self._options.excluded_dates:
            return f"{day} is among the excluded dates"
        if self._options.exclude_explained_by_change:
            c = int(np.argmax(self._shares(t)))
            z = float(np.nan_to_num(SIGN[c] * self._scores.innovations.z[t, c]))
            for event in changes.related(day, self._events):
                if changes.explains(event, CHANNELS[c], z):
                    return f"explained by a change: {changes.in_words(event)}"
        return ""

    def _shares(self, t: int) -> FloatArray:
        found = self._scores.innovations
        day = attribution.Day(
            found.z[t], self._counts[:, t], found.mean[t], self._model.dynamics.phi, found.stretch[t]
        )
        return attribution.shares(day, self._model.precision, usable=self._usable)

    def _day(self, t: int, reason: str, incident: str) -> DayAssessment:
        anomalous = bool(incident)
        share = self._shares(t)
        metrics = tuple(
            self._metric(t, c, float(share[c])) for c in np.argsort(-share, kind="stable") if self._usable[c]
        )
        alarms = self._alarms.get(t, ())
        known = bool(np.isfinite(self._log_p[t]))
        found, parts = self._scores.innovations, self._scores.components[t]
        z = np.abs(found.z[t][self._usable])
        related = changes.related(self._days.day(t), self._events) if anomalous or reason else ()
        return DayAssessment(
            date=self._days.day(t),
            time=None,
            anomalous=anomalous,
            p_value=float(10.0 ** self._log_p[t]) if known else None,
            isolation_forest=_known(parts[evidence.FOREST]),
            max_robust_z=float(np.nanmax(z)) if np.isfinite(z).any() else None,
            mahalanobis=_known(parts[evidence.DISTANCE]),
            severity=self._severity(t, alarms) if anomalous else Severity.NONE,
            direction=_side(metrics, alarms) if anomalous else Direction.NONE,
            metrics=metrics,
            rule_alarms=alarms,
            related_changes=related,
            excluded=bool(reason),
            exclusion_reason=reason,
            incident_id=incident,
            summary=_sentence(metrics, alarms, related) if anomalous else "",
        )

    def _severity(self, t: int, alarms: Sequence[RuleAlarm]) -> Severity:
        score_severity = Severity.NONE
        if self._log_p[t] <= self._limit + 1e-12:
            decades = self._limit - float(self._log_p[t])
            score_severity = Severity(1 + int(decades >= 1.0) + int(decades >= 2.0))
        return max([score_severity, *(alarm.severity for alarm in alarms)])

    def _metric(self, t: int, c: int, share: float) -> MetricAssessment:
        found, metric = self._scores.innovations, CHANNELS[c]
        observed, z, mean = _known(self._values[t, c]), found.z[t, c], found.mean[t, c]
        gate = gates.reason(metric, self._days.rows[t]) if self._scores.gated[t, c] else ""
        log_p = self._component_limit(c)
        if not np.isfinite(z):
            gate = gate if self._days.delivered[t] else ""
            return MetricAssessment(
                metric, observed, None, None, None, 1.0 - 10.0**log_p, None, Direction.NONE, share, gate
            )
        limit = self._model.curves[c].score(log_p)
        phi, stretch = self._model.dynamics.phi[c], found.stretch[t, c]
        ends = (invert(mean, phi, -limit * stretch), mean, invert(mean, phi, limit * stretch))
        low, expected, high = (self._unit(t, c, count) for count in ends)
        lower, upper = (low, high) if SIGN[c] > 0 else (high, low)
        signed = float(SIGN[c] * z)
        outside = abs(signed) > limit
        side = (Direction.UP if signed > 0 else Direction.DOWN) if outside else Direction.NONE
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

    def _incident(self, name: str, days: list[DayAssessment]) -> Incident:
        worst = max(days, key=lambda day: (day.severity, -(day.p_value if day.p_value is not None else 0.0)))
        sides = {day.direction for day in days}
        first, last = days[0].date, days[-1].date
        assert first is not None  # noqa: S101  # days of an entity are dated
        assert last is not None  # noqa: S101
        length = f"{len(days)} days from {first}" if len(days) > 1 else f"{first}"
        return Incident(
            incident_id=name,
            first=first,
            last=last,
            severity=worst.severity,
            direction=sides.pop() if len(sides) == 1 else Direction.NONE,
            main_metric=_main(worst),
            ongoing=last == self._days.last_day,
            summary=f"{length}: {worst.summary}",
        )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _main(day: DayAssessment) -> Metric | None:
    if day.rule_alarms and day.p_value is None:
        return day.rule_alarms[0].metric
    return day.metrics[0].metric if day.metrics else None


def _side(metrics: Sequence[MetricAssessment], alarms: Sequence[RuleAlarm]) -> Direction:
    main = metrics[0]
    if any(alarm.rule in (Rule.ZERO_SPEND, Rule.DELIVERY_COLLAPSE, Rule.LEADS_STOPPED) for alarm in alarms):
        return Direction.DOWN
    if main.direction is Direction.NONE:
        return Direction.RELATION
    out = {
        one.direction
        for one in metrics
        if one.metric in CHANNELS[:BASE] and one.direction is not Direction.NONE
    }
    return Direction.NONE if len(out) > 1 else main.direction


def _amount(metric: Metric | None, value: float) -> str:
    if not math.isfinite(value):
        return "without limit"
    if metric in _MONEY:
        return f"{value:,.2f}"
    if metric in _PERCENT:
        return f"{value:.2f}%"
    return f"{value:.2f}" if metric is Metric.FREQUENCY else f"{value:,.0f}"


_NAMES: Final = {
    Metric.CPL: "CPL", Metric.CTR: "CTR", Metric.CPC: "CPC", Metric.CPM: "CPM",
    Metric.CONVERSION_RATE: "conversion rate",
}  # fmt: skip


def _phrase(one: MetricAssessment) -> str:
    name = _NAMES.get(one.metric, str(one.metric)) if one.metric is not None else "value"
    seen = "missing" if one.observed is None else _amount(one.metric, one.observed)
    if one.lower is None or one.upper is None:
        return f"{name} {seen}"
    low, high = _amount(one.metric, one.lower), _amount(one.metric, one.upper)
    return f"{name} {seen}, expected {low} to {high}"


def _sentence(
    metrics: Sequence[MetricAssessment], alarms: Sequence[RuleAlarm], related: Sequence[ChangeEvent]
) -> str:
    if alarms:
        text = "; ".join(alarm.message for alarm in alarms)
    else:
        out = [one for one in metrics if one.direction is not Direction.NONE and not one.gate]
        if out and out[0] is metrics[0]:
            text = _phrase(out[0])
        elif out:
            text = f"{_phrase(out[0])} ({metrics[0].metric} out of step)"
        else:
            text = f"{_phrase(metrics[0])}: in range, but out of step with the other metrics"
    if related:
        text += f"; {changes.in_words(related[-1])}"
    return text[0].upper() + text[1:]
