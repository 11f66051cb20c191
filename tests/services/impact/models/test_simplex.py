"""Exactness of the solver: no other solver is trusted, the optimality conditions are checked."""

import numpy as np
import pytest
from adsml_impact.models.simplex import minimise_on_simplex, simplex_least_squares
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize


def _problem(
    seed: int, *, T: int, N: int, rank: int, noise: float, repeat: bool
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(T, rank)) @ rng.normal(size=(rank, N)) + noise * rng.normal(size=(T, N))
    if repeat:
        A = A[:, rng.integers(0, N, N)]
    return A, rng.normal(size=T)


@given(
    seed=st.integers(0, 10_000),
    T=st.integers(1, 60),
    N=st.integers(1, 60),
    rank=st.integers(1, 5),
    noise=st.sampled_from([0.0, 1e-3, 1.0]),
    zeta2=st.sampled_from([0.0, 0.0, 1.0]),
    repeat=st.booleans(),
)
def test_optimality_conditions_hold(
    seed: int, T: int, N: int, rank: int, noise: float, zeta2: float, repeat: bool
) -> None:
    A, b = _problem(seed, T=T, N=N, rank=rank, noise=noise, repeat=repeat)

    w = simplex_least_squares(A, b, zeta2=zeta2)

    assert w.min() >= 0
    assert w.sum() == pytest.approx(1, abs=1e-9)
    # The Frank-Wolfe gap bounds how far the objective can be above its minimum.
    scale = float(b @ b) + float((A**2).sum(axis=0).max())
    g = (A.T @ A + zeta2 * np.eye(N)) @ w - A.T @ b
    assert g @ w - g.min() <= 1e-8 * scale


def test_agrees_with_a_general_solver() -> None:
    A, b = _problem(3, T=40, N=8, rank=3, noise=0.5, repeat=False)
    found = minimize(
        lambda w: float(((A @ w - b) ** 2).sum()),
        np.full(8, 1 / 8),
        jac=lambda w: 2 * A.T @ (A @ w - b),
        method="SLSQP",
        bounds=[(0, 1)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )

    assert simplex_least_squares(A, b) == pytest.approx(found.x, abs=1e-5)


def test_a_target_inside_the_hull_is_met() -> None:
    rng = np.random.default_rng(0)
    A, true = rng.normal(size=(30, 4)), np.array([0.1, 0.2, 0.3, 0.4])

    assert simplex_least_squares(A, A @ true) == pytest.approx(true, abs=1e-9)


def test_intercept_takes_a_difference_of_level() -> None:
    rng = np.random.default_rng(0)
    A, true = rng.normal(size=(30, 3)), np.array([0.5, 0.5, 0.0])

    assert simplex_least_squares(A, A @ true + 100, intercept=True) == pytest.approx(true, abs=1e-9)
    assert simplex_least_squares(A, A @ true + 100) != pytest.approx(true, abs=1e-3)


def test_a_strong_ridge_spreads_the_weights_evenly() -> None:
    A, b = _problem(1, T=20, N=5, rank=2, noise=1.0, repeat=False)

    assert simplex_least_squares(A, b, zeta2=1e9) == pytest.approx(np.full(5, 0.2), abs=1e-6)


def test_a_first_guess_changes_nothing_but_the_work() -> None:
    A, b = _problem(7, T=56, N=40, rank=4, noise=1.0, repeat=False)
    G, c, allowed = A.T @ A, A.T @ b, np.ones(40, dtype=bool)
    cold, warm = np.zeros(40), np.random.default_rng(0).dirichlet(np.ones(40))

    minimise_on_simplex(G, c, allowed, cold)
    minimise_on_simplex(G, c, allowed, warm)
    steps = minimise_on_simplex(G, c, allowed, again := cold.copy())

    assert warm == pytest.approx(cold, abs=1e-9)
    assert again == pytest.approx(cold, abs=1e-12)
    assert steps == 1


def test_forbidden_donors_get_nothing() -> None:
    A, b = _problem(2, T=30, N=6, rank=3, noise=1.0, repeat=False)
    allowed = np.array([True, False, True, True, False, True])
    w = np.full(6, 1 / 6)

    minimise_on_simplex(A.T @ A, A.T @ b, allowed, w)

    assert (w[~allowed] == 0).all()
    assert w[allowed] == pytest.approx(simplex_least_squares(A[:, allowed], b), abs=1e-9)


@pytest.mark.parametrize(
    ("A", "b"),
    [
        (np.zeros((3, 0)), np.zeros(3)),
        (np.zeros((3, 2)), np.zeros(4)),
        (np.array([[1.0, np.nan]]), np.zeros(1)),
    ],
)
def test_refuses_what_it_cannot_solve(A: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected A|finite"):
        simplex_least_squares(A, b)
