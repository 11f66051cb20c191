"""What rolling origins teach, kept through the registry's JSON."""

import numpy as np
import pytest
from adsml_forecasting.models.calibration import Calibration, calibrate
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Task, forecast_origins, newest_rows
from support.forecasting import series, weekly

MEMBERS = (Method.EMA, Method.LINEAR, Method.SEASONAL_NAIVE, Method.NAIVE, Method.MEAN)


def _learned() -> Calibration:
    tasks = [
        Task(series(weekly(90, noise=0.1, seed=seed)), newest_rows(90, horizon=7, count=4))
        for seed in range(12)
    ]
    found = forecast_origins(tasks, methods=MEMBERS, horizon=7)
    learned = calibrate(found, members=MEMBERS, level=0.9)
    assert learned is not None
    return learned


def test_members_without_a_season_are_pruned_on_seasonal_series() -> None:
    learned = _learned()
    assert learned.weights.weights[Method.NAIVE] == 0
    assert sum(learned.weights.weights.values()) == pytest.approx(1)
    assert learned.coverage == pytest.approx(0.9, abs=0.07)


def test_json_gives_the_same_calibration_back() -> None:
    learned = _learned()
    again = Calibration.from_json(learned.as_json())
    assert again.weights == learned.weights
    np.testing.assert_allclose(again.quantiles.reach(0.9, 7), learned.quantiles.reach(0.9, 7), atol=1e-4)


@pytest.mark.parametrize(
    "harm",
    [
        {"format": 4},
        {"totals": [2.0, 1.0]},
        {"weights": {}},
        {"weights": {"EMA": 2.0}},
        {"weights": {"NOBODY": 1.0}},
        {"quantiles": [[2.0, 1.0]]},
        {"quantiles": [[-1.0, 1.0]]},
        {"combiner": "MAGIC"},
        {"level": None},
    ],
)
def test_a_damaged_calibration_is_refused(harm: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Calibration.from_json(_learned().as_json() | harm)


def test_intervals_of_the_scale_before_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match="format 1.*adsml train ensemble-weights"):
        Calibration.from_json(_learned().as_json() | {"format": 1})


def test_no_day_to_forecast_is_forecast_twice() -> None:
    assert newest_rows(90, horizon=7, count=4) == [62, 69, 76, 83]
    assert newest_rows(25, horizon=7, count=4) == []
