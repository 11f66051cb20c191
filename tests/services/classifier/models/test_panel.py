"""Dense arrays of an account: sums are exact, parents are found, levels are counted once."""

import numpy as np
import pandas as pd
import pytest
from adsml_classifier.models import features
from adsml_classifier.models.panel import Panel, Running
from adsml_common.domain.errors import InvalidInput
from adsml_simulate import SimulatedAccount
from hypothesis import given
from hypothesis import strategies as st

from ..accounts import START, days_of, frame_of, panel_of


@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40),
    st.integers(1, 30),
    st.integers(0, 10),
)
def test_a_window_is_the_sum_of_its_days(daily: list[float], window: int, back: int) -> None:
    """Against pandas' own rolling sum of the values rounded to a millionth."""
    rounded = pd.Series(np.round(daily, 6))
    days = np.arange(len(daily))
    expected = rounded.rolling(window, min_periods=1).sum().shift(back).fillna(0.0)
    found = Running.of(np.array([daily])).last(window, days, back=back)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-5)


def test_a_window_without_spend_is_exactly_zero_whatever_came_before() -> None:
    daily = np.array([[0.1, 0.2, 0.7, 0.3, 0.0, 0.0, 0.0]])
    assert Running.of(daily).last(3, np.array([6]))[0, 0] == 0.0


def test_missing_days_are_days_without_delivery_and_unknown_reach_stays_out_of_frequency() -> None:
    seen = days_of("a", spend=[1, 2, 3], leads=[0, 1, 0], reach=[50, np.nan, 100]).drop(index=0)
    panel = Panel.of(frame_of(seen, days_of("b", spend=[1, 1, 1], leads=[0, 0, 0])))
    assert panel.spend[0].tolist() == [0, 2, 3]
    assert panel.reach[0].tolist() == [0, 0, 100]
    assert panel.reach_known[0].tolist() == [0, 0, 300]
    assert panel.day(0) == START


def test_the_account_is_counted_once_by_the_level_that_saw_most_each_day() -> None:
    """The campaign is complete, but on the second day it was not imported: its ad sets stand in."""
    campaign = days_of("c", spend=[10, 0, 10], leads=[1, 0, 1], entity_type="campaign").drop(index=1)
    panel = Panel.of(
        frame_of(
            campaign,
            days_of("a", spend=[6, 6, 6], leads=[1, 2, 1]),
            days_of("b", spend=[4, 4, 4], leads=[0] * 3),
        )
    )
    days = np.arange(3)
    assert panel.account["spend"].last(1, days).tolist() == [10, 10, 10]
    assert panel.account["leads"].last(1, days).tolist() == [1, 2, 1]


def test_parents_are_rows_of_the_panel_or_unknown() -> None:
    tree = pd.DataFrame(
        {
            "entity_type": ["ad", "adset", "campaign"],
            "entity_id": ["x", "a", "c"],
            "parent_id": ["a", "gone", None],
        }
    )
    panel = Panel.of(
        frame_of(
            days_of("x", spend=[1], leads=[0], entity_type="ad"),
            days_of("a", spend=[1], leads=[0]),
            days_of("c", spend=[1], leads=[0], entity_type="campaign"),
        ),
        entities=tree,
    )
    names = [key[1] for key in panel.keys]
    assert names == ["c", "a", "x"]
    assert panel.parent.tolist() == [-1, -1, 1]


def test_ids_are_told_apart_by_level() -> None:
    frame = frame_of(days_of("1", spend=[1], leads=[0]), days_of("1", spend=[5], leads=[2], entity_type="ad"))
    panel = Panel.of(frame)
    assert panel.spend[panel.rows_of([("ad", "1")])[0]].tolist() == [5]
    assert panel.rows_of([("campaign", "1")]).tolist() == [-1]


def test_sums_too_large_to_be_money_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="spend adds up to 1e\\+300"):
        Panel.of(frame_of(days_of("a", spend=[1e300], leads=[0], clicks=[1])))


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there are none"):
        Panel.of(frame_of(days_of("a", spend=[], leads=[])))


def test_sent_rows_stand_beside_the_siblings_of_their_stored_entity(account: SimulatedAccount) -> None:
    """The same rows, taken out of the account and compared with it, have the same features, siblings' included."""
    whole = panel_of(account)
    day = np.array([len(whole.days) - 1])
    expected = features.compute(whole, day)[:, :, 0]
    window = account.daily[account.daily["date"] > account.daily["date"].max() - pd.Timedelta(days=28)]
    ads = window[window["entity_type"] == "ad"]
    sent = Panel.of(ads)
    own = whole.rows_of(list(sent.keys))
    compared = sent.compared_with(whole, own)
    found = features.compute(compared, np.array([27]))[:, : len(sent), 0]
    np.testing.assert_allclose(found, expected[:, own], rtol=1e-6)
    siblings = features.NAMES.index("siblings_lead_index_28")
    assert np.isfinite(found[siblings]).any()
    # Without an account nothing relative to it is known.
    apart = features.compute(sent.compared_with(None), np.array([27]))
    assert np.isnan(apart[features.NAMES.index("relative_cpl_7")]).all()
    assert np.isnan(apart[features.NAMES.index("siblings_lead_index_28")]).all()
