"""Least squares on the simplex, exactly: the inner problem of every synthetic control.

    minimise  1/2 w' G w - c' w   over  w >= 0, sum(w) = 1

with G = A'A (+ zeta^2 I) and c = A'b. A primal active-set method: on the current support the equality
constrained problem is solved by Cholesky factors; a step that would leave the simplex is cut short and the
weight that hits 0 leaves; at a minimum of the support the variable with the most negative reduced
gradient enters; when there is none, the Karush-Kuhn-Tucker conditions hold and the point is the minimiser.
It is the minimum-norm-point algorithm of Wolfe (1976, Mathematical Programming 11:128-149), including his
trick of adding a constant to G, which changes nothing on the simplex and keeps the factors definite for any
affinely independent support. It ends after finitely many supports; some 15 for 40 donors.
"""

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import BoolArray, FloatArray

_TOLERANCE = 1e-10


@compiled
def minimise_on_simplex(G: FloatArray, c: FloatArray, allowed: BoolArray, w: FloatArray) -> int:  # noqa: PLR0912, PLR0915
    """Minimise ``1/2 w'Gw - c'w`` over the simplex; called from compiled code.

    G (N, N) is symmetric, positive semidefinite; at least one weight is `allowed` to differ from 0. `w` (N,) is on
    entry a first guess (its support is tried first) or zeros, on return the minimiser. Returns the number of supports
    that were tried, or -1 if rounding kept it from the optimum after ``20 N + 50``.
    """
    N = c.size
    shift = max(np.abs(np.diag(G)).sum() / N, 1e-300)
    support = np.empty(N, np.int64)
    factor = np.empty((N, N))
    x = np.empty(N)
    ones = np.empty(N)

    k = 0
    for i in range(N):
        if not allowed[i] or w[i] <= 0.0:
            w[i] = 0.0
        else:
            support[k] = i
            k += 1
    if k == 0:
        best = -1
        for i in range(N):
            if allowed[i] and (best < 0 or 0.5 * G[i, i] - c[i] < 0.5 * G[best, best] - c[best]):
                best = i
        support[0] = best
        w[best] = 1.0
        k = 1
    w /= w.sum()

    entered = -1
    for step in range(20 * N + 50):
        # Cholesky factor of the support's block, and the solutions for c and for ones.
        definite = True
        for i in range(k):
            si = support[i]
            for j in range(i + 1):
                s = G[si, support[j]] + shift
                for m in range(j):
                    s -= factor[i, m] * factor[j, m]
                if i == j:
                    if s <= 1e-14 * shift:
                        definite = False
                        break
                    factor[i, i] = np.sqrt(s)
                else:
                    factor[i, j] = s / factor[j, j]
            if not definite:
                break
            a = c[si]
            b = 1.0
            for m in range(i):
                a -= factor[i, m] * x[m]
                b -= factor[i, m] * ones[m]
            x[i] = a / factor[i, i]
            ones[i] = b / factor[i, i]

        if not definite:
            # Affinely dependent: the same fit with one donor fewer. The newcomer goes, or else the lightest.
            leaves = 0
            for m in range(k):
                if support[m] == entered or (
                    support[leaves] != entered and w[support[m]] < w[support[leaves]]
                ):
                    leaves = m
            if support[leaves] == entered:
                return step + 1
            w[support[leaves]] = 0.0
            for m in range(leaves, k - 1):
                support[m] = support[m + 1]
            k -= 1
            w /= w[support[:k]].sum()
            continue

        for i in range(k - 1, -1, -1):
            a = x[i]
            b = ones[i]
            for m in range(i + 1, k):
                a -= factor[m, i] * x[m]
                b -= factor[m, i] * ones[m]
            x[i] = a / factor[i, i]
            ones[i] = b / factor[i, i]
        mu = (x[:k].sum() - 1.0) / ones[:k].sum()
        length = 1.0
        for m in range(k):
            x[m] -= mu * ones[m]
            if x[m] <= 0.0:
                here = w[support[m]]
                length = min(length, here / (here - x[m]) if here > x[m] else 0.0)

        if length >= 1.0:
            for m in range(k):
                w[support[m]] = x[m]
            best = -1
            steepest = -_TOLERANCE * shift
            for j in range(N):
                if allowed[j] and w[j] == 0.0:
                    reduced = mu - c[j]
                    for m in range(k):
                        reduced += (G[j, support[m]] + shift) * w[support[m]]
                    if reduced < steepest:
                        steepest = reduced
                        best = j
            if best < 0 or best == entered:
                return step + 1
            support[k] = best
            k += 1
            entered = best
        else:
            kept = 0
            for m in range(k):
                j = support[m]
                w[j] += length * (x[m] - w[j])
                if w[j] <= 1e-14:
                    w[j] = 0.0
                else:
                    support[kept] = j
                    kept += 1
            if kept == 0:
                support[0] = entered
                w[entered] = 1.0
                kept = 1
            k = kept
            entered = -1
    return -1


def simplex_least_squares(
    A: FloatArray, b: FloatArray, *, zeta2: float = 0.0, intercept: bool = False
) -> FloatArray:
    """Weights of the convex combination of columns that comes nearest to a vector.

    ``argmin_w |A w (+ w0) - b|^2 + zeta2 |w|^2``  over  ``w >= 0``, ``sum(w) = 1``; with `intercept` a free w0.
    A is (T, N), b (T,). Exact to rounding; where the minimiser is not unique, one with few donors.

    Raises
    ------
    ValueError
        If there is no donor, a value is not finite, or shapes differ.
    """
    A, b = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if A.ndim != 2 or b.shape != A.shape[:1] or A.shape[1] == 0:
        raise ValueError(f"expected A of shape (T, N >= 1) and b of shape (T,); got {A.shape} and {b.shape}")
    if not (np.isfinite(A).all() and np.isfinite(b).all()):
        raise ValueError("A and b must be finite")
    if intercept:
        A, b = A - A.mean(axis=0), b - b.mean()
    w = np.zeros(A.shape[1])
    minimise_on_simplex(A.T @ A + zeta2 * np.eye(A.shape[1]), A.T @ b, np.ones(A.shape[1], dtype=np.bool_), w)
    return w
