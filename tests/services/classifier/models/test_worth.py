"""Money that follows calls: by hand."""

import numpy as np
import pytest
from adsml_classifier.models import worth
from adsml_classifier.models.worth import NextWeek

CALLS = np.eye(4)
# Two good ad sets at 1 a lead, one at 2, one at 10; 400 spent by all.
WEEK = NextWeek(
    spend=np.array([50.0, 50.0, 200.0, 100.0]),
    leads=np.array([50.0, 50.0, 100.0, 10.0]),
    group=np.zeros(4, int),
)


def test_a_fifth_of_the_budget_moves_from_the_worst_to_the_best_who_at_most_double() -> None:
    # 80 of the 100 of the worst, which bring 8 leads there, bring 80 at the two best.
    assert worth.leads_gained(np.array([0.0, 0.0, 2.0, 3.0]), WEEK) == pytest.approx(80 - 8)
    # One best takes 50, the other 30 go to the next.
    assert worth.leads_gained(np.array([0.0, 1.0, 2.0, 3.0]), WEEK) == pytest.approx(80 - 8)
    # Upside down it costs as much; the 200 of ad set 3 stand third, so all 80 reach the one at 10 a lead.
    assert worth.leads_gained(np.array([3.0, 3.0, 2.0, 0.0]), WEEK) == pytest.approx(8 - 80)


def test_who_tells_nothing_apart_gains_nothing() -> None:
    assert worth.leads_gained(np.full(4, 1.5), WEEK) == pytest.approx(0.0)


def test_budget_stays_inside_its_group() -> None:
    apart = NextWeek(WEEK.spend, WEEK.leads, np.array([0, 0, 1, 1]))
    # In the first group both are alike; in the second 60 move from 10 a lead to 2 a lead.
    assert worth.leads_gained(np.array([0.0, 1.0, 2.0, 3.0]), apart) == pytest.approx(60 / 2 - 60 / 10)


def test_costs_of_what_is_called_high_and_low_are_ratios_of_sums() -> None:
    found = worth.of_probabilities(CALLS[[0, 1, 0, 3]], WEEK)
    assert found.high_cpl == pytest.approx(250 / 150)
    assert found.low_cpl == pytest.approx(100 / 10)
    assert found.leads_gained_share == found.leads_gained_share_by_tier
    assert worth.of_probabilities(CALLS[[1, 1, 1, 1]], WEEK).high_cpl is None


def test_probabilities_order_what_tiers_hold_together() -> None:
    sure = np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0.6, 0.4, 0, 0], [0.6, 0.3, 0.1, 0]])
    found = worth.of_probabilities(sure, WEEK)
    assert found.leads_gained_share == pytest.approx(72 / 210)
    assert found.leads_gained_share_by_tier == pytest.approx(0.0)
