"""Cutoffs are Prophet's own, with gaps too."""

import numpy as np
import pandas as pd
from adsml_forecasting.models.origins import RollingOrigin
from hypothesis import given
from hypothesis import strategies as st
from prophet.diagnostics import generate_cutoffs


@given(
    days=st.sets(st.integers(0, 150), min_size=2),
    initial=st.integers(1, 60),
    period=st.integers(1, 20),
    horizon=st.integers(1, 20),
)
def test_cutoffs_are_prophet_s(days: set[int], initial: int, period: int, horizon: int) -> None:
    ordered = np.array(sorted(days), np.int64)
    frame = pd.DataFrame({"ds": pd.to_datetime(ordered, unit="D")})
    try:
        expected = generate_cutoffs(
            frame, *(pd.Timedelta(days=count) for count in (horizon, initial, period))
        )
    except ValueError:  # Prophet raises where there is no cutoff
        expected = []
    found = RollingOrigin(initial=initial, period=period, horizon=horizon).cutoffs(ordered)
    assert [pd.Timestamp(day, unit="D") for day in found] == expected


def test_the_issue_s_folds_on_120_days() -> None:
    days = np.arange(120)
    cutoffs = RollingOrigin(initial=30, period=7, horizon=7).cutoffs(days)
    assert len(cutoffs) == 12
    assert cutoffs[-1] == 112  # its seven days are the last seven
    assert cutoffs[0] >= 30


def test_newest_keeps_the_last() -> None:
    days = np.arange(120)
    everything = RollingOrigin().cutoffs(days)
    np.testing.assert_array_equal(RollingOrigin(newest=3).cutoffs(days), everything[-3:])
