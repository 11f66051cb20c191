"""The heuristic tiers, by DESIGN's table."""

import numpy as np
import pytest
from adsml_classifier.models import rule
from adsml_classifier.models.panel import Panel
from adsml_common.domain.tiers import Tier
from hypothesis import given, settings
from hypothesis import strategies as st

from ..accounts import days_of, frame_of, week_panel

# The rest of an account, so large that one entity hardly moves its CPL of 10.
REST = ([10_000.0] * 7, [1000.0] * 7)
LAST = np.array([6])


def tier_of(spend: list[float], leads: list[float]) -> Tier:
    # The rest brings the account's CPL to exactly 10.
    rest = ([10_000.0 - one for one in spend], [1000.0 - one for one in leads])
    panel = week_panel({"one": (spend, leads), "rest": rest})
    row = panel.rows_of([("adset", "one")])[0]
    return rule.TIERS[rule.tiers(panel, LAST)[row, 0]]


@pytest.mark.parametrize(
    ("spend", "leads", "expected"),
    [
        # CPL of 6, leads on 4 days / on 3 days
        ([6.0] * 7, [2, 2, 2, 1, 0, 0, 0], Tier.HIGH_PERFORMER),
        ([6.0] * 7, [3, 3, 1, 0, 0, 0, 0], Tier.MODERATE),
        # CPL of 7: the bound itself belongs to the better tier; of 7.1 it does not
        ([7.0] * 7, [2, 2, 2, 1, 0, 0, 0], Tier.HIGH_PERFORMER),
        ([7.1] * 7, [2, 2, 2, 1, 0, 0, 0], Tier.MODERATE),
        # CPL of 9 with two leads; with one lead
        ([18 / 7] * 7, [1, 1, 0, 0, 0, 0, 0], Tier.MODERATE),
        ([9 / 7] * 7, [1, 0, 0, 0, 0, 0, 0], Tier.LOW),
        # CPL of 14 and of 16
        ([4.0] * 7, [1, 1, 0, 0, 0, 0, 0], Tier.LOW),
        ([16 * 2 / 7] * 7, [1, 1, 0, 0, 0, 0, 0], Tier.UNDERPERFORMER),
        # no leads: on 16 of spend, and on 14, where a single lead could still have made it LOW
        ([16 / 7] * 7, [0] * 7, Tier.UNDERPERFORMER),
        ([14 / 7] * 7, [0] * 7, Tier.LOW),
    ],
)
def test_the_table(spend: list[float], leads: list[float], expected: Tier) -> None:
    assert tier_of(spend, leads) is expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # CPL 9 now. 7.5 before is +20%: exactly the bound, which does not move it. 7.4 is +21.6%.
        (7.5, Tier.MODERATE),
        (7.4, Tier.LOW),
        # 10.5 before is -14.3%; 10.7 is -15.9%.
        (10.5, Tier.MODERATE),
        (10.7, Tier.HIGH_PERFORMER),
    ],
)
def test_a_trend_moves_by_one_step(before: float, expected: Tier) -> None:
    spend = [before * 10 / 7] * 7 + [9 * 10 / 7] * 7
    leads = [2, 2, 2, 2, 2, 0, 0] * 2
    panel = week_panel({"one": (spend, leads), "rest": (REST[0] * 2, REST[1] * 2)})
    row = panel.rows_of([("adset", "one")])[0]
    found = rule.tiers(panel, np.array([13]))[row, 0]
    assert rule.TIERS[found] is expected


def test_steps_are_held_at_the_ends() -> None:
    tiers = np.array([[0, 3]])
    assert rule.stepped(tiers, np.array([[-1, 1]])).tolist() == [[0, 3]]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=7, max_size=7),
    st.integers(0, 6),
    st.floats(0.01, 500, allow_nan=False),
)
def test_one_more_lead_never_makes_the_week_worse(leads: list[int], day: int, spend: float) -> None:
    more = leads.copy()
    more[day] += 1
    panel = week_panel({"a": ([spend / 7] * 7, leads), "b": ([spend / 7] * 7, more), "rest": REST})
    earned = rule.earned(rule.week(panel, LAST))[:, 0]
    fewer, greater = earned[panel.rows_of([("adset", "a"), ("adset", "b")])]
    assert greater <= fewer


def test_a_week_without_leads_is_compared_with_the_account_of_four() -> None:
    """No lead anywhere in the last week: the account's CPL is that of its 28 days, which is 20."""
    one = ([1.0] * 21 + [10.0] * 7, [0] * 28)
    rest = ([100.0] * 28, [7.0] * 20 + [0.0] * 8)
    panel = week_panel({"one": one, "rest": rest})
    day = np.array([27])
    total_spend, total_leads = 21 + 70 + 2800, 140
    assert rule.account_cpl(panel, day)[0] == pytest.approx(total_spend / total_leads)


def test_in_an_account_without_any_lead_a_share_of_spend_is_material() -> None:
    panel = week_panel({"small": ([0.5] * 7, [0] * 7), "large": ([99.5] * 7, [0] * 7)})
    tiers = rule.tiers(panel, LAST)[:, 0]
    by_name = dict(zip([key[1] for key in panel.keys], tiers, strict=True))
    assert rule.TIERS[by_name["large"]] is Tier.UNDERPERFORMER
    assert rule.TIERS[by_name["small"]] is Tier.LOW


def test_an_account_is_compared_with_its_complete_level() -> None:
    """Relative CPL is to the campaign's 10, whichever ad sets were imported."""
    frame = frame_of(
        days_of("c", spend=[100.0] * 7, leads=[10.0] * 7, entity_type="campaign"),
        days_of("a", spend=[5.0] * 7, leads=[1.0] * 7),
    )
    panel = Panel.of(frame)
    week = rule.week(panel, LAST)
    row = panel.rows_of([("adset", "a")])[0]
    assert week.relative_cpl[row, 0] == pytest.approx(0.5)


def test_who_is_all_of_the_account_takes_no_step_for_its_trend() -> None:
    """Its CPL is the account's, whatever it was the week before: there is nobody it got better than."""
    falling = ([30.0] * 14, [1.0] * 7 + [2.0] * 7)
    steady = ([30.0] * 14, [1.0] * 14)
    alone = week_panel({"a": falling})
    assert rule.tiers(alone, np.array([13])).tolist() == [[1]]
    # Beside another that spends as much it is the better one, and rising.
    assert rule.tiers(week_panel({"a": falling, "b": steady}), np.array([13]))[0].tolist() == [0]
