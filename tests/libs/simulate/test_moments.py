"""The figures by which simulated and real accounts are compared, and the comparison."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_simulate import demo, simulate_account
from support.moments import moments

SHARED = Path(os.environ.get("ADSML_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data"))
REAL = SHARED / "ads" / "display_2020_apr_may.csv"


def test_figures_of_a_frame_with_known_ones() -> None:
    days = pd.date_range("2026-01-05", periods=70)
    weekday = np.where(days.dayofweek < 5, 4.0, 2.0)
    a = pd.DataFrame({"entity_id": "a", "date": days, "spend": 10 * weekday, "leads": weekday})
    b = a.assign(entity_id="b", spend=90 * weekday, leads=0.0)
    frame = pd.concat([a, b]).assign(entity_type="ad", impressions=1000.0, clicks=10.0, reach=900.0)
    found = moments(frame).loc["ad"]
    assert found["entities"] == 2
    assert found["zero_lead_days"] == 0.5
    assert found["top_tenth_spend_share"] == pytest.approx(0.9)
    assert found["ctr"] == pytest.approx(1.0)
    assert found["cpl"] == pytest.approx(100.0)
    assert found["cpm"] == pytest.approx(frame["spend"].sum() / 140)
    # Only a has leads, and weekdays explain all of its spend.
    assert found["spend_weekday"] == pytest.approx(1.0)
    assert found["spend_sd"] == pytest.approx(0.0, abs=1e-12)


def test_lag_one_is_that_of_the_calendar() -> None:
    rng = np.random.default_rng(2)
    days = pd.date_range("2026-01-05", periods=2000)
    steps = np.zeros(days.size)
    for t in range(1, days.size):
        steps[t] = 0.7 * steps[t - 1] + 0.1 * rng.standard_normal()
    frame = pd.DataFrame(
        {"entity_type": "ad", "entity_id": "a", "date": days, "spend": 1000 * np.exp(steps), "leads": 1.0}
    ).assign(impressions=1000.0, clicks=10.0)
    kept = frame.sample(frac=0.7, random_state=1).sort_values("date")
    assert moments(frame).loc["ad", "spend_lag1"] == pytest.approx(0.7, abs=0.05)
    assert moments(kept).loc["ad", "spend_lag1"] == pytest.approx(0.7, abs=0.06)


@pytest.mark.skipif(not REAL.is_file(), reason=f"no real account to compare with: {REAL} is absent")
def test_within_entities_the_demo_moves_like_a_real_account() -> None:
    real = moments(pd.read_csv(REAL, parse_dates=["date"]))
    many = [moments(simulate_account(demo(last_day=date(2026, 6, 30)), seed=s).daily) for s in range(5)]
    demo_figures = pd.concat(many).groupby(level=0).median()
    # Day-to-day variation and memory of ads and ad sets: within a factor of 1.6, correlations within 0.25.
    for level in ("ad", "adset"):
        for name in ("leads_sd", "cpl_sd", "ctr_sd", "cpm_sd", "conversion_rate_sd", "clicks_sd"):
            ratio = demo_figures.loc[level, name] / real.loc[level, name]
            assert 1 / 1.6 < ratio < 1.6, f"{level} {name}: {ratio:.2f} times the real one"
        for name in ("leads_lag1", "cpl_lag1", "cpm_lag1", "clicks_lag1"):
            off = demo_figures.loc[level, name] - real.loc[level, name]
            assert abs(off) < 0.25, f"{level} {name}: {off:+.2f} against the real one"
        spread = demo_figures.loc[level, "log_cpl_sd"] / real.loc[level, "log_cpl_sd"]
        assert 0.7 < spread < 1.3
    assert demo_figures.loc["campaign", "ctr"] == pytest.approx(real.loc["campaign", "ctr"], rel=0.3)
