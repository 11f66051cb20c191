"""Methods compared on the past."""

import pytest
from adsml_common.domain.metrics import Metric
from adsml_forecasting.models.backtest import BacktestSpec, Report, backtest
from adsml_forecasting.models.method import Method
from support.forecasting import series, weekly


@pytest.mark.parametrize("others", [(), (Method.SEASONAL_NAIVE,)])
def test_an_ensemble_without_members_named_has_the_other_methods_or_the_defaults(
    others: tuple[Method, ...],
) -> None:
    plan = BacktestSpec(methods=(*others, Method.ENSEMBLE), cutoffs=2, bootstrap_samples=0)
    *progress, report = backtest([[series(weekly(60))]], Metric.LEADS, plan)
    assert isinstance(report, Report)
    assert progress[-1][0] == progress[-1][1]
    assert set(report.scores) == {*others, Method.ENSEMBLE}
    assert report.reference is plan.methods[0]
    wmape = report.scores[Method.ENSEMBLE].wmape.value
    assert wmape is not None
    assert 0 <= wmape < 0.2
    assert (set(report.seconds) == set(others)) if others else len(report.seconds) > 2
