"""Features look at their window and nowhere else, and mean what they say."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from adsml_classifier.models import features
from adsml_classifier.models.panel import Panel
from adsml_simulate import SimulatedAccount
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..accounts import days_of, frame_of, panel_of, tree_of, week_panel


@pytest.fixture(scope="module")
def frame(account: SimulatedAccount) -> pd.DataFrame:
    """Sixty days of the account."""
    return account.daily[account.daily["date"] < account.daily["date"].min() + pd.Timedelta(days=60)]


def computed(frame: pd.DataFrame, tree: pd.DataFrame, column: int) -> npt.NDArray[np.float32]:
    first = frame["date"].min().date()
    panel = Panel.of(frame, entities=tree, start=first)
    return features.compute(panel, np.array([column]))[:, :, 0]


@given(st.integers(10, 58), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_comes_later_changes_no_feature(
    frame: pd.DataFrame, account: SimulatedAccount, column: int, seed: int
) -> None:
    """Whatever is done to later days (multiplied, dropped, leads from nowhere), features stay bit for bit."""
    rng = np.random.default_rng(seed)
    later = frame["date"] > frame["date"].min() + pd.Timedelta(days=column)
    other = frame.copy()
    for name in ("spend", "impressions", "clicks", "leads"):
        other.loc[later, name] = np.round(
            other.loc[later, name] * rng.uniform(0, 5, later.sum()) + rng.integers(0, 9), 2
        )
    other = other[~later | (rng.random(len(other)) < 0.8)]
    tree = tree_of(account)
    # An entity that starts later has no row yet without those days.
    both = [computed(one, tree, column) for one in (frame, other)]
    panels = [Panel.of(one) for one in (frame, other)]
    common = [key for key in panels[0].keys if key in panels[1].places]
    found = [values[:, panel.rows_of(common)] for values, panel in zip(both, panels, strict=True)]
    np.testing.assert_array_equal(found[0], found[1])


@given(st.integers(30, 59), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_lies_before_the_lookback_changes_no_feature(
    frame: pd.DataFrame, account: SimulatedAccount, column: int, seed: int
) -> None:
    """So a store query of `LOOKBACK_DAYS` answers as training saw it."""
    rng = np.random.default_rng(seed)
    before = frame["date"] <= frame["date"].min() + pd.Timedelta(days=column - features.LOOKBACK_DAYS)
    other = frame.copy()
    other.loc[before, "leads"] = rng.integers(0, 50, before.sum()).astype(float)
    other.loc[before, "spend"] *= 3
    tree = tree_of(account)
    found, expected = computed(other, tree, column), computed(frame, tree, column)
    # Products with weights of 0 are summed in blocks, so swings may differ in their last bit.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_many_days_and_blocks_of_entities_give_what_one_day_gives(
    account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = panel_of(account)
    days = np.arange(20, 50, 7)
    together = features.compute(panel, days)
    monkeypatch.setattr(features, "_BLOCK_CELLS", 7 * len(panel.days))
    for place, day in enumerate(days):
        alone = features.compute(panel, np.array([day]))[:, :, 0]
        np.testing.assert_allclose(alone, together[:, :, place], rtol=1e-6, atol=1e-6)


def test_every_column_is_written(account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    def marked(shape: tuple[int, ...], dtype: type) -> npt.NDArray[np.float32]:
        return np.full(shape, -987654, dtype=dtype)

    panel = panel_of(account)
    monkeypatch.setattr(features.np, "empty", marked)
    values = features.compute(panel, np.array([40]))
    assert not (values == -987654).any()


def test_ratios_are_ratios_of_sums_against_the_account() -> None:
    """By hand: 7 days of 1 lead on 7 cost 10 on most days and 80 on one; the account pays 20 for a lead."""
    spend = [10.0] * 6 + [80.0]
    panel = week_panel({"one": (spend, [1.0] * 7), "rest": ([100.0] * 7, [4.0] * 7)})
    row = panel.rows_of([("adset", "one")])[0]
    found = features.compute(panel, np.array([6]))
    account_cpl = (140 + 700) / (7 + 28)
    assert found[features.NAMES.index("relative_cpl_7")][row, 0] == pytest.approx(140 / 7 / account_cpl)
    assert found[features.NAMES.index("relative_leads_per_100_7")][row, 0] == pytest.approx(account_cpl / 20)
    assert found[features.NAMES.index("expected_leads_7")][row, 0] == pytest.approx(140 / account_cpl)
    expected = 140 / account_cpl
    assert found[features.NAMES.index("lead_index_7")][row, 0] == pytest.approx(
        (7 + features.PRIOR_LEADS) / (expected + features.PRIOR_LEADS)
    )
    assert found[features.NAMES.index("volatility_spend_7")][row, 0] == pytest.approx(
        np.std(spend) / np.mean(spend), rel=1e-5
    )
    assert found[features.NAMES.index("lead_days_7")][row, 0] == 7
    assert found[features.NAMES.index("consistency_14")][row, 0] == pytest.approx(1.0)
    assert found[features.NAMES.index("days_since_lead")][row, 0] == 0


def test_missing_is_missing_and_not_zero() -> None:
    panel = week_panel({"none": ([10.0] * 7, [0.0] * 7), "rest": ([100.0] * 7, [4.0] * 7)})
    row = panel.rows_of([("adset", "none")])[0]
    found = features.compute(panel, np.array([6]))
    for name in ("relative_cpl_7", "change_cpl", "change_spend", "frequency_7", "siblings_lead_index_7"):
        assert np.isnan(found[features.NAMES.index(name)][row, 0]), name
    assert found[features.NAMES.index("relative_leads_per_100_7")][row, 0] == 0
    assert found[features.NAMES.index("days_since_lead")][row, 0] == features.LOOKBACK_DAYS


def test_what_happens_to_the_whole_account_is_no_change() -> None:
    """Everybody's leads halve: relative to the account nothing changed."""
    leads = [8.0] * 7 + [4.0] * 7
    panel = week_panel({name: ([50.0] * 14, leads) for name in ("a", "b", "c")})
    found = features.compute(panel, np.array([13]))
    for name in ("change_cpl", "change_conversion_rate", "change_leads", "change_spend"):
        np.testing.assert_allclose(found[features.NAMES.index(name)], 1.0, rtol=1e-6)


def test_siblings_are_the_parents_rest() -> None:
    tree = pd.DataFrame({"entity_type": ["adset"] * 2, "entity_id": ["a", "b"], "parent_id": ["c", "c"]})
    frame = frame_of(
        days_of("c", spend=[30.0] * 7, leads=[3.0] * 7, entity_type="campaign"),
        days_of("a", spend=[10.0] * 7, leads=[2.0] * 7),
        days_of("b", spend=[20.0] * 7, leads=[1.0] * 7),
    )
    panel = Panel.of(frame, entities=tree)
    row = panel.rows_of([("adset", "a")])[0]
    found = features.compute(panel, np.array([6]))
    expected = features.lead_index(np.array(7.0), np.array(140.0 / 10.0))
    assert found[features.NAMES.index("siblings_lead_index_7")][row, 0] == pytest.approx(float(expected))


def test_an_unknown_currency_changes_nothing(account: SimulatedAccount) -> None:
    """Features are free of the account's currency."""
    panel = panel_of(account)
    dearer = account.daily.assign(spend=account.daily["spend"] * 128)
    other = Panel.of(dearer, entities=tree_of(account))
    day = np.array([60])
    np.testing.assert_allclose(
        features.compute(other, day),
        features.compute(panel, day),
        rtol=1e-4,
        atol=1e-4,
    )
