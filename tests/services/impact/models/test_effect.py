"""Figures in the metric's unit: they add up."""

import numpy as np
import pytest
from adsml.common.v1 import change_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC, day
from adsml_impact.analysis.change import Analysis, analyse
from adsml_impact.analysis.query import Options
from support.impact import ask, effect_of, known, make_account, report_of


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    account = make_account()
    account.leads[0, 77:] = np.rint(account.leads[0, 77:] * 1.5)
    return analyse(ask(options=Options(washout_days=1)), known(account))


@pytest.fixture(scope="module")
def report(analysis: Analysis) -> pb.ImpactReport:
    return analysis.report


def test_windows(report: pb.ImpactReport) -> None:
    windows = report.windows
    before, first, last = (
        day(one, "") for one in (windows.before_last_date, windows.after_first_date, windows.after_last_date)
    )
    assert (first - before).days == 2
    assert (last - first).days == 6


@pytest.mark.parametrize("metric", [Metric.LEADS, Metric.CPL, Metric.CTR, Metric.SPEND])
def test_effect_is_actual_less_counterfactual(report: pb.ImpactReport, metric: Metric) -> None:
    effect = effect_of(report, metric)
    assert effect.absolute == pytest.approx(effect.after - effect.counterfactual)
    assert effect.relative == pytest.approx(effect.absolute / effect.counterfactual)


@pytest.mark.parametrize("metric", [Metric.LEADS, Metric.SPEND])
def test_days_add_up_to_the_window(report: pb.ImpactReport, metric: Metric) -> None:
    effect = effect_of(report, metric)
    after = effect.series[-7:]
    assert np.mean([day.actual for day in after]) == pytest.approx(effect.after)
    assert np.mean([day.counterfactual for day in after]) == pytest.approx(effect.counterfactual)
    assert after[-1].cumulative_effect == pytest.approx(7 * effect.absolute)
    assert not effect.series[56].HasField("cumulative_effect")  # the washout day
    assert all(day.interval.lower <= day.counterfactual <= day.interval.upper for day in effect.series)


def test_days_of_a_ratio_end_at_its_effect(report: pb.ImpactReport) -> None:
    effect = effect_of(report, Metric.CPL)
    assert effect.series[-1].cumulative_effect == pytest.approx(effect.absolute)


def test_the_known_effect_is_found(report: pb.ImpactReport) -> None:
    leads, cpl = effect_of(report, Metric.LEADS), effect_of(report, Metric.CPL)
    assert leads.relative_interval.lower < 0.5 < leads.relative_interval.upper
    assert cpl.relative_interval.lower < 1 / 1.5 - 1 < cpl.relative_interval.upper
    assert report.verdict == change_pb2.VERDICT_POSITIVE


def test_primary_is_first_and_not_adjusted(report: pb.ImpactReport) -> None:
    primary, *others = report.effects
    assert primary.metric == report.primary_metric == METRIC.to_wire(Metric.CPL)
    assert primary.adjusted_p_value == primary.p_value
    assert all(one.adjusted_p_value >= one.p_value for one in others if one.HasField("p_value"))


def test_before_and_after_are_ratios_of_sums() -> None:
    account = make_account()
    report = report_of(ask(), known(account))
    cpl = effect_of(report, Metric.CPL)
    assert cpl.before == pytest.approx(account.spend[0, 70:77].sum() / account.leads[0, 70:77].sum())
    assert cpl.after == pytest.approx(account.spend[0, 77:84].sum() / account.leads[0, 77:84].sum())


def test_several_treated_are_taken_together() -> None:
    account = make_account()
    account.leads[:3, 77:] = np.rint(account.leads[:3, 77:] * 1.5)
    report = report_of(ask(treated=["000", "001", "002"]), known(account))
    leads = effect_of(report, Metric.LEADS)
    assert leads.before == pytest.approx(account.leads[:3, 70:77].sum(axis=0).mean())
    assert leads.relative_interval.lower < 0.5 < leads.relative_interval.upper
    assert {control.entity.entity_id for control in report.controls} == {f"{k:03d}" for k in range(3, 12)}


def test_placebo_summary_describes_what_the_p_value_rests_on(analysis: Analysis) -> None:
    effect = analysis.effect
    assert effect.placebos.entities == 11
    assert effect.placebos.dates > 0
    assert list(effect.placebos.quantiles) == sorted(effect.placebos.quantiles)
    assert effect.effect_size == pytest.approx(
        effect.comparison.tau / (effect.comparison.size * np.sqrt(np.mean(effect.comparison.studentised**2)))
    )
