"""The google case of the R package CausalImpact, with its own summary.

Average effect 27 (s.d. 4.5), 95% interval [18, 36]; cumulative 804 (134.2); relative 21% (3.5%).
"""

from pathlib import Path

import pandas as pd
import pytest
from adsml_impact.models.structural import CAUSAL_IMPACT, Forecast, forecast

BEFORE = 61


@pytest.fixture(scope="module")
def case(public_data: Path) -> tuple[float, Forecast, int]:
    frame = pd.read_csv(public_data / "tfci_google_data.csv")
    y, X = frame["y"].to_numpy(float), frame[["x1", "x2"]].to_numpy(float)
    found = forecast(
        y[:BEFORE], horizon=y.size - BEFORE, X=X[:BEFORE], X_post=X[BEFORE:], priors=CAUSAL_IMPACT
    )
    return float(y[BEFORE:].mean()), found, y.size - BEFORE


def test_prediction(case: tuple[float, Forecast, int]) -> None:
    _, found, _ = case
    assert found.window_mean == pytest.approx(129, abs=0.5)
    assert found.window_sd == pytest.approx(4.5, abs=0.1)


def test_effect_and_interval(case: tuple[float, Forecast, int]) -> None:
    actual, found, days = case
    effect = actual - found.window_mean

    assert effect == pytest.approx(27, abs=0.5)
    assert effect - 1.96 * found.window_sd == pytest.approx(18, abs=0.5)
    assert effect + 1.96 * found.window_sd == pytest.approx(36, abs=0.5)
    assert 100 * effect / found.window_mean == pytest.approx(21, abs=0.5)
    assert effect * days == pytest.approx(804, rel=0.03)
