"""Cautions: each is raised by what it is about, and not without."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from adsml.common.v1 import change_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis import checks
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import AccountData, Options
from adsml_impact.analysis.tree import Relation
from adsml_impact.models.estimators import Estimator
from scipy import stats
from support.impact import FIRST, Account, ask, known, make_account, report_of


def _types(report: pb.ImpactReport) -> set[int]:
    return {caution.type for caution in report.warnings}


def _message(report: pb.ImpactReport, kind: int) -> str:
    return next(caution.message for caution in report.warnings if caution.type == kind)


def _event(name: str, at: int, kind: ChangeType = ChangeType.BUDGET_CHANGE) -> ChangeEvent:
    return ChangeEvent(EntityRef(1, EntityType.ADSET, name), kind, FIRST + timedelta(days=at))


def test_a_plain_case_has_no_cautions() -> None:
    assert _types(report_of(ask(), known(make_account()))) == set()


def test_no_controls() -> None:
    report = report_of(ask(), known(make_account(units=1)))
    assert warning_pb2.WARNING_TYPE_NO_CONTROLS in _types(report)
    assert report.answered_by.method == "structural"


def test_few_controls() -> None:
    report = report_of(ask(), known(make_account(units=5)))
    assert "only 4 entities" in _message(report, warning_pb2.WARNING_TYPE_FEW_CONTROLS)


def test_those_that_share_the_budget_or_were_changed_are_left_out_and_counted() -> None:
    tree = {
        (EntityType.ADSET, f"{k:03d}"): Relation("A" if k < 3 else "B", shares_budget=k < 3)
        for k in range(12)
    }
    report = report_of(
        ask(), known(make_account(), relations=tree, events=[_event("005", 70), _event("006", 20)])
    )
    used = {control.entity.entity_id for control in report.controls}
    assert used == {f"{k:03d}" for k in range(3, 12)} - {"005"}


def test_given_controls_that_may_have_moved_are_left_out_and_named() -> None:
    controls = [f"{k:03d}" for k in range(1, 9)]
    report = report_of(ask(controls=controls), known(make_account(), events=[_event("005", 80)]))
    assert "005 was changed itself on 2024-05-23" in _message(
        report, warning_pb2.WARNING_TYPE_CONTAMINATED_CONTROLS
    )
    assert {control.entity.entity_id for control in report.controls} == set(controls) - {"005"}


def test_a_changed_campaign_taints_its_ad_sets() -> None:
    tree = {(EntityType.ADSET, f"{k:03d}"): Relation("A" if k < 6 else "B") for k in range(12)}
    event = ChangeEvent(
        EntityRef(1, EntityType.CAMPAIGN, "B"), ChangeType.BUDGET_CHANGE, FIRST + timedelta(days=76)
    )
    report = report_of(ask(), known(make_account(), relations=tree, events=[event]))
    assert {control.entity.entity_id for control in report.controls} == {f"{k:03d}" for k in range(1, 6)}


def test_regression_to_the_mean() -> None:
    account = make_account()
    account.leads[0, 70:77] *= 0.6
    report = report_of(ask(), known(account))
    assert "cost per lead" in _message(report, warning_pb2.WARNING_TYPE_REGRESSION_TO_THE_MEAN).replace(
        "cpl", "cost per lead"
    )
    # The bad week is over; nothing was gained by the change, and the estimate knows it.
    assert report.verdict != change_pb2.VERDICT_POSITIVE
    assert report.effects[0].naive.relative_change < -0.3


def test_incomplete_days() -> None:
    assert warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS in _types(
        report_of(ask(at=77), known(make_account(days=85)))
    )
    assert warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS not in _types(
        report_of(ask(at=77), known(make_account(days=90)))
    )


def test_stale_data() -> None:
    data = known(make_account(days=90), today=FIRST + timedelta(days=120))
    assert "2024-06-01, 31 days ago" in _message(
        report_of(ask(at=77), data), warning_pb2.WARNING_TYPE_STALE_DATA
    )


def test_other_changes_inside_the_windows() -> None:
    events = [
        _event("000", 77, ChangeType.AUDIENCE_CHANGE),  # the one asked about
        _event("000", 80, ChangeType.CREATIVE_CHANGE),
        _event("000", 40),
    ]
    message = _message(
        report_of(ask(), known(make_account(), events=events)), warning_pb2.WARNING_TYPE_OTHER_CHANGES
    )
    assert "creative change of adset 000 on 2024-05-23" in message
    assert "audience" not in message
    assert "budget" not in message


def test_short_windows() -> None:
    report = report_of(ask(at=20, options=Options(after_days=10)), known(make_account(days=25)))
    message = _message(report, warning_pb2.WARNING_TYPE_SHORT_HISTORY)
    assert "5 of 10 days after" in message
    assert "baseline of 14 days" in message


def test_gaps_in_the_treated() -> None:
    keep = np.ones((12, 90), dtype=bool)
    keep[0, 40:55] = False
    report = report_of(ask(), AccountData(rows=make_account().rows(keep=keep)))
    assert "no row on 15 of the baseline's 56 days" in _message(report, warning_pb2.WARNING_TYPE_GAPS)


def test_poor_fit() -> None:
    rng = np.random.default_rng(0)
    account = make_account()
    # Controls that swing together on their own, and a treated that does not.
    swing = np.exp(np.repeat(rng.normal(0, 0.5, 13), 7)[:90])
    account.spend[1:] *= swing
    options = Options(primary_metric=Metric.SPEND, estimator=Estimator.DIFFERENCE_IN_DIFFERENCES)
    message = _message(report_of(ask(options=options), known(account)), warning_pb2.WARNING_TYPE_POOR_FIT)
    missed, plain = (int(part.split("%")[0]) for part in message.split(" by ")[1:3])
    assert missed > plain


def test_a_fit_is_called_poor_only_where_the_plain_mean_is_better() -> None:
    """It was raised on half of all answers: noisy days alone are no poor fit."""
    reports = [report_of(ask(), known(make_account(seed, noise=0.3, daily_leads=8))) for seed in range(10)]
    assert sum(warning_pb2.WARNING_TYPE_POOR_FIT in _types(report) for report in reports) <= 1


def test_a_budget_change_that_does_not_show() -> None:
    question = ask(change_type=ChangeType.BUDGET_CHANGE, value_before=100.0, value_after=200.0)
    report = report_of(question, known(make_account()))
    assert warning_pb2.WARNING_TYPE_MANIPULATION_NOT_SEEN in _types(report)
    assert report.HasField("manipulation_check")
    assert not report.manipulation_check.passed


def _pausing(account: Account) -> Account:
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, 77:] = 0
    return account


def test_a_pause_without_the_whole_account() -> None:
    question = ask(change_type=ChangeType.PAUSE)
    data = known(_pausing(make_account()))
    assert warning_pb2.WARNING_TYPE_ACCOUNT_UNKNOWN not in _types(report_of(question, data))
    assert warning_pb2.WARNING_TYPE_ACCOUNT_UNKNOWN in _types(
        report_of(question, replace(data, account_known=False))
    )


def test_measured_rate_has_its_exact_interval() -> None:
    rate = report_of(ask(), known(make_account())).false_positive_rate
    assert rate.analyses > 100
    exact = stats.binomtest(round(rate.rate * rate.analyses), rate.analyses).proportion_ci(0.95, "exact")
    assert (rate.interval.lower, rate.interval.upper) == pytest.approx((exact.low, exact.high))


def test_a_handful_of_placebos() -> None:
    report = report_of(ask(at=8), known(make_account(units=5, days=12)))
    assert "Student's t" in _message(report, warning_pb2.WARNING_TYPE_FEW_PLACEBOS)


def test_placebos_that_can_not_reach_alpha() -> None:
    options = Options(max_placebos=60, alpha=0.01)
    report = report_of(ask(options=options), known(make_account()))
    assert "nothing can be significant at 0.01" in _message(report, warning_pb2.WARNING_TYPE_FEW_PLACEBOS)


def test_a_measured_rate_well_above_what_was_asked_for() -> None:
    comparison = analyse(ask(), known(make_account())).effect.comparison
    high = checks.measured_rate(replace(comparison, significant=30, analyses=200), 0.05)
    (caution,) = checks.false_positives(high)
    assert caution.type == warning_pb2.WARNING_TYPE_FALSE_POSITIVE_RATE
    assert "in 15% of 200 cases where nothing was changed, against 5% asked for" in caution.message
    usual = checks.measured_rate(replace(comparison, significant=14, analyses=200), 0.05)
    assert not list(checks.false_positives(usual))
