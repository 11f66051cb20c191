"""The gap between every unit and its synthetic control, at every placebo date, in one compiled pass.

On the scale of `adsml_impact.models.relative`.
"""

from typing import Final, NamedTuple

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import BoolArray, FloatArray, IntArray
from adsml_impact.models.design import Dates, Design
from adsml_impact.models.relative import as_parts, change_from_baseline, to_relative
from adsml_impact.models.simplex import minimise_on_simplex

UNIFORM: Final = 0
RIDGE: Final = 1
SIMPLEX: Final = 2
KINDS: Final = 3
"""Donor weights: all equal; simplex least squares with the ridge of synthetic DiD; without."""


class Gaps(NamedTuple):
    """Gaps of N units (row 0: the treated) at O dates; the last date is the change's own.

    All in relative units: 0.1 is 10% of the unit's baseline level, or 0.1 in the logarithm of a ratio.
    """

    post: FloatArray  # (O, KINDS, N): mean gap over the window after the date, against the baseline's level
    # (O, KINDS, N, F + 1): mean gap over the last days before the date, by number of days; the last column is the gap
    # weighted by the unit's `lambda_`
    pre: FloatArray
    daily: FloatArray  # (O, KINDS, N, H): gap on each day of the window after
    # (O, N): size that `post` has by chance, from how unsteady the gap was over the baseline
    scale: FloatArray
    valid: BoolArray  # (O, N): whether the unit has a baseline level, a window after, and donors
    omega: FloatArray  # (O, KINDS, N, N): donor weights, one unit a row
    # (O, N), (O, N, F) and (O, N, H): the units' own changes after the date, over the windows before, and on each day
    # after, without anything taken off: `post = own_post - omega own_post`
    own_post: FloatArray
    own_pre: FloatArray
    own_daily: FloatArray
    # (O, N, N): change of unit j before the date by the time weights of unit i; zeros without time weights
    own_weighted: FloatArray
    relative: FloatArray  # (N, L + washout + H): the units around the last date, weekday-adjusted
    # (7,): what was taken off the treated by position of the day in the week (day index modulo 7)
    weekday: FloatArray


@compiled
def _block_scale(g: FloatArray, L: int, H: int) -> float:
    """Chance size of an H-day mean: half from the gap's daily spread, half from its H-day blocks."""
    daily = 0.0
    for d in range(L):
        daily += g[d] * g[d]
    daily /= L
    if L < H + 2:
        return float(np.sqrt(daily * (1.0 / H + 1.0 / L)))
    run = 0.0
    for d in range(H):
        run += g[d]
    blocks = run * run
    for d in range(H, L):
        run += g[d] - g[d - H]
        blocks += run * run
    blocks /= (L - H + 1) * H * H
    return float(np.sqrt(0.5 * (blocks + daily / H) * (1.0 + H / L)))


@compiled
def _gaps(  # noqa: PLR0912, PLR0915
    A: FloatArray,
    B: FloatArray,
    origins: IntArray,
    lengths: IntArray,
    washout: int,
    H: int,
    weekly: bool,
    observed: bool,
    windows: IntArray,
    kinds: BoolArray,
    lambda_: FloatArray,
    out: Gaps,
) -> None:
    (post, pre, daily, scale, valid, omega, own_post, own_pre, own_daily, own_weighted, relative, weekday) = (
        out
    )
    N = A.shape[0]
    F = windows.size
    W = np.zeros((KINDS, N, N))
    level = np.zeros(N)
    profile = np.zeros((N, 7))
    donors = np.zeros(N, np.bool_)
    for o in range(origins.size):
        t, L = origins[o], lengths[o]
        last = o == origins.size - 1
        seen = observed or not last
        days = washout + H if seen else 0
        r = np.zeros((N, L + days))
        to_relative(A, B, t, L, days, weekly, r, level, valid[o], profile)
        v = own_post[o]
        for i in range(N):
            if valid[o, i] and seen:
                v[i] = change_from_baseline(A, B, i, t, L, t + washout, H, r, profile)
                if np.isnan(v[i]):
                    valid[o, i] = False
                    v[i] = 0.0
                for d in range(H):
                    own_daily[o, i, d] = r[i, L + washout + d] - 1.0
        # A short baseline is fitted too well by many donors to tell how unsteady a gap is.
        scale_kind = RIDGE if kinds[RIDGE] and (L >= 28 or not kinds[UNIFORM]) else UNIFORM
        if not kinds[scale_kind]:
            scale_kind = SIMPLEX
        n_donors = 0
        for i in range(1, N):
            n_donors += 1 if valid[o, i] else 0
        for i in range(N):
            for f in range(F):
                back = min(windows[f], L)
                for d in range(L - back, L):
                    own_pre[o, i, f] += (r[i, d] - 1.0) / back if valid[o, i] else 0.0
            if lambda_.size > 0 and valid[o, i]:
                for j in range(N):
                    if valid[o, j]:
                        for d in range(L):
                            own_weighted[o, i, j] += lambda_[o, i, d] * (r[j, d] - 1.0)

        centred = np.zeros((N, L))
        G = np.zeros((N, N))
        for i in range(N):
            if not valid[o, i]:
                continue
            for d in range(L):
                centred[i, d] = r[i, d] - 1.0
            for j in range(i + 1):
                s = 0.0
                for d in range(L):
                    s += centred[i, d] * centred[j, d]
                G[i, j] = s
                G[j, i] = s
        # sigma_hat of synthetic DiD: spread of the donors' first differences.
        total = 0.0
        squares = 0.0
        count = 0
        for i in range(1, N):
            if valid[o, i]:
                for d in range(1, L):
                    step = centred[i, d] - centred[i, d - 1]
                    total += step
                    squares += step * step
                    count += 1
        sigma2 = max(squares / count - (total / count) ** 2, 0.0) if count > 0 else 0.0
        ridge = np.sqrt(H * 1.0) * sigma2 * L
        Gr = np.zeros((N, N))
        g = np.zeros(L)
        for i in range(N):
            for j in range(N):
                Gr[i, j] = G[i, j]
            Gr[i, i] += ridge

        for i in range(N):
            if not valid[o, i]:
                continue
            own = n_donors - (1 if i > 0 else 0)
            if own < 1:
                valid[o, i] = False
                continue
            for j in range(N):
                donors[j] = j > 0 and j != i and valid[o, j]
            for k in range(KINDS):
                if not kinds[k]:
                    continue
                w = W[k, i]
                if k == UNIFORM:
                    for j in range(N):
                        w[j] = 1.0 / own if donors[j] else 0.0
                else:
                    minimise_on_simplex(Gr if k == RIDGE else G, G[i], donors, w)
                for d in range(L):
                    g[d] = centred[i, d]
                gap = v[i]
                for j in range(N):
                    if w[j] > 0.0:
                        gap -= w[j] * v[j]
                        for d in range(L):
                            g[d] -= w[j] * centred[j, d]
                post[o, k, i] = gap
                for f in range(F):
                    s = own_pre[o, i, f]
                    for j in range(N):
                        s -= w[j] * own_pre[o, j, f]
                    pre[o, k, i, f] = s
                if lambda_.size > 0:
                    s = own_weighted[o, i, i]
                    for j in range(N):
                        s -= w[j] * own_weighted[o, i, j]
                    pre[o, k, i, F] = s
                if seen:
                    for d in range(H):
                        e = r[i, L + washout + d] - 1.0
                        for j in range(N):
                            if w[j] > 0.0:
                                e -= w[j] * (r[j, L + washout + d] - 1.0)
                        daily[o, k, i, d] = e
                if k == scale_kind:
                    scale[o, i] = _block_scale(g, L, H)
                for j in range(N):
                    omega[o, k, i, j] = w[j]
        if last:
            for p in range(7):
                weekday[p] = profile[0, p]
            for i in range(N):
                for d in range(L + days):
                    relative[i, d] = r[i, d]


def gaps(
    numerator: FloatArray,
    denominator: FloatArray | None,
    dates: Dates,
    design: Design,
    *,
    windows: tuple[int, ...],
    kinds: tuple[int, ...] = (UNIFORM, RIDGE, SIMPLEX),
    lambda_: FloatArray | None = None,
) -> Gaps:
    """Gaps of every unit at every date.

    The treated (row 0) is never anyone's donor, so that nothing here but its own last date depends on what
    the change did.

    Parameters
    ----------
    numerator, denominator
        (N, T) daily values, not negative; the denominator None for counts and money.
    windows
        Numbers of days before the date over which mean gaps are wanted.
    lambda_
        (O, N, longest baseline): weights of the baseline's days by unit, for the last column of `Gaps.pre`,
        which is else 0.
    """
    N, T = numerator.shape
    count, F, L, H = dates.origins.size, len(windows), int(dates.lengths[-1]), design.horizon
    if not (dates.origins - dates.lengths >= 0).all() or dates.origins[-1] + design.ahead > T:
        raise ValueError("a date needs its baseline before and its window after inside the data")
    wanted = np.zeros(KINDS, dtype=np.bool_)
    wanted[list(kinds)] = True
    out = Gaps(
        post=np.zeros((count, KINDS, N)),
        pre=np.zeros((count, KINDS, N, F + 1)),
        daily=np.zeros((count, KINDS, N, H)),
        scale=np.zeros((count, N)),
        valid=np.zeros((count, N), dtype=np.bool_),
        omega=np.zeros((count, KINDS, N, N)),
        own_post=np.zeros((count, N)),
        own_pre=np.zeros((count, N, F)),
        own_daily=np.zeros((count, N, H)),
        own_weighted=np.zeros((count, N, N) if lambda_ is not None else (count, 1, 1)),
        relative=np.zeros((N, L + design.ahead)),
        weekday=np.zeros(7),
    )
    _gaps(
        *as_parts(numerator, denominator),
        dates.origins,
        dates.lengths,
        design.washout,
        H,
        design.weekly,
        design.observed,
        np.array(windows, dtype=np.int64),
        wanted,
        np.empty((0, 0, 0)) if lambda_ is None else lambda_,
        out,
    )
    return out
