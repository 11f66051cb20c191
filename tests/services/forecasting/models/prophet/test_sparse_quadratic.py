"""The sparse quadratic is solved exactly: what characterises a minimum holds, for any problem."""

import numpy as np
import pytest
from adsml_forecasting.models.prophet.sparse_quadratic import minimise_sparse_quadratic
from hypothesis import given, settings
from hypothesis import strategies as st


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 12),
    smooth=st.integers(0, 3),
    penalty=st.floats(0.01, 20.0),
    warm=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_solution_satisfies_the_optimality_conditions(
    seed: int, size: int, smooth: int, penalty: float, warm: bool
) -> None:
    rng = np.random.default_rng(seed)
    total = size + smooth
    root = rng.normal(size=(total + 2, total))
    hessian = root.T @ root + 1e-3 * np.eye(total)
    start = np.where(rng.random(total) < 0.5, 0.0, rng.normal(size=total)) if warm else np.zeros(total)
    slope = 5 * rng.normal(size=total)
    x, gradient = start.copy(), slope.copy()
    assert minimise_sparse_quadratic(hessian, gradient, penalty, np.arange(smooth), smooth, total, True, x)
    at_solution = slope + hessian @ (x - start)
    scale = penalty + np.abs(slope).max()
    np.testing.assert_allclose(gradient, at_solution, atol=1e-8 * scale)
    np.testing.assert_allclose(at_solution[:smooth], 0.0, atol=1e-8 * scale)
    kinked, value = at_solution[smooth:], x[smooth:]
    np.testing.assert_allclose(kinked[value != 0], -penalty * np.sign(value[value != 0]), atol=1e-8 * scale)
    assert (np.abs(kinked[value == 0]) <= penalty + 1e-8 * scale).all()


def test_one_coefficient_is_soft_thresholding() -> None:
    for slope, expected in ((-3.0, 1.0), (0.5, 0.0), (4.0, -1.5)):
        x, gradient = np.zeros(1), np.array([slope])
        assert minimise_sparse_quadratic(
            np.array([[2.0]]), gradient, 1.0, np.empty(0, np.int64), 0, 1, True, x
        )
        assert x[0] == pytest.approx(expected)


def test_equal_columns_share_nothing_and_do_no_harm() -> None:
    column = np.array([1.0, 2.0, 3.0])
    design = np.stack([column, column], axis=1)
    x, gradient = np.zeros(2), -design.T @ np.array([1.0, 2.0, 2.0])
    assert minimise_sparse_quadratic(design.T @ design, gradient, 0.5, np.empty(0, np.int64), 0, 2, True, x)
    # One coefficient alone: (column . y - penalty) / column . column
    np.testing.assert_allclose(np.sort(x), [0.0, (11.0 - 0.5) / 14.0])


def test_indefinite_is_told() -> None:
    hessian = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert not minimise_sparse_quadratic(
        hessian, np.array([-1.0, 1.0]), 0.1, np.arange(2), 2, 2, False, np.zeros(2)
    )
