"""What is fitted, and what the days to come make of it: short histories, pauses, changes, spikes, plans, named days."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest
from adsml_common.domain.calendar import named_days
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory
from adsml_common.domain.metrics import Metric
from adsml_forecasting.decoding import day_number
from adsml_forecasting.models.answering import ForecastTask, answer
from adsml_forecasting.models.events import calendar_of
from adsml_forecasting.models.level_shifts import Change, Verdict
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import ForecastSpec, Prediction, Source, predict
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prepared import CautionKind, MaskReason, Prepared, Surroundings
from adsml_forecasting.models.series import EntityHistory
from support.forecasting import MONDAY, series, weekly

FAST = ForecastSpec(members=(Method.EMA, Method.LINEAR, Method.SEASONAL_NAIVE))
Values = npt.NDArray[np.float64]


def entity(
    leads: npt.ArrayLike, *, spend: npt.ArrayLike | None = None, first_day: int = MONDAY
) -> EntityHistory:
    """Leads at 20 a piece, unless spend is given."""
    count = np.asarray(leads, dtype=np.float64)
    money = 20 * count if spend is None else np.asarray(spend, dtype=np.float64)
    columns = {"leads": count, "spend": money, "impressions": 50 * money, "clicks": money}
    return EntityHistory(first_day, columns, "campaign 7", first_day + len(count) - 1)


def poisson(level: float | Values, days: int, *, seed: int = 0) -> Values:
    return np.random.default_rng(seed).poisson(level * weekly(days) / 100).astype(np.float64)


def asked(
    history: EntityHistory,
    metric: Metric = Metric.LEADS,
    *,
    after: int = 0,
    spec: ForecastSpec = FAST,
    **around: object,
) -> Prediction:
    task = ForecastTask(history, metric, history.last_day + after, spec, Surroundings(**around))  # type: ignore[arg-type]
    return answer(task).prediction


def kinds(found: Prediction) -> set[CautionKind]:
    return {one.kind for one in found.warnings}


@pytest.mark.parametrize(
    ("days", "method"),
    [
        (1, Method.NAIVE),
        (2, Method.ENSEMBLE),
        (6, Method.ENSEMBLE),
        (13, Method.ENSEMBLE),
        (20, Method.ENSEMBLE),
    ],
)
def test_short_series_are_answered_by_what_can(days: int, method: Method) -> None:
    prepared = Prepared.of_series(series(weekly(days, noise=0.05)), horizon=7)
    found = predict(prepared, ForecastSpec())
    assert found.method is method
    assert np.isfinite(found.point).all()
    assert (found.source is Source.FALLBACK) == (days < 2)
    assert np.isfinite(found.lower).all() == (days >= 6)
    assert (CautionKind.SHORT_HISTORY in kinds(found)) == (days < 6)


def test_a_method_asked_for_by_name_needs_its_days() -> None:
    prepared = Prepared.of_series(series(weekly(13)), horizon=7)
    with pytest.raises(InsufficientHistory) as caught:
        predict(prepared, ForecastSpec(method=Method.PROPHET))
    assert caught.value.metadata == {"days_had": "13", "days_needed": "14"}


def test_all_zeros_are_zero_with_a_warning() -> None:
    found = asked(entity(np.zeros(40)))
    assert not found.point.any()
    assert CautionKind.NO_DELIVERY in kinds(found)


def test_days_without_leads_count_with_their_spend() -> None:
    # A lead every fourth day, 5 spent on each: four days of spend buy one lead, a CPL of 20.
    leads = np.tile([0.0, 0.0, 0.0, 1.0], 22)
    found = asked(entity(leads, spend=np.full(88, 5.0)), Metric.CPL)
    assert found.total == pytest.approx(20, rel=0.15)
    assert found.total_lower < 20 < found.total_upper
    assert np.isfinite(found.point).all()


def test_weeks_of_spend_without_a_lead_have_no_cpl() -> None:
    leads = np.r_[np.ones(5), np.zeros(100)]
    found = asked(entity(leads, spend=np.full(105, 20.0)), Metric.CPL)
    assert np.isnan(found.total)
    assert CautionKind.FEW_LEADS in kinds(found)


def test_what_lies_before_the_launch_is_no_history() -> None:
    running = poisson(12, 60)
    late = asked(entity(np.r_[np.zeros(119), running]))
    alone = asked(entity(running, first_day=MONDAY + 119))
    np.testing.assert_allclose(late.point, alone.point)


def test_a_gap_of_weeks_is_no_level() -> None:
    leads = np.r_[poisson(20, 42), np.zeros(28), poisson(20, 14, seed=1)]
    prepared = prepare(entity(leads), "leads", as_of=MONDAY + 83, horizon=7)
    assert set(prepared.masked.values()) == {MaskReason.PAUSED}
    assert len(prepared.masked) == 28
    assert asked(entity(leads)).total == pytest.approx(140, rel=0.25)


@pytest.mark.parametrize("days", [2, 9])
def test_an_open_pause_forecasts_nothing_and_says_so(days: int) -> None:
    leads = np.r_[poisson(20, 60), np.zeros(days)]
    pause = Change(MONDAY + 60, ChangeType.PAUSE)
    found = asked(entity(leads), changes=(pause,))
    assert not found.point.any()
    assert (found.total_lower, found.total_upper) == (0, 0)
    assert any("paused since 2024-03-01" in one.text for one in found.warnings)


def test_a_pause_ahead_ends_the_delivery_and_one_that_is_over_does_not() -> None:
    leads = poisson(20, 60)
    ahead = asked(entity(leads), changes=(Change(MONDAY + 62, ChangeType.PAUSE),))
    assert ahead.point[:2].all()
    assert not ahead.point[2:].any()
    over = (Change(MONDAY + 20, ChangeType.PAUSE), Change(MONDAY + 21, ChangeType.REACTIVATE))
    assert asked(entity(leads), changes=over).point.all()


def test_an_entity_that_stopped_is_said_to_have() -> None:
    found = asked(entity(np.r_[poisson(20, 60), np.zeros(10)]))
    assert not found.point.any()
    assert any("nothing was delivered since 2024-02-29, 10 days" in one.text for one in found.warnings)
    ratio = asked(entity(np.r_[poisson(20, 60), np.zeros(10)]), Metric.CPL)
    assert np.isnan(ratio.total)


def test_days_that_are_not_loaded_are_missing_and_not_zero() -> None:
    history = entity(poisson(20, 60))
    at_once, later = asked(history), asked(history, after=3)
    assert later.as_of == at_once.as_of + 3
    assert later.total == pytest.approx(at_once.total, rel=0.2)
    assert CautionKind.STALE_DATA in kinds(later)
    with pytest.raises(FailedPrecondition, match="40 days before"):
        asked(history, after=40)


@pytest.mark.parametrize("back", [1, 2, 20])
@pytest.mark.parametrize("method", [Method.ENSEMBLE, Method.EMA, Method.PROPHET, Method.MEAN])
def test_one_wild_day_changes_no_forecast(back: int, method: Method) -> None:
    leads = poisson(10, 70)
    wild = leads.copy()
    wild[-back] = 700
    spec = FAST if method is Method.ENSEMBLE else ForecastSpec(method=method)
    prepared = prepare(entity(wild), "leads", as_of=MONDAY + 69, horizon=7)
    assert prepared.masked == {MONDAY + 70 - back: MaskReason.OUTLIER}
    found = asked(entity(wild), spec=spec)
    assert found.as_of == MONDAY + 69
    # Ten a day come, whatever one day had.
    assert found.total == pytest.approx(70, rel=0.3)


def test_flagged_days_are_left_out_where_they_stand_alone() -> None:
    leads = poisson(10, 70)
    alone = prepare(
        entity(leads),
        "leads",
        as_of=MONDAY + 69,
        horizon=7,
        around=Surroundings(flagged=frozenset({MONDAY + 40})),
    )
    assert alone.masked == {MONDAY + 40: MaskReason.ANOMALY}
    # A whole week of alarms is a level.
    week = Surroundings(flagged=frozenset(range(MONDAY + 63, MONDAY + 70)))
    assert not prepare(entity(leads), "leads", as_of=MONDAY + 69, horizon=7, around=week).masked


def test_a_known_change_moves_the_history_before_it() -> None:
    values = np.r_[np.full(42, 10.0), np.full(14, 20.0)]
    change = Change(day_number(date(2024, 2, 12)), ChangeType.CREATIVE_CHANGE)
    found = prepare(
        entity(values), "leads", as_of=MONDAY + 55, horizon=7, around=Surroundings(changes=(change,))
    )
    assert [one.change for one in found.shifts] == [change]
    # n / (n + 3) with 14 days after it: 10 * 2 ** (14 / 17).
    assert found.series.values[0] == pytest.approx(10 * 2 ** (14 / 17))
    judged = replace(change, verdict=Verdict.NEUTRAL)
    left = prepare(
        entity(values), "leads", as_of=MONDAY + 55, horizon=7, around=Surroundings(changes=(judged,))
    )
    assert left.ignored[0][0] == judged


def test_a_change_too_young_to_tell_is_said_and_a_budget_is_believed_by_its_spend() -> None:
    values = np.r_[poisson(10, 42), poisson(50, 2, seed=4)]
    creative = Change(MONDAY + 42, ChangeType.CREATIVE_CHANGE)
    found = asked(entity(values, spend=np.full(44, 200.0)), changes=(creative,))
    assert CautionKind.CHANGE_IGNORED in kinds(found)
    budget = Change(MONDAY + 42, ChangeType.BUDGET_CHANGE, 200.0, 1000.0)
    spend = np.r_[np.full(42, 200.0), np.full(2, 1000.0)]
    assert asked(entity(values, spend=spend), changes=(budget,)).total > 200


def test_a_budget_change_ahead_is_taken_into_the_forecast() -> None:
    leads = poisson(12, 60)
    change = Change(MONDAY + 61, ChangeType.BUDGET_CHANGE, 240.0, 600.0)
    plain, found = asked(entity(leads)), asked(entity(leads), changes=(change,))
    assert found.point[0] == pytest.approx(plain.point[0])
    assert found.point[1:].sum() == pytest.approx(2.5**0.85 * plain.point[1:].sum(), rel=0.1)


@pytest.mark.parametrize("factor", [5.0, 0.2])
def test_a_step_that_nobody_recorded_is_believed_and_said(factor: float) -> None:
    leads = np.r_[poisson(20, 60), poisson(20 * factor, 7, seed=3)]
    found = asked(entity(leads, spend=20 * np.r_[weekly(60) / 5, factor * weekly(67)[60:] / 5]))
    assert found.total == pytest.approx(140 * factor, rel=0.3)
    assert CautionKind.UNRECORDED_STEP in kinds(found)


def test_a_burst_that_is_over_is_no_step() -> None:
    leads = np.r_[poisson(20, 60), poisson(100, 4, seed=3), poisson(20, 4, seed=5)]
    found = prepare(entity(leads), "leads", as_of=MONDAY + 67, horizon=7)
    assert not found.shifts


def budget_moves(days: int = 84) -> Values:
    """Weeks of 100 and 300 a day by turns."""
    return np.where((np.arange(days) // 7) % 2 == 0, 100.0, 300.0)


def plan(budget: float) -> Mapping[int, float]:
    return {MONDAY + 84 + step: budget for step in range(7)}


@pytest.mark.parametrize("method", [Method.ENSEMBLE, Method.EMA, Method.PROPHET, Method.SEASONAL_NAIVE])
@pytest.mark.parametrize("budget", [0.0, 100.0, 300.0])
def test_leads_follow_a_planned_budget_by_every_method(method: Method, budget: float) -> None:
    spend = budget_moves()
    leads = np.random.default_rng(2).poisson(spend / 20).astype(np.float64)
    spec = FAST if method is Method.ENSEMBLE else ForecastSpec(method=method)
    found = asked(entity(leads, spend=spend), spec=spec, plan=plan(budget))
    # At a CPL of 20 a week of the plan buys 7 * budget / 20.
    assert found.total == pytest.approx(7 * budget / 20, rel=0.3)


def test_spend_is_what_is_planned() -> None:
    found = asked(entity(poisson(10, 84), spend=budget_moves()), Metric.SPEND, plan=plan(80.0))
    assert found.total == pytest.approx(560)


def test_a_plan_beyond_what_was_spent_is_cautioned_and_never_nothing() -> None:
    leads = poisson(10, 84)
    found = asked(entity(leads, spend=np.full(84, 200.0)), plan=plan(600.0))
    assert 70 < found.total < 220
    assert CautionKind.BUDGET_OUTSIDE_HISTORY in kinds(found)


def test_weekends_without_budget_after_weekends_without_change_nothing() -> None:
    week = np.tile([1.0, 1, 1, 1, 1, 0, 0], 12)
    leads = np.random.default_rng(1).poisson(10 * week).astype(np.float64)
    history = entity(leads, spend=200 * week)
    by_day = {MONDAY + 84 + step: 200.0 if step < 5 else 0.0 for step in range(7)}
    assert asked(history, plan=by_day).total == pytest.approx(asked(history).total, rel=0.05)


@pytest.mark.parametrize("days", range(56, 63))
@pytest.mark.parametrize("method", [Method.EMA, Method.MEAN, Method.AUTO_ETS, Method.PROPHET])
def test_a_dead_weekday_is_dead_whatever_the_day_of_asking(days: int, method: Method) -> None:
    live = (np.arange(days) % 7) < 5
    leads = np.random.default_rng(days).poisson(20 * live).astype(np.float64)
    found = asked(entity(leads), spec=ForecastSpec(method=method))
    weekend = (days + np.arange(7)) % 7 >= 5
    assert not found.point[weekend].any()
    assert found.total == pytest.approx(100, rel=0.25)


def test_a_named_day_seen_twice_is_forecast_the_third_time() -> None:
    first, last = date(2023, 1, 2), date(2025, 11, 24)
    days = (last - first).days + 1
    level = np.full(days, 10.0)
    for friday in (date(2023, 11, 24), date(2024, 11, 29)):
        level[(friday - first).days] = 50.0
    leads = np.random.default_rng(0).poisson(level).astype(np.float64)
    history = entity(leads, first_day=day_number(first))
    for calendar in (calendar_of(named_days("", date(2023, 1, 1), date(2025, 12, 31))), {}):
        # Without a calendar the day is known again by its rule, the fourth Friday of November.
        found = asked(history, calendar=calendar)
        assert found.point[3] == pytest.approx(50, rel=0.5)
        others = np.delete(found.point, 3)
        assert (others < 22).all()
