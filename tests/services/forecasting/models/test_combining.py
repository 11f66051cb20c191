"""Combiners and the ensemble, with and without members that fail."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory
from adsml_forecasting.models import methods
from adsml_forecasting.models.calibration import (
    Combiner,
    Weights,
    combine,
    inverse_mape,
    stacking_weights,
)
from adsml_forecasting.models.method import CLASSIC
from adsml_forecasting.models.prediction import forecast_ensemble
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forecasting import series, weekly

P, E, L = CLASSIC
Matrix = npt.NDArray[np.float64]


def test_inverse_mape_by_hand() -> None:
    actual = np.array([10.0, 20.0, 0.0, np.nan])
    said = {P: np.array([11.0, 22.0, 5.0, 1.0]), E: np.array([12.0, 24.0, 5.0, 1.0])}
    # MAPE over the two days above 0: 10% and 20%, so that Prophet counts twice as much.
    found = inverse_mape(actual, said)
    assert found.weights[P] == pytest.approx(2 / 3)
    assert found.weights[E] == pytest.approx(1 / 3)


def test_without_a_day_above_zero_all_count_alike_and_say_so() -> None:
    found = inverse_mape(np.zeros(3), {P: np.ones(3), E: np.zeros(3)})
    assert set(found.weights.values()) == {0.5}
    assert not found.calibrated


def test_the_weight_of_a_failed_member_goes_to_the_others() -> None:
    weights = Weights(Combiner.STACKED, {P: 0.5, E: 0.3, L: 0.2})
    point, used = combine(weights, {E: np.array([1.0]), L: np.array([2.0])})
    assert used == pytest.approx({E: 0.6, L: 0.4})
    assert point[0] == pytest.approx(1.4)


def test_stacking_finds_the_best_blend_of_independent_errors() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(20_000, 2)) * [1.0, 2.0]
    # Bates & Granger (1969): weights in inverse proportion to the variances, 4 : 1.
    np.testing.assert_allclose(stacking_weights(errors, shrinkage=0.0), [0.8, 0.2], atol=0.02)


def best_of_all_supports(errors: Matrix, shrinkage: float) -> Matrix:
    """The same weights by trying every set of members: on each, the equality-constrained minimum in closed form."""
    members = errors.shape[1]
    moments = errors.T @ errors / len(errors)
    whole = moments + shrinkage * np.trace(moments) / members * np.eye(members)
    best, least = np.full(members, 1 / members), np.inf
    for count in range(1, members + 1):
        for support in combinations(range(members), count):
            part = np.linalg.solve(whole[np.ix_(support, support)], np.ones(count))
            weights = np.zeros(members)
            weights[list(support)] = part / part.sum()
            if weights.min() >= 0 and weights @ whole @ weights < least:
                best, least = weights, weights @ whole @ weights
    return best


@given(st.integers(1, 7), st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 10_000), st.floats(-9, 9))
@settings(max_examples=60, deadline=None)
def test_stacking_is_the_optimum_over_every_set_of_members(
    members: int, shrinkage: float, seed: int, power: float
) -> None:
    rng = np.random.default_rng(seed)
    # What members have in common, and each one's own: from nearly the same to unlike one another.
    errors = rng.normal(size=(50, 1)) * rng.uniform(0, 3) + rng.normal(size=(50, members)) * rng.uniform(
        0.3, 2, members
    )
    found = stacking_weights(errors * 10.0**power, shrinkage=shrinkage)
    np.testing.assert_allclose(found, best_of_all_supports(errors, shrinkage), atol=1e-8)


def test_members_that_always_err_alike_share_their_weight() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 500))
    weights = stacking_weights(np.stack([one, one, other], axis=1))
    assert weights[0] == pytest.approx(weights[1])
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(stacking_weights(np.zeros((5, 4))), np.full(4, 0.25))


def broken(*_: object) -> object:
    raise RuntimeError("numbers ran out")


def test_the_classic_ensemble_survives_each_member_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = series(weekly(60, noise=0.05))
    for member in CLASSIC:
        with monkeypatch.context() as patched:
            patched.setitem(methods.METHODS, member, broken)
            found = forecast_ensemble(one, 7)
        failed = next(part for part in found.members if part.method is member)
        assert "numbers ran out" in failed.failure
        assert failed.weight == 0
        assert sum(part.weight for part in found.members) == pytest.approx(1)
        np.testing.assert_allclose(found.point, weekly(67)[60:], rtol=0.15)


def test_all_failing_names_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for member in CLASSIC:
        monkeypatch.setitem(methods.METHODS, member, broken)
    with pytest.raises(FailedPrecondition, match=r"numbers ran out.*numbers ran out.*numbers ran out"):
        forecast_ensemble(series(weekly(60)), 7)


def test_all_too_short_says_days_had_and_needed() -> None:
    with pytest.raises(InsufficientHistory) as caught:
        forecast_ensemble(series([1.0, 2.0]), 7)
    assert caught.value.metadata == {"days_had": "2", "days_needed": "3"}


def test_uncalibrated_is_equal_and_says_so() -> None:
    found = forecast_ensemble(series(weekly(20, noise=0.05)), 7)
    assert not found.weights.calibrated
    assert [member.weight for member in found.members] == pytest.approx([1 / 3] * 3)
