"""Every method behind the one interface: what it does on series whose course is known."""

import numpy as np
import pytest
from adsml_common.domain.errors import InsufficientHistory
from adsml_forecasting.models.ema import ema, moving_average
from adsml_forecasting.models.method import MINIMUM_DAYS, Method
from adsml_forecasting.models.methods import MethodFailed, forecast
from adsml_forecasting.models.naive import seasonal_naive
from adsml_forecasting.models.series import DailySeries
from support.forecasting import WEEK, series, weekly

SINGLE = [m for m in MINIMUM_DAYS if m is not Method.POOLED_REGRESSION]
FAST = [m for m in SINGLE if m is not Method.AUTO_ARIMA]
SEASONAL = [Method.PROPHET, Method.EMA, Method.LINEAR, Method.SEASONAL_NAIVE, Method.AUTO_ETS]


@pytest.mark.parametrize("method", FAST)
def test_a_constant_history_is_continued(method: Method) -> None:
    out = forecast(method, series(np.full(30, 4.0)), 9)
    np.testing.assert_array_equal(out, np.full(9, 4.0))


@pytest.mark.parametrize("method", FAST)
def test_no_count_is_forecast_below_zero(method: Method) -> None:
    falling = np.maximum(60.0 - 2.0 * np.arange(40), 0.0)
    assert (forecast(method, series(falling), 28) >= 0).all()


@pytest.mark.parametrize("method", SINGLE)
def test_one_day_less_than_the_least_is_refused_with_both_numbers(method: Method) -> None:
    needed = MINIMUM_DAYS[method]
    if needed == 1:
        return
    with pytest.raises(MethodFailed, match=f"needs {needed} days of history and has {needed - 1}"):
        forecast(method, series(weekly(needed - 1)), 7)


@pytest.mark.parametrize("method", SEASONAL)
def test_a_weekly_pattern_is_found(method: Method) -> None:
    out = forecast(method, series(weekly(70, noise=0.01)), 7)
    np.testing.assert_allclose(out, 100 * WEEK, rtol=0.08)


@pytest.mark.parametrize("method", FAST)
def test_gaps_do_not_stop_a_method(method: Method) -> None:
    values = weekly(56, noise=0.02)
    values[[5, 6, 20, 33]] = np.nan
    assert np.isfinite(forecast(method, series(values), 14)).all()


def test_a_missing_day_is_estimated_from_its_weekday() -> None:
    values = weekly(28)
    values[10] = np.nan
    assert series(values).filled()[10] == pytest.approx(100 * WEEK[3])


def test_seasonal_naive_repeats_the_last_week() -> None:
    values = np.arange(14.0)
    out = seasonal_naive(series(values), 10)
    np.testing.assert_array_equal(out, [7, 8, 9, 10, 11, 12, 13, 7, 8, 9])


def test_moving_average_has_the_textbook_weights() -> None:
    # Span 3 has weight 1/2: (4 + 2/2 + 1/4) / (1 + 1/2 + 1/4) over the values 1, 2, 4.
    assert moving_average(np.array([1.0, 2.0, 4.0]), span=3) == pytest.approx((4 + 1 + 0.25) / 1.75)


def test_the_trend_of_ema_is_damped() -> None:
    rising = series(10.0 + np.arange(40.0))
    out = ema(rising, 60)
    assert out[0] > 40
    assert out[-1] - out[-2] < 0.01 * (out[1] - out[0])


def test_prophet_member_forecasts_what_prophet_does() -> None:
    import pandas as pd
    from prophet import Prophet

    values = weekly(84, noise=0.1, seed=5) + 0.5 * np.arange(84)
    one = series(values)
    ours = forecast(Method.PROPHET, one, 14)
    days = pd.date_range("2024-01-01", periods=98)
    model = Prophet(daily_seasonality=False, uncertainty_samples=0)
    model.fit(pd.DataFrame({"ds": days[:84], "y": values}))
    theirs = model.predict(pd.DataFrame({"ds": days[84:]}))["yhat"].to_numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


def test_nothing_known_is_too_little() -> None:
    with pytest.raises(InsufficientHistory):
        DailySeries.of(["2024-01-01", "2024-01-02"], [np.nan, np.nan])
