"""What one regression over many series learns, and what it must not see."""

from dataclasses import replace

import numpy as np
import pytest
from adsml_forecasting.models.calibration import Calibration, calibrate
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Task, forecast_origins
from adsml_forecasting.models.pooled_regression import LEAST_ROWS, PooledRegression, learn
from adsml_forecasting.models.prediction import ForecastSpec, LearnedModels, Source, predict
from adsml_forecasting.models.prepared import Prepared
from adsml_forecasting.models.series import DailySeries

FIRST = 20_000
WEEK = np.array([1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7])


def leads(count: int, *, days: int = 120, seed: int = 0, mean: float = 6.0) -> list[DailySeries]:
    """Poisson leads of entities that share the profile of the week."""
    rng = np.random.default_rng(seed)
    profile = WEEK[(FIRST + np.arange(days)) % 7]
    sizes = mean * rng.uniform(0.5, 2.0, size=count)
    return [
        DailySeries(FIRST, rng.poisson(size * profile).astype(float), name=f"{at}")
        for at, size in enumerate(sizes)
    ]


def one(series: list[DailySeries], *, at: int = FIRST + 99, horizon: int = 7) -> PooledRegression:
    return learn(series, cutoffs=[at], horizon=horizon)[at]


def test_days_after_the_cutoff_change_nothing() -> None:
    series = leads(8)
    later = [replace(s, values=np.where(np.arange(120) > 99, 1e6, s.values)) for s in series]
    np.testing.assert_array_equal(one(series).coefficients, one(later).coefficients)


def test_a_cutoff_among_others_learns_what_it_learns_alone() -> None:
    series = leads(8)
    together = learn(series, cutoffs=[FIRST + 80, FIRST + 99, FIRST + 110], horizon=7)
    np.testing.assert_allclose(together[FIRST + 99].coefficients, one(series).coefficients, rtol=1e-9)


def test_noisy_series_forecast_better_than_each_by_its_own_last_week() -> None:
    profile = WEEK[(FIRST + 100 + np.arange(7)) % 7]
    series = leads(30)
    model = one(series)
    truth = [s.values[:100].mean() / 1.0 * profile for s in series]
    ours = [model.predict(s.until(100), 7) for s in series]
    naive = [s.values[93:100] for s in series]
    assert np.abs(np.subtract(ours, truth)).mean() < 0.5 * np.abs(np.subtract(naive, truth)).mean()


def test_the_unit_of_a_series_does_not_matter() -> None:
    series = leads(6)
    model = one(series)
    cents = replace(series[0], values=100 * series[0].values)
    np.testing.assert_allclose(model.predict(cents, 7), 100 * model.predict(series[0], 7))
    others = one([cents, *series[1:]])
    np.testing.assert_allclose(others.coefficients, model.coefficients, rtol=1e-9)


def test_far_days_have_coefficients_of_their_own_and_beyond_them_the_last() -> None:
    model = one(leads(8, days=200), at=FIRST + 199, horizon=28)
    assert len(model.coefficients) == 3
    history = leads(1, days=200)[0]
    np.testing.assert_allclose(model.predict(history, 60)[:28], model.predict(history, 28))


def test_gaps_and_zeros_are_survived() -> None:
    series = leads(8)
    gaps = series[0].values.copy()
    gaps[40:60] = np.nan
    series[0] = replace(series[0], values=gaps)
    series[1] = replace(series[1], values=np.zeros(120))
    silent = series[2].values.copy()
    silent[60:] = 0
    series[2] = replace(series[2], values=silent)
    model = one(series)
    assert np.isfinite(model.coefficients).all()
    assert np.isfinite(model.predict(series[0], 7)).all()
    np.testing.assert_array_equal(model.predict(series[1], 7), np.zeros(7))
    np.testing.assert_array_equal(model.predict(series[2], 7), np.zeros(7))


def test_too_little_to_learn_from_gives_no_model() -> None:
    assert learn(leads(2, days=20), cutoffs=[FIRST + 19], horizon=7) == {}
    assert one(leads(8)).rows >= LEAST_ROWS


def test_it_is_a_member_like_any_other_and_says_why_where_it_is_not() -> None:
    methods = (Method.EMA, Method.POOLED_REGRESSION)
    series = leads(8)
    found = forecast_origins([Task(s, [93, 100]) for s in series], methods=methods, horizon=7)
    assert all(set(origin.forecasts) == set(methods) for own in found for origin in own)
    short = forecast_origins([Task(leads(1, days=30)[0], [20])], methods=methods, horizon=7)
    assert "too few days" in short[0][0].failures[Method.POOLED_REGRESSION]


def test_a_calibration_keeps_it_and_predicts_by_it() -> None:
    methods = (Method.EMA, Method.SEASONAL_NAIVE, Method.POOLED_REGRESSION)
    series = leads(8)
    found = forecast_origins([Task(s, [93, 100, 107]) for s in series], methods=methods, horizon=7)
    model = one(series, at=FIRST + 119)
    learnt = calibrate(found, members=methods, level=0.9, pooled=model)
    assert learnt is not None
    back = Calibration.from_json(learnt.as_json())
    told = predict(Prepared.of_series(series[0], horizon=7), ForecastSpec(), LearnedModels(calibration=back))
    assert told.source is Source.MODEL
    mine = next(member for member in told.members if member.method is Method.POOLED_REGRESSION)
    np.testing.assert_allclose(mine.values, np.maximum(model.predict(series[0], 7), 0))


def test_alone_without_a_model_a_fallback_answers_and_says_so() -> None:
    told = predict(Prepared.of_series(leads(1)[0], horizon=7), ForecastSpec(method=Method.POOLED_REGRESSION))
    assert told.source is Source.FALLBACK
    assert "adsml train ensemble-weights" in told.reason


@pytest.mark.parametrize("broken", [{"coefficients": [[1.0]]}, {"coefficients": [[float("nan")] * 16]}])
def test_coefficients_that_do_not_fit_are_refused(broken: dict[str, object]) -> None:
    data = one(leads(8)).as_json() | broken
    with pytest.raises(ValueError, match="pooled coefficients"):
        PooledRegression.from_json(data)
