"""The minimum of a quadratic plus an absolute-value penalty, exactly, by feature-sign search.

Lee, Battle, Raina & Ng (2006), "Efficient sparse coding algorithms", NIPS 19, algorithm 1: guess which
coefficients are not zero and their signs, solve the smooth problem that is left, move towards its solution
up to the first coefficient that changes its sign, let that one go, and let in the one whose gradient most
exceeds the penalty when nothing changes its sign any more. Every step lowers the objective, so it ends.
"""

import math

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.prophet.posterior import compiled
from adsml_forecasting.models.series import Matrix, Vector

Indices = npt.NDArray[np.int64]

# A pivot this small beside its diagonal is a column that the ones before it explain, to rounding.
_DEPENDENT = 1e-13
# A gradient exceeds the penalty only beyond rounding.
_EXCESS = 1.0 + 1e-10


@compiled
def _factor(hessian: Matrix, order: Indices, done: int, active: int, out: Matrix) -> int:
    """Extend the Cholesky factor of ``hessian[order, order]`` from `done` to `active` rows.

    Returns the first row without a pivot, or -1.
    """
    for a in range(done, active):
        diagonal = hessian[order[a], order[a]]
        for b in range(a + 1):
            value = hessian[order[a], order[b]]
            for q in range(b):
                value -= out[a, q] * out[b, q]
            if b < a:
                out[a, b] = value / out[b, b]
            elif value > _DEPENDENT * diagonal:
                out[a, a] = math.sqrt(value)
            else:
                return a
    return -1


@compiled
def _solve(factor: Matrix, active: int, step: Vector) -> None:
    """Solve ``L L' step = step`` in place."""
    for a in range(active):
        value = step[a]
        for q in range(a):
            value -= factor[a, q] * step[q]
        step[a] = value / factor[a, a]
    for a in range(active - 1, -1, -1):
        value = step[a]
        for q in range(a + 1, active):
            value -= factor[q, a] * step[q]
        step[a] = value / factor[a, a]


@compiled
def _first_to_vanish(
    x: Vector, step: Vector, sign: Vector, order: Indices, n_smooth: int, active: int
) -> tuple[int, float]:
    """Place in `order` of the first coefficient to reach zero on the way, or -1, and the share of the way."""
    length = 1.0
    leaving = -1
    for a in range(n_smooth, active):
        j = order[a]
        if (x[j] + step[a]) * sign[j] <= 0.0:
            until = -x[j] / step[a] if step[a] != 0.0 else 0.0
            if until < length or leaving < 0:
                length = until
                leaving = a
    return leaving, length


@compiled
def _move(
    hessian: Matrix, order: Indices, active: int, step: Vector, length: float, x: Vector, gradient: Vector
) -> None:
    for a in range(active):
        x[order[a]] += length * step[a]
    for j in range(x.shape[0]):
        change = 0.0
        for a in range(active):
            change += hessian[j, order[a]] * step[a]
        gradient[j] += length * change


@compiled
def _most_violating(
    gradient: Vector,
    penalty: float,
    sign: Vector,
    barred: npt.NDArray[np.bool_],
    first: int,
    last: int,
) -> int:
    """The zero whose gradient most exceeds the penalty, or -1."""
    entering = -1
    largest = penalty * _EXCESS
    for j in range(first, last):
        if sign[j] == 0.0 and not barred[j] and abs(gradient[j]) > largest:
            largest = abs(gradient[j])
            entering = j
    return entering


@compiled
def minimise_sparse_quadratic(
    hessian: Matrix,
    gradient: Vector,
    penalty: float,
    smooth: Indices,
    first: int,
    last: int,
    convex: bool,
    x: Vector,
) -> bool:
    """Minimise ``g'd + d'Hd/2 + penalty * sum_j |x_j + d_j|``, first <= j < last, over ``d``, in place.

    `x`, shape (P,), holds where to start and is overwritten by the solution, whose zeros are exact; ``g`` by
    the quadratic's gradient there. `smooth` are coefficients without penalty that may move; others outside
    ``[first, last)`` stay as they are. `convex`: ``H`` is known to be positive semidefinite, so that a pivot
    that vanishes tells of a redundant coefficient, which stays at zero; else it tells that there may be no
    minimum. False where ``H`` is not positive definite on the coefficients met on the way; ``x`` and ``g`` then
    mean nothing.
    """
    size = x.shape[0]
    order = np.empty(size, np.int64)  # the coefficients that may move now, smooth ones first
    sign = np.zeros(size)
    barred = np.zeros(size, np.bool_)
    factor = np.empty((size, size))  # by rows: a row depends on those before it only
    step = np.empty(size)
    n_smooth = smooth.shape[0]
    active = n_smooth
    for a in range(n_smooth):
        order[a] = smooth[a]
    for j in range(first, last):
        if x[j] != 0.0:
            sign[j] = math.copysign(1.0, x[j])
            order[active] = j
            active += 1
    factored = 0
    # A bound against cycles of rounding; a search takes about as many rounds as coefficients enter.
    for _ in range(20 * size):
        dependent = _factor(hessian, order, factored, active, factor)
        if dependent >= 0:
            j = order[dependent]
            if not convex or dependent < n_smooth or x[j] != 0.0:
                return False
            barred[j] = True  # the newest: no other is still zero
            sign[j] = 0.0
            active -= 1
            factored = active
            continue
        factored = active
        for a in range(active):
            step[a] = -gradient[order[a]] - penalty * sign[order[a]]
        _solve(factor, active, step)
        leaving, length = _first_to_vanish(x, step, sign, order, n_smooth, active)
        _move(hessian, order, active, step, length, x, gradient)
        if leaving >= 0:
            j = order[leaving]
            x[j] = 0.0
            sign[j] = 0.0
            if length == 0.0:
                barred[j] = True  # let in and out again at once: rounding, not descent
            active -= 1
            for a in range(leaving, active):
                order[a] = order[a + 1]
            factored = leaving
            continue
        entering = _most_violating(gradient, penalty, sign, barred, first, last)
        if entering < 0:
            break
        sign[entering] = -math.copysign(1.0, gradient[entering])
        order[active] = entering
        active += 1
    return True
