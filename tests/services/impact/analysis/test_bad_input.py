"""Bad questions and thin data: a clear error of the family, naming what there is."""

from datetime import timedelta

import numpy as np
import pytest
from adsml.common.v1 import change_pb2
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory, InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC, day
from adsml_impact.analysis.change import estimate_detectable
from adsml_impact.analysis.query import AccountData, Options
from adsml_impact.models.estimators import Estimator
from support.impact import FIRST, ask, effect_of, known, make_account, report_of

ACCOUNT = make_account(days=90)
DATA = known(ACCOUNT)


def test_change_before_the_data() -> None:
    with pytest.raises(
        FailedPrecondition, match=r"outside the data, which run from 2024-03-04 to 2024-06-01"
    ):
        report_of(ask(at=-5), DATA)


def test_change_after_the_data() -> None:
    with pytest.raises(FailedPrecondition, match="outside the data") as caught:
        report_of(ask(at=95), DATA)
    assert caught.value.metadata == {"first_date": "2024-03-04", "last_date": "2024-06-01"}


def test_change_in_the_future() -> None:
    data = known(ACCOUNT, today=FIRST + timedelta(days=89))
    with pytest.raises(InvalidInput, match=r"change.date: is .* in the future"):
        report_of(ask(at=95), data)


def test_change_on_the_first_day() -> None:
    with pytest.raises(InsufficientHistory, match="has 0 days") as caught:
        report_of(ask(at=0), DATA)
    assert (caught.value.had, caught.value.needed) == (0, 3)


@pytest.mark.parametrize("at", [1, 2])
def test_fewer_than_three_days_before(at: int) -> None:
    with pytest.raises(InsufficientHistory, match="before the change") as caught:
        report_of(ask(at=at), DATA)
    assert caught.value.metadata == {"days_had": str(at), "days_needed": "3"}


@pytest.mark.parametrize(("at", "had"), [(90, 0), (89, 1), (88, 2)])
def test_change_on_the_last_days(at: int, had: int) -> None:
    with pytest.raises(InsufficientHistory, match="after the change") as caught:
        report_of(ask(at=at), DATA)
    assert caught.value.had == had


def test_washout_and_dropped_days_count() -> None:
    with pytest.raises(InsufficientHistory, match="washout of 6") as caught:
        report_of(ask(at=80, options=Options(washout_days=6, attribution_lag_days=2)), DATA)
    assert caught.value.had == 2


def test_three_days_a_side_are_enough() -> None:
    data = known(make_account(days=6))
    windows = report_of(ask(at=3, change_type=ChangeType.CREATIVE_CHANGE), data).windows
    assert (day(windows.before_last_date, "") - day(windows.before_first_date, "")).days == 2
    assert (day(windows.after_last_date, "") - day(windows.after_first_date, "")).days == 2


def test_treated_entity_without_rows() -> None:
    with pytest.raises(InsufficientHistory, match="adset 999 has 0 days"):
        report_of(ask(treated=["999"]), DATA)


def test_entity_that_started_just_before_the_change() -> None:
    keep = np.ones((12, 90), dtype=bool)
    keep[0, :75] = False
    data = AccountData(rows=ACCOUNT.rows(keep=keep))
    with pytest.raises(InsufficientHistory, match="before the change") as caught:
        report_of(ask(at=77), data)
    assert caught.value.had == 2


def test_all_violations_at_once() -> None:
    question = ask(
        treated=["000", "000"],
        controls=["000", "001", "001"],
    )
    with pytest.raises(InvalidInput) as caught:
        report_of(question, DATA)
    assert {violation.path for violation in caught.value.violations} == {
        "treated[1]",
        "controls[0]",
        "controls[2]",
    }


def test_treated_entity_among_the_controls() -> None:
    with pytest.raises(InvalidInput, match="treated itself"):
        report_of(ask(controls=["001", "000"]), DATA)


def test_controls_with_gaps_are_left_out_and_named_with_their_days() -> None:
    keep = np.ones((12, 90), dtype=bool)
    keep[1, 30:70] = False
    controls = ["001", "002", "003", "004"]
    report = report_of(ask(controls=controls), AccountData(rows=ACCOUNT.rows(keep=keep)))
    excluded = [(one.entity.entity_id, one.reason) for one in report.excluded_controls]
    assert excluded == [("001", "delivered on 16 of 56 days before")]
    assert {one.entity.entity_id for one in report.controls} == {"002", "003", "004"}


def test_controls_without_rows() -> None:
    with pytest.raises(FailedPrecondition, match="controls without any daily rows: 777"):
        report_of(ask(controls=["777", "001"]), DATA)


@pytest.mark.parametrize("units", [1, 4, 12])
def test_rows_that_are_all_the_same_are_refused_with_a_reason(units: int) -> None:
    """As in anybody's first integration test; it was INTERNAL."""
    account = make_account(units=units)
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[:] = values[:, :1]
    account.leads[0, 77:] *= 2
    with pytest.raises(FailedPrecondition, match="does not vary over the baseline"):
        report_of(ask(), known(account))


def test_a_constant_treated_is_compared_with_controls_that_vary() -> None:
    account = make_account()
    account.spend[0] = 50.0
    report = report_of(ask(options=Options(primary_metric=Metric.SPEND)), known(account))
    assert report.effects[0].p_value > 0.05


def test_a_treated_that_varies_is_compared_with_controls_that_do_not() -> None:
    account = make_account()
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[1:] = values[1:, :1]
    report = report_of(ask(), known(account))
    assert np.isfinite(report.effects[0].p_value)


@pytest.mark.parametrize("daily_leads", [20.0, 400.0])
def test_leads_that_end_are_the_worst_outcome(daily_leads: float) -> None:
    """It was an error about a missing cost per lead."""
    account = make_account(daily_leads=daily_leads)
    account.leads[0, 77:] = 0
    report = report_of(ask(), known(account))
    assert report.verdict == change_pb2.VERDICT_NEGATIVE
    assert report.primary_metric == METRIC.to_wire(Metric.LEADS)
    assert report.effects[0].relative == pytest.approx(-1)
    assert any("no leads in the 7 days after" in one.message for one in report.warnings)
    assert report.weekly_gain.leads < 0


def test_a_delivery_that_ends_is_no_verdict_on_leads() -> None:
    account = make_account()
    account.leads[0, 77:] = account.spend[0, 77:] = 0
    with pytest.raises(FailedPrecondition, match="no leads|no spend"):
        report_of(ask(), known(account))


def test_no_leads_at_all() -> None:
    account = make_account()
    account.leads[:] = 0
    with pytest.raises(FailedPrecondition, match="no leads in the 56 days before") as caught:
        report_of(ask(), known(account))
    assert caught.value.metadata == {"metric": "cpl"}


def test_a_secondary_metric_that_is_missing_says_why_and_spoils_nothing() -> None:
    account = make_account()
    account.leads[0, 77:] = 0
    report = report_of(ask(change_type=ChangeType.CREATIVE_CHANGE), known(account))
    missing = {
        METRIC.from_wire(one.metric, ""): one.missing_reason
        for one in report.effects
        if not one.HasField("absolute")
    }
    assert "no leads" in missing[Metric.CPL]
    assert "reach is not known" in missing[Metric.FREQUENCY]
    assert effect_of(report, Metric.LEADS).relative == pytest.approx(-1)


def test_an_estimator_that_needs_controls() -> None:
    account = make_account(units=1)
    question = ask(options=Options(estimator=Estimator.DIFFERENCE_IN_DIFFERENCES))
    with pytest.raises(FailedPrecondition, match="needs controls and there are none"):
        report_of(question, known(account))


def test_a_figure_that_is_known_too_short_a_time() -> None:
    """Reach unset on the first and last days made an INTERNAL of a question about frequency."""
    account = make_account(days=7)
    rows = account.rows()
    known_on = rows["date"].dt.date.between(FIRST + timedelta(days=1), FIRST + timedelta(days=4))
    rows["reach"] = np.where(known_on, 500.0, np.nan)
    question = ask(at=5, options=Options(baseline_days=4, primary_metric=Metric.FREQUENCY))
    with pytest.raises(InsufficientHistory, match="frequency") as caught:
        estimate_detectable(question, AccountData(rows=rows))
    assert (caught.value.had, caught.value.needed) == (4, 11)


def test_infinite_and_huge_values_make_no_nonsense() -> None:
    account = make_account()
    account.spend[0, 77:] *= 1e9
    report = report_of(ask(options=Options(primary_metric=Metric.SPEND)), known(account))
    effect = report.effects[0]
    assert np.isfinite([effect.absolute, effect.p_value]).all()
    assert effect.p_value < 0.05
