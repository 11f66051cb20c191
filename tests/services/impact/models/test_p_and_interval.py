"""The interval excludes 0 exactly when p < alpha: for every estimator, metric kind and level."""

import numpy as np
import pytest
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.design import Design
from adsml_impact.models.effect import measure
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.own_past import compare_with_own_past
from adsml_impact.models.reference import Empirical, Student
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.impact import make_panel

ALPHAS = (0.001, 0.01, 0.05, 0.1, 0.2)


def _consistent(
    found: Comparison, numerator: np.ndarray, denominator: np.ndarray | None, design: Design
) -> None:
    for alpha in ALPHAS:
        low, high = found.interval(alpha)
        assert (found.p_value < alpha) == (not low <= 0 <= high)
    effect = measure(numerator, denominator, scale=1.0, design=design, comparison=found)
    for interval in (effect.absolute_interval, effect.relative_interval):
        assert (found.p_value < design.alpha) == (not interval.lower <= 0 <= interval.upper)
        assert interval.lower <= interval.upper
    assert effect.absolute_interval.lower <= effect.absolute <= effect.absolute_interval.upper


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    units=st.sampled_from([2, 3, 5, 12, 25]),
    days=st.integers(14, 110),
    lift=st.floats(0.5, 2.0),
    estimator=st.sampled_from([None, *Estimator]),
    ratio=st.booleans(),
)
def test_they_cannot_contradict(
    seed: int, units: int, days: int, lift: float, estimator: Estimator | None, ratio: bool
) -> None:
    Y = make_panel(seed, units=units, days=days)
    Y[0, days - 7 :] *= lift
    B = make_panel(seed + 1, units=units, days=days) if ratio else None
    design = Design(change=days - 7, before=min(7, days - 7), baseline=min(56, days - 7), estimator=estimator)
    if estimator is Estimator.STRUCTURAL:
        found = compare_with_own_past(Y[:2], None if B is None else B[:2], design)
    else:
        found = compare(Y, B, design)

    assert found is not None
    _consistent(found, Y[0], None if B is None else B[0], design)


@given(st.lists(st.floats(0, 100), min_size=0, max_size=200), st.floats(-200, 200), st.floats(0.001, 0.2))
def test_ranks(sizes: list[float], s: float, alpha: float) -> None:
    reference = Empirical(np.sort(np.array(sizes)))

    p = reference.p_value(s)

    assert p == (1 + sum(size >= abs(s) for size in sizes)) / (1 + len(sizes))
    assert (p < alpha) == (abs(s) > reference.critical(alpha))
    assert reference.smallest <= p <= 1


@pytest.mark.parametrize("df", [1.5, 4.0, 30.0])
def test_student_is_students_t(df: float) -> None:
    reference = Student(scale=2.0, df=df)

    assert reference.p_value(3.0) == pytest.approx(2 * stats.t.sf(1.5, df))
    assert reference.critical(0.05) == pytest.approx(2 * stats.t.ppf(0.975, df))
    assert reference.p_value(reference.critical(0.05)) == pytest.approx(0.05)


def test_power_of_ranks_rises_from_alpha_to_one() -> None:
    reference = Empirical(np.sort(np.abs(np.random.default_rng(0).normal(size=2000))))

    power = [reference.power(shift, 0.05) for shift in (0.0, 1.0, 2.0, 2.8, 4.0, 8.0)]

    assert power[0] == pytest.approx(0.05, abs=0.002)
    assert power == sorted(power)
    assert power[3] == pytest.approx(0.80, abs=0.03)  # two-sided normal test: 1.96 + 0.84 = 2.80
    assert power[-1] == 1.0
