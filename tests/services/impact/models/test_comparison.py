"""What a comparison must get right whatever the account: scale, market, weekdays, contamination."""

from dataclasses import replace

import numpy as np
import pytest
from adsml_impact.models.comparison import compare, variance_of_means
from adsml_impact.models.design import Dates, Design
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.gaps import KINDS, RIDGE, SIMPLEX, UNIFORM, gaps
from adsml_impact.models.simplex import simplex_least_squares
from support.impact import make_panel

DESIGN = Design(change=83)
WITH_CONTROLS = [None, *(one for one in Estimator if one is not Estimator.STRUCTURAL)]


def _estimator(one: Estimator | None) -> Design:
    return Design(change=83, estimator=one)


@pytest.mark.parametrize("estimator", WITH_CONTROLS)
def test_a_known_effect_is_added_to_the_estimate_and_moves_nothing_else(estimator: Estimator | None) -> None:
    Y = make_panel(5)
    lifted = Y.copy()
    level = Y[0, 27:83].mean()
    lifted[0, 83:] += 0.3 * level

    nothing, something = compare(Y, None, _estimator(estimator)), compare(lifted, None, _estimator(estimator))

    assert nothing is not None
    assert something is not None
    assert something.tau - nothing.tau == pytest.approx(0.3)
    assert something.size == pytest.approx(nothing.size)
    assert something.studentised == pytest.approx(nothing.studentised)
    assert something.omega == pytest.approx(nothing.omega)


@pytest.mark.parametrize("estimator", WITH_CONTROLS)
def test_a_movement_that_all_share_in_proportion_cancels(estimator: Estimator | None) -> None:
    Y = make_panel(6)
    moved = Y.copy()
    moved[:, 83:] *= 1.5
    level = Y[0, 27:83].mean()

    before, after = compare(Y, None, _estimator(estimator)), compare(moved, None, _estimator(estimator))

    assert before is not None
    assert after is not None
    # What is left is half the noise that was there: the units' own deviations grow with the market.
    own = (Y[:, 83:90].mean(axis=1) / Y[:, 27:83].mean(axis=1)).std()
    assert abs(after.tau - before.tau) < 0.5 * 3 * own
    assert abs(after.tau) < 0.5
    assert level > 0


def test_a_shock_that_units_follow_unequally_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    Y = make_panel(7, units=30)
    shocked = Y.copy()
    shocked[:, 83:] *= np.exp(rng.normal(0.5, 0.25, (30, 1)))

    calm, wild = compare(Y, None, DESIGN), compare(shocked, None, DESIGN)

    assert calm is not None
    assert wild is not None
    assert wild.size > 1.5 * calm.size


@pytest.mark.parametrize("estimator", [e for e in Estimator if e is not Estimator.STRUCTURAL])
def test_size_of_a_unit_hardly_matters(estimator: Estimator) -> None:
    Y = make_panel(8)
    scaled = Y * np.exp(np.random.default_rng(1).normal(0, 2, (20, 1)))
    design = replace(DESIGN, estimator=estimator)

    one, other = compare(Y, None, design), compare(scaled, None, design)

    assert one is not None
    assert other is not None
    # Volume has a say in how unsteady a unit is expected to be, so that weights move a little, not the answer.
    assert other.tau == pytest.approx(one.tau, abs=0.1 * one.size)
    assert other.size == pytest.approx(one.size, rel=0.2)


def test_a_ratio_does_not_move_when_both_parts_double() -> None:
    rng = np.random.default_rng(2)
    leads = rng.poisson(200, (12, 90)).astype(float)
    spend = leads * 20 * np.exp(rng.normal(0, 0.05, (12, 90)))
    doubled_spend, doubled_leads = spend.copy(), leads.copy()
    doubled_spend[0, 83:] *= 2
    doubled_leads[0, 83:] *= 2

    before, after = compare(spend, leads, DESIGN), compare(doubled_spend, doubled_leads, DESIGN)

    assert before is not None
    assert after is not None
    assert after.tau == pytest.approx(before.tau)


def test_a_ratio_is_the_ratio_of_sums() -> None:
    # One day of 1,000 leads at 10 and six of 1 lead at 100: 10.5 a lead, not the mean of ratios 87.
    leads = np.full((8, 90), 100.0)
    spend = leads * 10 * np.exp(np.random.default_rng(3).normal(0, 0.01, (8, 90)))
    leads[0, 83:], spend[0, 83:] = 1.0, 100.0
    leads[0, 83], spend[0, 83] = 1000.0, 10_000.0

    found = compare(spend, leads, DESIGN)

    assert found is not None
    expected = np.log((10_000 + 600) / 1006 / (spend[0, 27:83].sum() / leads[0, 27:83].sum()))
    assert found.tau == pytest.approx(expected, abs=0.02)


def test_windows_that_are_no_whole_weeks_are_not_fooled_by_weekdays() -> None:
    rng = np.random.default_rng(4)
    weekend = np.where(np.arange(88) % 7 >= 5, 0.2, 1.0)
    Y = 100 * np.exp(rng.normal(0, 0.02, (10, 88)))
    Y[0] *= weekend  # only the treated has weekends
    design = Design(change=82, horizon=6)  # five weekdays and a weekend day, day 82 being a weekend's end

    found = compare(Y, None, design)

    assert found is not None
    assert abs(found.tau) < 0.05


def test_placebos_never_use_the_treated() -> None:
    Y = make_panel(9)
    garbage = Y.copy()
    garbage[0, 83:] = 1e9

    assert compare(Y, None, DESIGN).studentised == pytest.approx(  # type: ignore[union-attr]
        compare(garbage, None, DESIGN).studentised  # type: ignore[union-attr]
    )


def test_gaps_agree_with_the_plain_way_of_computing_them() -> None:
    Y = make_panel(10, units=6, days=70)
    found = gaps(
        Y,
        None,
        Dates(origins=np.array([49, 63]), lengths=np.array([49, 56])),
        Design(change=63, weekly=False),
        windows=(7, 56),
    )
    for o, (t, L) in enumerate(((49, 49), (63, 56))):
        r = Y[:, t - L : t + 7] / Y[:, t - L : t].mean(axis=1, keepdims=True) - 1
        for i in range(6):
            donors = [j for j in range(1, 6) if j != i]
            for kind in range(KINDS):
                sigma2 = np.diff(r[1:, :L], axis=1).var()
                weights = {
                    UNIFORM: np.full(len(donors), 1 / len(donors)),
                    RIDGE: simplex_least_squares(r[donors, :L].T, r[i, :L], zeta2=np.sqrt(7) * sigma2 * L),
                    SIMPLEX: simplex_least_squares(r[donors, :L].T, r[i, :L]),
                }[kind]
                gap = r[i] - weights @ r[donors]
                assert found.omega[o, kind, i, donors] == pytest.approx(weights, abs=1e-6)
                assert found.post[o, kind, i] == pytest.approx(gap[L:].mean(), abs=1e-6)
                assert found.pre[o, kind, i, 0] == pytest.approx(gap[L - 7 : L].mean(), abs=1e-6)
                assert found.daily[o, kind, i] == pytest.approx(gap[L:], abs=1e-6)


def test_variance_of_means_of_independent_and_of_perfectly_remembered_days() -> None:
    rng = np.random.default_rng(0)
    independent = rng.normal(size=(400, 56))
    level = np.repeat(rng.normal(size=(400, 1)), 56, axis=1)

    assert variance_of_means(independent, 14) == pytest.approx(1 / np.arange(1, 15), rel=0.15)
    assert variance_of_means(level, 14)[-1] == pytest.approx(variance_of_means(level, 1)[0], rel=0.25)


def test_the_answer_is_the_same_every_time() -> None:
    Y = make_panel(11)

    one, other = compare(Y, None, DESIGN), compare(Y.copy(), None, DESIGN)

    assert one is not None
    assert other is not None
    assert (one.tau, one.p_value, one.interval(0.05)) == (other.tau, other.p_value, other.interval(0.05))
