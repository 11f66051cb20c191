"""Ratios over windows."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily, metrics, windows
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_common.domain.windows import Window


def frame(spend: list[float], leads: list[float]) -> pd.DataFrame:
    days = pd.date_range("2026-01-01", periods=len(spend))
    return daily.normalise(
        pd.DataFrame(
            {"entity_type": "adset", "entity_id": "1", "date": days, "spend": spend, "impressions": 100.0,
             "clicks": 10.0, "leads": leads}
        )
    )  # fmt: skip


def test_doubling_the_budget_at_constant_cost_per_lead_is_no_rise() -> None:
    """Two days at CPL 10 and two at doubled spend and CPL 10: the ratio of sums stays 10."""
    rows = frame([10, 30, 40, 40], [1, 3, 4, 4])
    for window in (Window(date(2026, 1, 1), date(2026, 1, 2)), Window(date(2026, 1, 3), date(2026, 1, 4))):
        assert metrics.value(Metric.CPL, windows.sums(rows, window)) == pytest.approx([10.0])


def test_cost_per_lead_without_leads_is_missing() -> None:
    sums = windows.sums(frame([10, 10], [0, 0]), Window(date(2026, 1, 1), date(2026, 1, 2)))
    assert np.isnan(metrics.value(Metric.CPL, sums)).all()
    assert metrics.value(Metric.CTR, sums) == pytest.approx([10.0])
    assert np.isnan(metrics.value(Metric.FREQUENCY, sums)).all()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_what_no_model_may_see_is_refused_with_its_row(bad: float) -> None:
    with pytest.raises(InvalidInput) as raised:
        daily.check(frame([1, bad, 1], [0, 0, 0]))
    assert [one.path for one in raised.value.violations] == ["rows[1].spend"]


def test_two_rows_for_one_day_are_refused() -> None:
    rows = pd.concat([frame([1], [0]), frame([2], [0])], ignore_index=True)
    with pytest.raises(InvalidInput, match="earlier row"):
        daily.check(rows)


def test_windows_meet_without_overlap() -> None:
    day = date(2026, 3, 1)
    last, following = Window.last(7, until=day), Window.next(7, after=day)
    assert (last.days, following.days) == (7, 7)
    assert day in last
    assert day not in following
    assert (following.start - last.end).days == 1
    with pytest.raises(ValueError, match="can't end"):
        Window(day, date(2026, 2, 1))
