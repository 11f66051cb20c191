"""Figures in the metric's unit: they add up."""

import numpy as np
import pytest
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import Options
from adsml_impact.analysis.report import ImpactReport, MetricReport
from support.impact import ask, known, make_account


@pytest.fixture(scope="module")
def report() -> ImpactReport:
    account = make_account()
    account.leads[0, 77:] = np.rint(account.leads[0, 77:] * 1.5)
    return analyse(ask(options=Options(washout_days=1)), known(account))


def _of(report: ImpactReport, metric: Metric) -> MetricReport:
    return next(one for one in report.metrics if one.metric is metric)


def test_windows(report: ImpactReport) -> None:
    assert (report.windows.after_first_date - report.windows.before_last_date).days == 2
    assert (report.windows.after_last_date - report.windows.after_first_date).days == 6


@pytest.mark.parametrize("metric", [Metric.LEADS, Metric.CPL, Metric.CTR, Metric.SPEND])
def test_effect_is_actual_less_counterfactual(report: ImpactReport, metric: Metric) -> None:
    effect = _of(report, metric).effect
    assert effect is not None
    assert effect.absolute == pytest.approx(effect.after - effect.counterfactual)
    assert effect.relative == pytest.approx(effect.absolute / effect.counterfactual)


@pytest.mark.parametrize("metric", [Metric.LEADS, Metric.SPEND])
def test_days_add_up_to_the_window(report: ImpactReport, metric: Metric) -> None:
    effect = _of(report, metric).effect
    assert effect is not None
    after = effect.series[-7:]
    assert np.mean([day.actual for day in after]) == pytest.approx(effect.after)
    assert np.mean([day.counterfactual for day in after]) == pytest.approx(effect.counterfactual)
    assert after[-1].cumulative == pytest.approx(7 * effect.absolute)
    assert np.isnan(effect.series[56].cumulative)  # the washout day
    assert all(day.lower <= day.counterfactual <= day.upper for day in effect.series)


def test_days_of_a_ratio_end_at_its_effect(report: ImpactReport) -> None:
    effect = _of(report, Metric.CPL).effect
    assert effect is not None
    assert effect.series[-1].cumulative == pytest.approx(effect.absolute)


def test_the_known_effect_is_found(report: ImpactReport) -> None:
    leads, cpl = _of(report, Metric.LEADS).effect, _of(report, Metric.CPL).effect
    assert leads is not None
    assert cpl is not None
    assert leads.relative_interval.lower < 0.5 < leads.relative_interval.upper
    assert cpl.relative_interval.lower < 1 / 1.5 - 1 < cpl.relative_interval.upper
    assert report.verdict == "positive"


def test_primary_is_first_and_not_adjusted(report: ImpactReport) -> None:
    assert report.metrics[0].metric is report.primary_metric is Metric.CPL
    assert report.primary.effect is not None
    assert report.primary.adjusted_p_value == report.primary.effect.p_value
    for other in report.metrics[1:]:
        if other.effect is not None:
            assert other.adjusted_p_value >= other.effect.p_value


def test_before_and_after_are_ratios_of_sums() -> None:
    account = make_account()
    report = analyse(ask(), known(account))
    cpl = _of(report, Metric.CPL)
    assert cpl.before == pytest.approx(account.spend[0, 70:77].sum() / account.leads[0, 70:77].sum())
    assert cpl.after == pytest.approx(account.spend[0, 77:84].sum() / account.leads[0, 77:84].sum())


def test_several_treated_are_taken_together() -> None:
    account = make_account()
    account.leads[:3, 77:] = np.rint(account.leads[:3, 77:] * 1.5)
    report = analyse(ask(treated=["000", "001", "002"]), known(account))
    leads = _of(report, Metric.LEADS)
    assert leads.before == pytest.approx(account.leads[:3, 70:77].sum(axis=0).mean())
    assert leads.effect is not None
    assert leads.effect.relative_interval.lower < 0.5 < leads.effect.relative_interval.upper
    assert {control.entity_id for control in report.controls} == {f"{k:03d}" for k in range(3, 12)}


def test_placebo_summary_describes_what_the_p_value_rests_on(report: ImpactReport) -> None:
    effect = report.primary.effect
    assert effect is not None
    assert effect.placebos.entities == 11
    assert effect.placebos.dates > 0
    assert list(effect.placebos.quantiles) == sorted(effect.placebos.quantiles)
    assert effect.effect_size == pytest.approx(
        effect.comparison.tau / (effect.comparison.size * np.sqrt(np.mean(effect.comparison.studentised**2)))
    )
