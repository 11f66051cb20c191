import numpy as np
import pytest
from adsml_anomaly.models import survival
from adsml_anomaly.models.survival import LOG_P

Z, _, _, EVIDENCE = survival.references(1, 4)


def test_without_own_scores_the_parent_speaks() -> None:
    parent = Z
    assert survival.learn([], parent, parent_days=10) is parent


def test_of_new_ordinary_days_as_many_are_flagged_as_asked() -> None:
    rng = np.random.default_rng(0)
    curve = survival.learn(rng.exponential(size=4000), EVIDENCE, parent_days=30)
    new = curve.log_p(rng.exponential(size=200_000))
    for p in (0.3, 1 / 30, 0.01, 0.003):
        # 4,000 scores place a quantile of tail p to about 1 / sqrt(4000 p) relative.
        assert (new <= np.log10(p)).mean() == pytest.approx(p, rel=3 / np.sqrt(4000 * p))


def test_few_own_scores_leave_no_end_of_resolution() -> None:
    rng = np.random.default_rng(1)
    curve = survival.learn(np.abs(rng.normal(size=25)), Z, parent_days=200)
    assert curve.log_p(12.0) < -4
    assert curve.log_p(2.0) == pytest.approx(np.log10(0.06), abs=0.25)


def test_a_score_just_above_all_held_out_ones_is_no_certainty() -> None:
    own = np.abs(np.random.default_rng(2).normal(size=1000))
    curve = survival.learn(own, Z, parent_days=1)
    assert curve.log_p(own.max() + 0.01) > np.log10(1 / 1000) - 0.7


def test_score_is_the_inverse_and_the_curve_never_rises() -> None:
    curve = survival.learn(np.random.default_rng(3).gamma(2, size=500), Z, parent_days=50)
    at = np.linspace(0, 40, 500)
    assert (np.diff(curve.log_p(at)) <= 0).all()
    for log_p in (-0.5, -1.477, -3.0, -6.0):
        assert curve.log_p(curve.score(log_p)) == pytest.approx(log_p, abs=1e-6)
    assert curve.scores.size == LOG_P.size


def test_unknown_stays_unknown() -> None:
    assert np.isnan(Z.log_p(np.nan))
