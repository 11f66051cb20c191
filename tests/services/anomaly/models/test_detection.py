"""What the service says of days: faults with known truth on a simulated account."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_anomaly import encoding
from adsml_anomaly.models.assessment import Options, Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import AccountPool, fit_entity
from adsml_anomaly.models.results import Direction, IncidentState, Rule, Severity, Threshold
from adsml_anomaly.models.series_model import SeriesModel
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InsufficientHistory, InvalidInput
from adsml_common.domain.metrics import Metric

SPEND, IMPRESSIONS, CLICKS, LEADS, REACH = range(5)


@pytest.fixture(scope="module")
def campaign(histories: dict[EntityRef, Days], pool: AccountPool) -> tuple[EntityRef, Days, SeriesModel]:
    """The campaign with the most leads, and a model of all but its last 20 days."""
    refs = [ref for ref in histories if ref.entity_type is EntityType.CAMPAIGN]
    ref = max(refs, key=lambda one: histories[one].rows[:, LEADS].sum())
    days = histories[ref]
    model = fit_entity(Days(days.first_day, days.rows[:80]), pool, ref.entity_type, what=str(ref)).model
    return ref, days, model


def subject(campaign: tuple[EntityRef, Days, SeriesModel], rows: np.ndarray, **more: object) -> Subject:
    ref, days, model = campaign
    return Subject(
        name=str(ref), days=Days(days.first_day, rows), model=model, threshold=Threshold(1.0), **more
    )


def with_day(days: Days, at: int, **factors: float) -> np.ndarray:
    rows = days.rows.copy()
    for name, factor in factors.items():
        column = {"spend": SPEND, "impressions": IMPRESSIONS, "clicks": CLICKS, "leads": LEADS}[name]
        rows[at, column] = np.floor(rows[at, column] * factor)
    return rows


@pytest.mark.parametrize("metric", ["spend", "impressions", "clicks", "leads"])
def test_a_metric_that_jumps_alone_is_found_and_blamed(
    campaign: tuple[EntityRef, Days, SeriesModel], metric: str
) -> None:
    rows = with_day(campaign[1], -1, **{metric: 3.0})
    [day] = assess(subject(campaign, rows)).days
    assert day.anomalous
    assert day.metrics[0].metric == Metric(metric)
    assert day.metrics[0].direction is Direction.UP
    assert day.direction is Direction.UP
    assert sum(one.attribution for one in day.metrics) == pytest.approx(1.0)
    told = day.metrics[0]
    assert told.observed is not None
    assert told.upper is not None
    assert told.lower is not None
    assert told.expected is not None
    assert told.lower < told.expected < told.upper < told.observed


def test_tracking_outage_collapse_and_zero_spend_are_named(
    campaign: tuple[EntityRef, Days, SeriesModel],
) -> None:
    every = {"spend": 0.05, "impressions": 0.05, "clicks": 0.05, "leads": 0.0}
    cases = [
        ({"leads": 0.0}, Rule.LEADS_STOPPED),
        (every, Rule.DELIVERY_COLLAPSE),
        (dict.fromkeys(every, 0.0), Rule.ZERO_SPEND),
        ({"spend": 4.0}, Rule.SPEND_SPIKE),
    ]
    for factors, rule in cases:
        [day] = assess(subject(campaign, with_day(campaign[1], -1, **factors))).days
        assert rule in [alarm.rule for alarm in day.rule_alarms], rule
        assert day.severity is Severity.CRITICAL
        assert day.summary


def test_a_pause_on_record_is_no_zero_spend(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    ref, days, _ = campaign
    rows = days.rows.copy()
    rows[-1] = 0.0
    pause = ChangeEvent(ref, ChangeType.PAUSE, days.last_day)
    [day] = assess(subject(campaign, rows, changes=[pause])).days
    assert not day.anomalous
    assert day.p_value is None
    [day] = assess(subject(campaign, rows, switched_off=True)).days
    assert not day.anomalous


def test_a_jump_after_a_budget_change_says_so_and_can_be_excluded(
    campaign: tuple[EntityRef, Days, SeriesModel],
) -> None:
    ref, days, _ = campaign
    rows = with_day(days, -1, spend=2.5, impressions=2.5, clicks=2.5, leads=2.5)
    budget = {"budget_before": 100.0, "budget_after": 250.0}
    change = ChangeEvent(ref, ChangeType.BUDGET_CHANGE, days.last_day - timedelta(days=1), budget)
    [day] = assess(subject(campaign, rows, changes=[change])).days
    assert day.anomalous
    assert day.related_changes == (change,)
    assert "budget raised from 100.00 to 250.00" in day.summary
    [day] = assess(subject(campaign, rows, changes=[change]), Options(exclude_explained_by_change=True)).days
    assert (day.anomalous, day.excluded) == (False, True)
    assert "budget raised" in day.exclusion_reason
    cut = ChangeEvent(
        ref, ChangeType.BUDGET_CHANGE, change.date, {"budget_before": 250.0, "budget_after": 100.0}
    )
    [day] = assess(subject(campaign, rows, changes=[cut]), Options(exclude_explained_by_change=True)).days
    assert day.anomalous, "a cut does not explain a rise"


def test_holidays_are_assessed_and_marked(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    days = campaign[1]
    rows = with_day(days, -1, leads=3.0)
    [day] = assess(subject(campaign, rows), Options(excluded_dates=frozenset({days.last_day}))).days
    assert (day.anomalous, day.excluded, day.incident_id) == (False, True, "")
    assert day.p_value is not None
    assert day.p_value < 1 / 30


def test_days_in_a_row_are_one_incident_with_a_stable_id(
    campaign: tuple[EntityRef, Days, SeriesModel],
) -> None:
    days = campaign[1]
    rows = days.rows.copy()
    rows[90:93, LEADS] = 0.0
    first, last = days.day(88), days.day(94)
    whole = assess(subject(campaign, rows), Options(first_date=first, last_date=last))
    [incident] = [one for one in whole.incidents if one.first == days.day(90)]
    assert incident.last == days.day(92)
    assert incident.main_metric is Metric.LEADS
    # Asked for its second day alone, it is the same incident and still began the day before.
    part = assess(subject(campaign, rows), Options(first_date=days.day(91), last_date=days.day(91)))
    assert [(one.incident_id, one.first) for one in part.incidents] == [
        (incident.incident_id, incident.first)
    ]
    # It goes on as far as was asked, and had ended by the last day of the first question.
    assert (part.incidents[0].state, incident.state) == (IncidentState.OPEN, IncidentState.RESOLVED)


def test_no_cpl_alarm_on_few_conversions_and_no_ctr_alarm_on_few_impressions(
    histories: dict[EntityRef, Days], pool: AccountPool
) -> None:
    ref, days = min(
        ((r, d) for r, d in histories.items() if r.entity_type is EntityType.AD),
        key=lambda item: item[1].rows[:, LEADS].sum(),
    )
    rows = days.rows.copy()
    rows[-1] = [rows[-8, SPEND], 900, 2, 1, 850]
    model = pool.of(ref.entity_type).pooled.for_series(days)
    [day] = assess(
        Subject(name=str(ref), days=Days(days.first_day, rows), model=model, threshold=Threshold(1.0))
    ).days
    told = {one.metric: one for one in day.metrics}
    assert encoding.value(told[Metric.CPL]).gate == pb.ALARM_GATE_FEW_LEADS
    assert encoding.value(told[Metric.CTR]).gate == pb.ALARM_GATE_FEW_IMPRESSIONS
    assert not {alarm.rule for alarm in day.rule_alarms} & {Rule.CPL_SPIKE, Rule.CTR_DROP}


def test_more_eagerness_never_means_fewer_alarms(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    days = campaign[1]
    counts = [
        sum(
            day.anomalous
            for day in assess(
                subject(campaign, days.rows),
                Options(first_date=days.day(20), last_date=days.last_day, false_alarms_per_month=rate),
            ).days
        )
        for rate in (0.1, 1.0, 3.0, 10.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] <= 4
    assert counts[-1] > counts[0]


def test_choosing_metrics_leaves_the_others_out(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    rows = with_day(campaign[1], -1, leads=4.0)
    [day] = assess(subject(campaign, rows), Options(metrics=(Metric.SPEND, Metric.CTR))).days
    assert not day.anomalous
    assert {one.metric for one in day.metrics} == {Metric.SPEND, Metric.CTR}


def test_bad_ranges_and_short_histories_are_said(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    _, days, _ = campaign
    with pytest.raises(InvalidInput, match="as_of_date"):
        assess(subject(campaign, days.rows), Options(last_date=days.last_day + timedelta(days=1)))
    with pytest.raises(InvalidInput, match="after as_of_date"):
        assess(subject(campaign, days.rows), Options(first_date=date(2099, 1, 1)))
    with pytest.raises(InsufficientHistory, match="has 5 days of history and needs 8"):
        assess(subject(campaign, days.rows[:5]))


def test_without_reach_frequency_is_left_out_and_said(
    campaign: tuple[EntityRef, Days, SeriesModel],
) -> None:
    rows = campaign[1].rows.copy()
    rows[:, REACH] = np.nan
    found = assess(subject(campaign, rows))
    assert Metric.FREQUENCY not in {one.metric for one in found.days[0].metrics}
    assert found.without_reach


def test_a_rate_too_small_to_divide_is_a_rate(campaign: tuple[EntityRef, Days, SeriesModel]) -> None:
    asked = replace(subject(campaign, campaign[1].rows), threshold=Threshold(5e-324))
    [day] = assess(asked).days
    assert not day.anomalous
