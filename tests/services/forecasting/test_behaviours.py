"""Stated behaviours: short series, zeros, incomplete days, ratios, changes, transfer."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory
from adsml_common.domain.metrics import Metric
from adsml_common.domain.tiers import Tier
from adsml_forecasting.models.level_shifts import LevelShift, Verdict, adjusted
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import Source, Wanted, predict
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.ratios import RatioMode, RatioSeries, predict_ratio
from adsml_forecasting.models.transfer import DonorSeries, forecast_new
from support.forecasting import MONDAY, account, series, weekly

CHEAP = Wanted(members=(Method.EMA, Method.LINEAR, Method.SEASONAL_NAIVE))


@pytest.mark.parametrize(
    ("days", "method"),
    [(1, Method.NAIVE), (2, Method.MEAN), (6, Method.ENSEMBLE), (13, Method.ENSEMBLE), (20, Method.ENSEMBLE)],
)
def test_short_series_are_answered_by_what_can(days: int, method: Method) -> None:
    found = predict(series(weekly(days, noise=0.05)), Wanted())
    assert found.method is method
    assert np.isfinite(found.point).all()
    if days < 3:
        assert found.source is Source.FALLBACK
        assert method in found.reason
    assert np.isfinite(found.lower).all() == (days >= 6)
    assert bool([w for w in found.warnings if "too few for intervals" in w]) == (days < 6)


def test_a_method_asked_for_by_name_needs_its_days() -> None:
    with pytest.raises(InsufficientHistory) as caught:
        predict(series(weekly(13)), Wanted(method=Method.PROPHET))
    assert caught.value.metadata == {"days_had": "13", "days_needed": "14"}


def test_all_zeros_are_zero_with_a_warning() -> None:
    found = predict(series(np.zeros(40)), CHEAP)
    assert not found.point.any()
    assert any("every known day is 0" in one for one in found.warnings)


def test_trailing_incomplete_days_are_left_out_and_named() -> None:
    frame = account({"7": 40})
    frame.loc[frame.index[-3:], "leads"] = 0.0
    found = prepare(frame, Metric.LEADS, label="campaign 7", drop_last_days=3)
    assert found.cutoff == date(2024, 2, 6)
    assert found.incomplete == (date(2024, 2, 7), date(2024, 2, 8), date(2024, 2, 9))
    assert found.series.last_day == MONDAY + 36  # type: ignore[union-attr]


def test_a_day_without_a_row_is_a_day_without_delivery() -> None:
    frame = account({"7": 20}).drop(index=5)
    found = prepare(frame, Metric.SPEND, label="campaign 7").series
    assert len(found.values) == 20  # type: ignore[union-attr]
    assert found.values[5] == 0  # type: ignore[union-attr]


def test_a_ratio_is_a_ratio_of_sums_and_days_without_leads_are_missing() -> None:
    frame = account({"7": 60})
    frame.loc[10, "leads"] = 0.0
    prepared = prepare(frame, Metric.CPL, label="campaign 7")
    assert prepared.missing == (date(2024, 1, 11),)
    found, mode = predict_ratio(prepared.series, CHEAP, mode=RatioMode.RATIO_OF_PARTS)  # type: ignore[arg-type]
    assert mode is RatioMode.RATIO_OF_PARTS
    # 200 of the currency for 20 leads.
    assert found.total == pytest.approx(10, rel=0.1)
    straight, _ = predict_ratio(prepared.series, CHEAP, mode=RatioMode.DIRECT)  # type: ignore[arg-type]
    assert straight.total == pytest.approx(10, rel=0.15)


def test_no_leads_at_all_is_no_cpl() -> None:
    frame = account({"7": 30}).assign(leads=0.0)
    with pytest.raises(InsufficientHistory, match="denominator"):
        prepare(frame, Metric.CPL, label="campaign 7")


def test_a_ratio_is_missing_where_no_denominator_is_expected() -> None:
    spend, leads = series(weekly(40)), series(np.r_[np.ones(10), np.zeros(30)])
    ratio = RatioSeries(spend, replace(leads, values=leads.values), 1.0)
    found, _ = predict_ratio(
        ratio, replace(CHEAP, members=(Method.SEASONAL_NAIVE,)), mode=RatioMode.RATIO_OF_PARTS
    )
    assert np.isnan(found.point).all()
    assert np.isnan(found.total)


def test_a_known_change_moves_the_history_before_it() -> None:
    values = np.r_[np.full(42, 10.0), np.full(14, 20.0)]
    change = LevelShift(date(2024, 2, 12), ChangeType.BUDGET_CHANGE)
    out, used = adjusted(series(values), [change])
    assert used == [change]
    # n / (n + 3) with 14 days after it: 10 * 2 ** (14 / 17).
    assert out.values[0] == pytest.approx(10 * 2 ** (14 / 17))
    assert not replace(change, verdict=Verdict.NEUTRAL).worth_keeping


def test_too_few_days_after_a_change_leave_it_alone() -> None:
    values = np.r_[np.full(42, 10.0), np.full(2, 20.0)]
    _, used = adjusted(series(values), [LevelShift(date(2024, 2, 12), ChangeType.BUDGET_CHANGE)])
    assert used == []


def test_masked_days_are_not_seen() -> None:
    frame = account({"7": 40})
    frame.loc[30, "leads"] = 100_000.0
    masked = prepare(frame, Metric.LEADS, label="campaign 7", masked=[date(2024, 1, 31)])
    assert masked.masked == (date(2024, 1, 31),)
    assert predict(masked.series, CHEAP).point.max() < 60  # type: ignore[arg-type]


def test_a_newcomer_takes_its_parents_shape_and_its_own_level() -> None:
    parent = series(weekly(84, level=1000, noise=0.01))
    own = series(weekly(84)[-5:], first_day=MONDAY + 79)
    donors = [
        DonorSeries(at, series(weekly(84, level=300, seed=at, noise=0.05)), Tier.LOW) for at in range(3)
    ]
    found = forecast_new(
        own, parent=parent, donors=donors, tier=Tier.LOW, wanted=Wanted(), cutoff=MONDAY + 83
    )
    assert found.own_weight == pytest.approx(5 / (5 + found.shrinkage_days))
    level = found.own_weight * 100 + (1 - found.own_weight) * 300
    np.testing.assert_allclose(found.prediction.point, weekly(91, level=level)[84:], rtol=0.12)
    assert found.prediction.source is Source.TRANSFER
    assert found.interval_factor > 1
    assert sum(weight for _, weight in found.donors) == pytest.approx(1)


def test_nobody_to_borrow_from_is_said() -> None:
    with pytest.raises(FailedPrecondition, match="neither a parent nor a donor"):
        forecast_new(None, parent=None, donors=[], tier=None, wanted=Wanted(), cutoff=MONDAY)
