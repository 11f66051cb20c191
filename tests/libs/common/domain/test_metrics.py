"""Ratios over windows."""

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily, metrics
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric


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
    sums = rows.groupby(rows.index // 2)[["spend", "leads"]].sum()
    assert metrics.value(Metric.CPL, sums) == pytest.approx([10.0, 10.0])


def test_cost_per_lead_without_leads_is_missing() -> None:
    rows = frame([10, 10], [0, 0])
    assert np.isnan(metrics.value(Metric.CPL, rows)).all()
    assert metrics.value(Metric.CTR, rows) == pytest.approx([10.0, 10.0])
    assert np.isnan(metrics.value(Metric.FREQUENCY, rows)).all()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_what_no_model_may_see_is_refused_with_its_row(bad: float) -> None:
    with pytest.raises(InvalidInput) as raised:
        daily.check(frame([1, bad, 1], [0, 0, 0]))
    assert [one.path for one in raised.value.violations] == ["rows[1].spend"]


def test_two_rows_for_one_day_are_refused() -> None:
    rows = pd.concat([frame([1], [0]), frame([2], [0])], ignore_index=True)
    with pytest.raises(InvalidInput, match="earlier row"):
        daily.check(rows)
