"""Holm, the naive comparison, dates, powers: against closed forms and other people's code."""

from datetime import date

import numpy as np
import pytest
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis.series import from_daily
from adsml_impact.analysis.tree import Relation, Tree
from adsml_impact.analysis.verdict import holm
from adsml_impact.models.comparison import compare
from adsml_impact.models.design import LOOKBACK, Design, choose_dates
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.power import LONGEST, detectable
from adsml_impact.models.sizes import learn_sizes
from adsml_impact.models.weighting import learn_mixture
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.impact import FIRST, make_account, make_panel


def test_holm_by_hand() -> None:
    # Ordered .005, .01, .03, .04 times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=12))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    known = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if not np.isnan(p)]
    assert all(np.isnan(q) for p, q in zip(p_values, adjusted, strict=True) if np.isnan(p))
    assert all(p <= q <= 1 for p, q in known)
    ordered = sorted(known)
    assert [q for _, q in ordered] == sorted(q for _, q in known)


def test_naive_comparison_is_welchs_test() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(10, 1, 7), rng.normal(12, 3, 9)

    found = naive_comparison(x, y, before_total=10.0, after_total=12.0)

    t, p = stats.ttest_ind(y, x, equal_var=False)
    assert (found.t_statistic, found.p_value) == pytest.approx((t, p))
    pooled = np.sqrt((6 * x.var(ddof=1) + 8 * y.var(ddof=1)) / 14)
    assert found.cohens_d == pytest.approx((y.mean() - x.mean()) / pooled)
    assert found.relative_change == pytest.approx(0.2)


def test_naive_comparison_of_what_does_not_vary() -> None:
    found = naive_comparison(np.zeros(7), np.zeros(7), before_total=0.0, after_total=0.0)
    assert (found.relative_change, found.t_statistic, found.p_value, found.cohens_d) == (None,) * 4


@given(
    change=st.integers(3, 400), baseline=st.integers(3, 90), horizon=st.integers(3, 40), washout=st.integers(0, 14),
    units=st.integers(1, 60), most=st.integers(19, 2000),
)  # fmt: skip
def test_placebo_dates_end_before_the_change_and_have_their_baseline(
    change: int, baseline: int, horizon: int, washout: int, units: int, most: int
) -> None:
    design = Design(change=change, baseline=baseline, horizon=horizon, washout=washout, most_placebos=most)
    found = choose_dates(design, units=units)

    placebos, lengths = found.origins[:-1], found.lengths
    assert found.origins[-1] == change
    assert (np.diff(found.origins) > 0).all()
    assert (placebos + washout + horizon <= change).all()
    assert (found.origins - lengths >= 0).all()
    assert (change - placebos <= LOOKBACK + washout + horizon).all()
    assert (lengths <= baseline).all()
    assert ((lengths < 14) | (lengths % 7 == 0)).all()
    assert placebos.size * units <= max(most, units)


def test_ads_and_shared_ad_sets_have_their_budget_above() -> None:
    tree = Tree(
        {
            (EntityType.AD, "ad"): Relation("shared"),
            (EntityType.AD, "other"): Relation("own"),
            (EntityType.ADSET, "shared"): Relation("campaign", shares_budget=True),
            (EntityType.ADSET, "own"): Relation("campaign", shares_budget=False),
        }
    )
    assert tree.budget_pool((EntityType.AD, "ad")) == (EntityType.CAMPAIGN, "campaign")
    assert tree.budget_pool((EntityType.AD, "other")) == (EntityType.ADSET, "own")
    assert tree.budget_pool((EntityType.ADSET, "own")) == (EntityType.ADSET, "own")
    assert tree.budget_pool((EntityType.AD, "unknown")) == (EntityType.AD, "unknown")
    assert tree.lineage((EntityType.AD, "ad")) == [
        (EntityType.AD, "ad"), (EntityType.ADSET, "shared"), (EntityType.CAMPAIGN, "campaign")
    ]  # fmt: skip


def test_series_from_rows_put_days_and_units_in_their_place() -> None:
    account = make_account(units=3, days=10)
    keep = np.ones((3, 10), dtype=bool)
    keep[1, 4] = False

    series = from_daily(account.rows(keep=keep))

    assert series.names == account.names
    assert (series.first, series.days, series.day(9)) == (FIRST, 10, date(2024, 3, 13))
    numerator, denominator, scale = series.parts(Metric.CTR)
    assert scale == 100
    assert denominator is not None
    assert denominator[1, 4] == numerator[1, 4] == 0
    assert denominator[0] == pytest.approx(account.impressions[0])
    assert not series.present[1, 4]


def test_mixture_learns_what_predicts() -> None:
    rng = np.random.default_rng(0)
    M = 2000
    recent, whole = rng.normal(size=M), rng.normal(size=M)
    pre = np.stack([np.column_stack([recent, whole])] * 3)
    persistent = np.stack([0.7 * recent + 0.3 * whole + sd * rng.normal(size=M) for sd in (1.0, 0.2, 1.0)])

    found = learn_mixture(persistent, pre, independent=500.0)

    assert found.windows[1] == pytest.approx([0.7, 0.3], abs=0.03)
    assert found.kinds[1] > 0.85


def test_mixture_without_history_is_the_default() -> None:
    found = learn_mixture(np.empty((3, 0)), np.empty((3, 0, 4)), independent=0.0)
    assert found.kinds == pytest.approx([0, 1, 0])
    assert found.windows[1] == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize("part", ["own", "common", "volume"])
def test_sizes_find_the_part_that_makes_effects_large(part: str) -> None:
    rng = np.random.default_rng(1)
    shape = (200, 20)
    scale, volume = np.exp(rng.normal(0, 1, shape)), np.exp(rng.normal(0, 1, shape))
    true = {"own": scale, "common": np.full(shape, 0.3), "volume": 1 / np.sqrt(volume)}[part]

    sizes = learn_sizes(
        true * rng.normal(size=shape), scale, [volume], past=np.ones(shape, dtype=bool), independent=4000.0
    )

    assert np.median(sizes / true) == pytest.approx(1.0, abs=0.1)
    assert np.quantile(np.abs(np.log(sizes / true)), 0.9) < 0.2


def test_sizes_without_placebos_are_the_gaps_own() -> None:
    scale = np.array([[0.1, 0.2]])
    nothing = np.zeros((1, 2), dtype=bool)
    assert learn_sizes(scale, scale, [scale], past=nothing, independent=0.0) == pytest.approx(scale)


def test_the_regression_takes_off_as_much_of_the_controls_as_the_placebos_say() -> None:
    """Units that wander on their own are worse off for a full synthetic control; those with one market need it."""
    rng = np.random.default_rng(3)
    market = np.cumsum(rng.normal(0, 0.03, 120))
    noise = rng.normal(0, 0.1, (25, 120))
    own = np.cumsum(rng.normal(0, 0.02, (25, 120)), axis=1)

    together = compare(100 * np.exp(market + noise), None, Design(change=113))
    apart = compare(100 * np.exp(own + noise), None, Design(change=113))

    assert together is not None
    assert apart is not None
    assert together.share > 0.9
    assert apart.share < 0.8


@pytest.mark.parametrize("ratio", [False, True])
def test_an_effect_of_the_detectable_size_is_detected_as_often_as_promised(*, ratio: bool) -> None:
    """Up and down, in the unit that is printed: logarithms printed as percent were neither."""
    rises, falls = [], []
    for seed in range(12):
        Y = make_panel(seed, units=25, days=110)
        B = make_panel(seed + 100, units=25, days=110) if ratio else None
        for i in range(0, 25, 3):
            order = [i, *(j for j in range(25) if j != i)]
            found = compare(Y[order], None if B is None else B[order], Design(change=103))
            assert found is not None
            could = detectable(found, horizon=7, ratio=ratio)
            for relative, hits in ((could.relative_up, rises), (could.relative_down, falls)):
                tau = found.tau + (np.log1p(relative) if ratio else relative)
                hits.append(found.reference.p_value(tau / found.size) < 0.05)
    assert np.mean(rises) == pytest.approx(0.8, abs=0.1)
    assert np.mean(falls) == pytest.approx(0.8, abs=0.1)


def test_a_rise_and_a_fall_of_a_ratio_that_show_alike_differ_as_shares() -> None:
    found = compare(make_panel(2, units=25, days=110), make_panel(3, units=25, days=110), Design(change=103))
    assert found is not None
    could = detectable(found, horizon=7, ratio=True)
    assert (1 + could.relative_up) * (1 + could.relative_down) == pytest.approx(1)
    chance = {(one.after_days, one.relative): one.power for one in could.power_curve}
    assert chance[28, 0.2] > chance[7, 0.2]
    assert chance[7, 0.5] > chance[7, 0.2]
    assert chance[7, -0.5] > chance[7, 0.5]


def test_days_needed_fall_with_the_effect_and_reach_the_target() -> None:
    found = compare(make_panel(2, units=25, days=110), None, Design(change=103))
    assert found is not None
    needed = [
        detectable(found, horizon=7, ratio=False, target=target).days_needed for target in (0.15, 0.25, 0.5)
    ]
    assert needed == sorted([n for n in needed if n is not None], reverse=True)
    assert all(n is not None and n <= LONGEST for n in needed)
    assert detectable(found, horizon=7, ratio=False, target=1e-6).days_needed is None
