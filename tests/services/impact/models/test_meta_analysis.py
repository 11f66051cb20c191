"""Pooling: against closed forms, and calibrated on simulated truth."""

from datetime import date, timedelta

import numpy as np
import pytest
from adsml_impact.models.meta_analysis import Estimate, covariance, pool, probability_below
from scipy import stats

DAY = date(2024, 1, 1)


def _estimate(effect: float, error: float, *, at: int, unit: str, correlation: float = 0.0) -> Estimate:
    return Estimate(
        effect=effect,
        error=error,
        group="1",
        unit=unit,
        first=DAY + timedelta(days=at),
        last=DAY + timedelta(days=at + 6),
        correlation=correlation,
    )


def _apart(effects: np.ndarray, errors: np.ndarray) -> list[Estimate]:
    return [
        _estimate(float(y), float(e), at=20 * k, unit=str(k))
        for k, (y, e) in enumerate(zip(effects, errors, strict=True))
    ]


def test_estimates_that_agree_are_averaged_by_their_precision() -> None:
    pooled = pool(_apart(np.array([-0.2, -0.3]), np.array([0.1, 0.2])))
    assert pooled.mean == pytest.approx((-0.2 * 100 - 0.3 * 25) / 125)
    assert pooled.tau == 0
    se = 1 / np.sqrt(125)
    assert (pooled.lower, pooled.upper) == pytest.approx(
        (pooled.mean - 1.96 * se, pooled.mean + 1.96 * se), abs=1e-3
    )


def test_tau_is_that_of_restricted_maximum_likelihood() -> None:
    """With equal errors it has a closed form: the sample variance less the errors' (Viechtbauer 2005)."""
    y = np.array([-0.6, -0.1, 0.3, -0.4, 0.5])
    pooled = pool(_apart(y, np.full(5, 0.1)))
    assert pooled.tau**2 == pytest.approx(y.var(ddof=1) - 0.01, rel=0.05)
    assert pooled.i_squared == pytest.approx(1 - 4 / (y.var(ddof=1) * 4 / 0.01), abs=1e-6)


def test_the_interval_excludes_0_exactly_when_p_is_below_alpha() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(2, 8))
        pooled = pool(_apart(rng.normal(-0.2, 0.2, k), rng.uniform(0.1, 0.3, k)), alpha=0.1)
        assert (pooled.p_value < 0.1) == (not pooled.lower <= 0 <= pooled.upper)


def test_errors_on_the_same_days_are_shared_and_those_of_one_series_are_one() -> None:
    same = [_estimate(0, 0.2, at=0, unit=name, correlation=0.5) for name in ("a", "b")]
    assert covariance(same)[0, 1] == pytest.approx(0.5 * 0.04)
    later = [
        _estimate(0, 0.2, at=0, unit="a", correlation=0.5),
        _estimate(0, 0.2, at=7, unit="b", correlation=0.5),
    ]
    assert covariance(later)[0, 1] == 0
    twice = [_estimate(-0.3, 0.2, at=0, unit="account") for _ in range(3)]
    assert pool(twice).p_value == pytest.approx(2 * stats.norm.sf(0.3 / 0.2), rel=0.02)


def test_pooled_false_positives_and_power() -> None:
    """Nothing happened: .03 to .07. Three like changes of -35%: what one shows in .6 of cases shows in most."""
    rng = np.random.default_rng(1)
    hits = {0.0: [], np.log(0.65): []}  # type: ignore[var-annotated]
    for true, found in hits.items():
        for _ in range(600):
            k = 3 if true else int(rng.integers(2, 8))
            errors = 0.19 * np.exp(rng.normal(0, 0.2, k))
            found.append(pool(_apart(true + errors * rng.normal(size=k), errors)).p_value < 0.05)
    assert 0.02 <= np.mean(hits[0.0]) <= 0.07
    assert np.mean(hits[np.log(0.65)]) > 0.8


def test_of_changes_said_to_have_helped_with_80_percent_as_many_did() -> None:
    rng = np.random.default_rng(2)
    said, true = [], []
    for _ in range(500):
        k = int(rng.integers(2, 10))
        thetas = rng.normal(0, 0.2) + abs(rng.normal(0, 0.2)) * rng.normal(size=k)
        errors = 0.19 * np.exp(rng.normal(0, 0.2, k))
        pooled = pool(_apart(thetas + errors * rng.normal(size=k), errors))
        said += list(pooled.probabilities_below)
        true += list(thetas < 0)
    about = np.abs(np.array(said) - 0.8) < 0.05
    assert about.sum() > 100
    assert np.mean(np.array(true)[about]) == pytest.approx(0.8, abs=0.08)


def test_the_probability_of_a_single_change_is_calibrated() -> None:
    rng = np.random.default_rng(3)
    thetas = rng.normal(0, 0.25, 20_000)
    estimates = thetas + 0.2 * rng.normal(size=thetas.size)
    said = np.array([probability_below(float(y), 0.2) for y in estimates])
    about = np.abs(said - 0.8) < 0.05
    assert np.mean(thetas[about] < 0) == pytest.approx(0.8, abs=0.03)
    assert probability_below(0.0, 0.2) == pytest.approx(0.5)
