"""Incidents have a state: open until the entity is back, whatever day is asked about."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from adsml_anomaly.models.assessment import Options, Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.completeness import of_days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import AccountPool, fit_entity
from adsml_anomaly.models.local_level import SETTLE_DAYS
from adsml_anomaly.models.results import Incident, IncidentState, Kind, Report, Rule, Severity, Threshold
from adsml_anomaly.models.rules import STOPPED_DAYS
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.completion import CompletionCurve
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric

SPEND, IMPRESSIONS, CLICKS, LEADS, REACH = range(5)
BEGAN = 75
"""Row on which faults begin; the model has learned from the days before."""


@pytest.fixture(scope="module")
def healthy(histories: dict[EntityRef, Days], pool: AccountPool) -> Subject:
    """The campaign with the most leads, a hundred days on which nothing happens."""
    refs = [ref for ref in histories if ref.entity_type is EntityType.CAMPAIGN]
    ref = max(refs, key=lambda one: histories[one].rows[:, LEADS].sum())
    days = histories[ref]
    model = fit_entity(days.until(BEGAN - 1), pool, ref.entity_type, what=str(ref)).model
    return Subject(name=str(ref), days=days, model=model, threshold=Threshold(1.0))


def changed(subject: Subject, change: object, *, until: int = 100) -> Subject:
    """With rows from the fault's first day on as `change` makes them."""
    rows = subject.days.rows.copy()
    change(rows[BEGAN:until])  # type: ignore[operator]
    return replace(subject, days=replace(subject.days, rows=rows))


def report(subject: Subject, last: int, *, first: int | None = None, **options: object) -> Report:
    day = subject.days.day
    asked = Options(first_date=day(last if first is None else first), last_date=day(last), **options)
    return assess(subject, asked)


def incident(subject: Subject, last: int, kind: Kind, **options: object) -> Incident:
    found = [one for one in report(subject, last, **options).incidents if one.kind is kind]
    assert len(found) == 1, found
    return found[0]


def nothing(rows: np.ndarray) -> None:
    rows[:] = 0.0


def no_leads(rows: np.ndarray) -> None:
    rows[:, LEADS] = 0.0


@pytest.mark.parametrize("day", [1, 2, 3, 5, 9, STOPPED_DAYS])
def test_an_outage_is_told_on_every_day_it_lasts(healthy: Subject, day: int) -> None:
    out = changed(healthy, nothing)
    last = BEGAN + day - 1
    [assessed] = report(out, last).days
    assert assessed.anomalous
    assert assessed.severity is Severity.CRITICAL
    assert assessed.main_metric is Metric.SPEND
    found = incident(out, last, Kind.NO_DELIVERY)
    assert found.state is IncidentState.OPEN
    assert found.first == out.days.day(BEGAN)
    usual = float(np.median(healthy.days.rows[BEGAN - 7 : BEGAN, SPEND]))
    assert found.stake_per_day == pytest.approx(usual)


def test_after_two_weeks_an_outage_is_a_stop(healthy: Subject) -> None:
    out = changed(healthy, nothing)
    last = BEGAN + STOPPED_DAYS
    found = report(out, last, first=last - 13)
    [outage] = found.incidents
    assert outage.state is IncidentState.NEW_NORMAL
    assert "stopped" in outage.summary
    assert not found.days[-1].anomalous
    assert found.delivery is not None
    assert (found.delivery.stopped, found.delivery.days_without_delivery) == (True, STOPPED_DAYS + 1)
    assert found.delivery.last_delivery_date == out.days.day(BEGAN - 1)


def test_back_is_resolved(healthy: Subject) -> None:
    out = changed(healthy, nothing, until=BEGAN + 3)
    found = incident(out, BEGAN + 5, Kind.NO_DELIVERY, first=BEGAN - 5)
    assert (found.state, found.last) == (IncidentState.RESOLVED, out.days.day(BEGAN + 2))
    assert not report(out, BEGAN + 5).incidents


def test_absent_rows_are_said_to_be_absent(healthy: Subject) -> None:
    cut = replace(healthy, days=healthy.days.until(BEGAN - 1).until(BEGAN + 2))
    [assessed] = report(cut, BEGAN + 2).days
    assert [one.rule for one in assessed.rule_alarms] == [Rule.ABSENT_DATA]
    assert assessed.summary.startswith(f"No rows since {cut.days.day(BEGAN)}")


def test_weekdays_only_is_no_outage_at_the_weekend_and_one_on_monday(
    healthy: Subject, pool: AccountPool
) -> None:
    rows = healthy.days.rows.copy()
    weekend = np.array([healthy.days.day(t).weekday() >= 5 for t in range(len(rows))])
    rows[weekend] = 0.0
    monday = next(t for t in range(BEGAN, BEGAN + 7) if healthy.days.day(t).weekday() == 0)
    rows[monday] = 0.0
    model = pool.of(EntityType.CAMPAIGN).pooled.for_series(healthy.days)
    subject = replace(healthy, days=replace(healthy.days, rows=rows), model=model)
    assert not any(one.anomalous for one in report(subject, monday - 1, first=monday - 2).days)
    assert report(subject, monday).days[0].anomalous
    # On Saturday nothing is due, and the outage of Friday is not over.
    rows[monday : monday + 5] = 0.0
    saturday = report(subject, monday + 5)
    assert not saturday.days[0].anomalous
    assert [one.state for one in saturday.incidents] == [IncidentState.OPEN]


def test_leads_that_stopped_are_missing_since_the_first_day_without(healthy: Subject) -> None:
    """Few leads: chance has to be ruled out, which takes days; the incident began with the first of them."""

    def few(rows: np.ndarray) -> None:
        rows[:, LEADS] = 0.0

    rows = healthy.days.rows.copy()
    rng = np.random.default_rng(4)
    rows[:, LEADS] = rng.poisson(1.6, len(rows))
    rows[BEGAN - 1, LEADS] = 2.0
    slow = changed(replace(healthy, days=replace(healthy.days, rows=rows)), few)
    for last in (BEGAN + 8, BEGAN + 14):
        found = incident(slow, last, Kind.LEADS_LOST)
        assert found.first == slow.days.day(BEGAN)
        assert (found.state, found.main_metric, found.rule) == (
            IncidentState.OPEN, Metric.LEADS, Rule.LEADS_STOPPED,
        )  # fmt: skip


def test_a_level_that_stays_becomes_the_new_normal_with_a_word(healthy: Subject) -> None:
    def more(rows: np.ndarray) -> None:
        rows[:, :LEADS] = np.round(rows[:, :LEADS] * 1.9, 2)
        rows[:, LEADS] = np.round(rows[:, LEADS] * 1.9)

    shifted = changed(healthy, more)
    for day in (1, 4, SETTLE_DAYS):
        last = BEGAN + day - 1
        [assessed] = report(shifted, last).days
        assert assessed.anomalous, day
        assert report(shifted, last).incidents[0].state is IncidentState.OPEN
    settled = report(shifted, BEGAN + SETTLE_DAYS + 4, first=BEGAN)
    first = settled.incidents[0]
    assert first.state is IncidentState.NEW_NORMAL
    assert f"new level since {shifted.days.day(BEGAN)}" in first.summary
    healthy_alarms = sum(one.anomalous for one in report(healthy, BEGAN + SETTLE_DAYS + 4, first=BEGAN).days)
    assert sum(one.anomalous for one in settled.days[SETTLE_DAYS:]) <= max(healthy_alarms, 1)


def test_a_collapse_that_stays_is_no_new_level_for_two_weeks(healthy: Subject) -> None:
    def trickle(rows: np.ndarray) -> None:
        rows[:] = np.floor(rows * 0.05)

    collapsed = changed(healthy, trickle)
    for day in (1, 5, 10, 13):
        found = incident(collapsed, BEGAN + day - 1, Kind.DELIVERY_DROP)
        assert (found.state, found.first) == (IncidentState.OPEN, collapsed.days.day(BEGAN))


def test_what_happens_during_an_incident_belongs_to_it(healthy: Subject) -> None:
    """A day of odd spend among days without leads is not a second incident."""
    rows = healthy.days.rows.copy()
    rng = np.random.default_rng(4)
    rows[:, LEADS] = rng.poisson(1.6, len(rows))
    rows[BEGAN - 1, LEADS], rows[BEGAN:, LEADS] = 2.0, 0.0
    rows[BEGAN + 2, SPEND] *= 2
    odd = replace(healthy, days=replace(healthy.days, rows=rows))
    found = report(odd, BEGAN + 8, first=BEGAN)
    assert [one.main_metric for one in found.incidents if one.kind is not Kind.DRIFT] == [Metric.LEADS]


def test_a_slow_drift_is_an_incident_of_its_own(healthy: Subject) -> None:
    def fade(rows: np.ndarray) -> None:
        rows[:, LEADS] = np.round(rows[:, LEADS] * np.exp(-0.03 * np.arange(len(rows))))

    rows = healthy.days.rows.copy()
    fade(rows[55:])
    slow = replace(healthy, days=replace(healthy.days, rows=rows))
    found = incident(slow, 99, Kind.DRIFT)
    assert found.rule is Rule.DRIFT
    assert found.main_metric in (Metric.CPL, Metric.CONVERSION_RATE)
    assert "drifted" in found.summary
    assert "in 30 days" in found.summary
    assert found.stake_per_day > 0
    assert not [one for one in report(healthy, 99).incidents if one.kind is Kind.DRIFT]
    # All at once is a step, which was an alarm of its own.
    step = rows.copy()
    step[:, LEADS] = healthy.days.rows[:, LEADS]
    step[78:, LEADS] = np.round(step[78:, LEADS] * 0.5)
    stepped = replace(healthy, days=replace(healthy.days, rows=step))
    assert not [one for one in report(stepped, 99).incidents if one.kind is Kind.DRIFT]


CURVE = CompletionCurve((0.9, 1.0, 1.0), (0.35, 0.7, 0.9), (0.03, 0.0, 0.0), (0.08, 0.05, 0.03))


def as_of(subject: Subject, last: int, curve: CompletionCurve) -> Subject:
    """The rows as a load of the next morning finds them."""
    rows = subject.days.rows[: last + 1].copy()
    for age, (delivery, leads) in enumerate(zip(curve.delivery, curve.leads, strict=True)):
        rows[last - age, :LEADS] = np.floor(rows[last - age, :LEADS] * delivery)
        rows[last - age, REACH] = np.floor(rows[last - age, REACH] * delivery**0.8)
        rows[last - age, LEADS] = np.floor(rows[last - age, LEADS] * leads)
    return replace(subject, days=replace(subject.days, rows=rows))


def test_young_days_alarm_as_complete_ones_do(healthy: Subject) -> None:
    complete = raised = plain = 0
    for last in range(BEGAN, 100):
        young = as_of(healthy, last, CURVE)
        known = replace(young, completeness=of_days(last + 1, youngest_age=0, curve=CURVE))
        complete += any(one.anomalous for one in report(healthy, last, first=last - 2).days)
        plain += any(one.anomalous for one in report(young, last, first=last - 2).days)
        raised += any(one.anomalous for one in report(known, last, first=last - 2).days)
    assert plain >= 20, "without a curve nearly every morning alarms"
    assert raised <= complete + 2
    # A fault is one at any age.
    broken = changed(healthy, no_leads)
    known = as_of(broken, BEGAN, CURVE)
    known = replace(known, completeness=of_days(BEGAN + 1, youngest_age=0, curve=CURVE))
    [day] = report(known, BEGAN).days
    assert (day.anomalous, day.expected_completion) == (True, pytest.approx(0.35))


def test_a_day_that_fills_up_alarms_only_for_what_is_too_much_already(healthy: Subject) -> None:
    filling = of_days(BEGAN + 1, youngest_age=0, curve=None, filling_days=1)
    young = replace(as_of(healthy, BEGAN, replace_shares(0.3, 0.1)), completeness=filling)
    found = report(young, BEGAN)
    assert [(one.anomalous, one.still_filling) for one in found.days] == [(False, True)]
    assert found.incomplete_since == healthy.days.day(BEGAN)
    nobody = replace(changed(healthy, nothing), completeness=filling)
    assert not report(nobody, BEGAN).days[0].anomalous
    rows = healthy.days.rows.copy()
    rows[BEGAN, SPEND] *= 5
    runaway = replace(healthy, days=replace(healthy.days, rows=rows), completeness=filling)
    [day] = report(runaway, BEGAN).days
    assert Rule.SPEND_SPIKE in [one.rule for one in day.rule_alarms]


def replace_shares(delivery: float, leads: float) -> CompletionCurve:
    return CompletionCurve((delivery,), (leads,), (0.0,), (0.0,))


def test_days_behind_the_last_loaded_one_are_not_on_their_way(healthy: Subject) -> None:
    ahead = of_days(10, youngest_age=-3, filling_days=2)
    assert np.flatnonzero(ahead.filling).tolist() == [5, 6]


def test_days_cut_off_compile_nothing_anew() -> None:
    """Kernels are compiled for arrays in one piece; of others each request's first would wait for them."""
    cut = of_days(10, youngest_age=0, curve=CURVE).until(6)
    assert cut.factor.shape == (10, 7)
    assert cut.factor.flags.c_contiguous
    assert cut.slack.flags.c_contiguous


def test_a_holiday_teaches_nothing_and_alarms_for_outages_alone(healthy: Subject) -> None:
    def festive(rows: np.ndarray) -> None:
        rows[0, LEADS] = np.round(rows[0, LEADS] * 2.5)

    day = healthy.days.day(BEGAN)
    [quiet] = report(changed(healthy, festive), BEGAN, named_days={day: "Black Friday"}).days
    assert (quiet.anomalous, quiet.excluded) == (False, True)
    assert quiet.exclusion_reason.startswith("Black Friday")
    [outage] = report(changed(healthy, nothing), BEGAN, named_days={day: "Black Friday"}).days
    assert outage.anomalous


def test_a_pause_on_record_ends_an_outage(healthy: Subject) -> None:
    out = changed(healthy, nothing)
    ref = EntityRef(1, EntityType.CAMPAIGN, "x")
    pause = ChangeEvent(ref, ChangeType.PAUSE, out.days.day(BEGAN) + timedelta(days=2))
    paused = replace(out, changes=[pause])
    found = report(paused, BEGAN + 4, first=BEGAN)
    assert [one.anomalous for one in found.days] == [True, True, False, False, False]
    assert [one.state for one in found.incidents] == [IncidentState.RESOLVED]
    assert "switched off since" in found.incidents[0].summary
