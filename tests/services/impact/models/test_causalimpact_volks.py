"""The Volkswagen case of the R package CausalImpact (emissions scandal, weekly prices), with its own summary.

Average effect -44 (s.d. 5.6), 95% interval [-55, -33]; relative -26% (3.2%).
"""

from pathlib import Path

import pandas as pd
import pytest
from adsml_impact.models.structural import CAUSAL_IMPACT, forecast


def test_effect_and_interval(public_data: Path) -> None:
    frame = pd.read_csv(public_data / "tfci_volks_data.csv", sep=" ")
    y, X = frame["VolksWagen"].to_numpy(), frame[["BMW", "Allianz"]].to_numpy()
    before = int((frame["Date"] <= "2015-09-13").sum())

    found = forecast(
        y[:before], horizon=y.size - before, X=X[:before], X_post=X[before:], priors=CAUSAL_IMPACT
    )
    effect = float(y[before:].mean()) - found.window_mean

    assert effect == pytest.approx(-44, abs=0.5)
    assert effect - 1.96 * found.window_sd == pytest.approx(-55, abs=0.5)
    assert effect + 1.96 * found.window_sd == pytest.approx(-33, abs=0.5)
    assert found.window_sd == pytest.approx(5.6, abs=0.1)
    assert 100 * effect / found.window_mean == pytest.approx(-26, abs=0.5)
