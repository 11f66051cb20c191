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
from adsml_impact.models.time_weights import fit_time_weights

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
    # by the unit's time weights
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
    timed: bool,
    out: Gaps,
) -> None:
    (post, pre, daily, scale, valid, omega, own_post, own_pre, own_daily, own_weighted, relative, weekday) = (
        out
    )
    N, F = A.shape[0], windows.size
    W = np.zeros((KINDS, N, N))
    profile = np.zeros((N, 7))
    for o in range(origins.size):
        t, L = origins[o], lengths[o]
        last = o == origins.size - 1
        seen = observed or not last
        r = np.zeros((N, L + (washout + H if seen else 0)))
        to_relative(A, B, t, L, r.shape[1] - L, weekly, r, valid[o], profile)
        # What a unit did, side by side: on the baseline's days, over the windows before and by time weights, after, and
        # on each day after.
        x = np.zeros((N, L + F + 2 + H))
        for i in range(N):
            if valid[o, i] and seen:
                own_post[o, i] = change_from_baseline(A, B, i, t, L, washout, H, r, profile)
                own_daily[o, i] = r[i, L + washout :] - 1.0
                if np.isnan(own_post[o, i]):
                    valid[o, i] = False
                    own_post[o, i] = 0.0
            if valid[o, i]:
                x[i, :L] = r[i, :L] - 1.0
                for f in range(F):
                    back = min(windows[f], L)
                    own_pre[o, i, f] = (x[i, L - back : L] / back).sum()
                x[i, L : L + F] = own_pre[o, i]
                x[i, L + F + 1] = own_post[o, i]
                x[i, L + F + 2 :] = own_daily[o, i]
        time_weights = np.zeros(L)
        for i in range(N if timed else 0):
            lambda_ = np.full(L, 1.0 / L)
            donors = valid[o].copy()
            donors[0] = donors[i] = False
            if observed and np.count_nonzero(donors) >= 2:
                fit_time_weights(r, own_post[o], donors, time_weights)
                lambda_[:] = time_weights
            for j in range(N if valid[o, i] else 0):
                own_weighted[o, i, j] = (lambda_ * x[j, :L]).sum()
        # A short baseline is fitted too well by many donors to tell how unsteady a gap is.
        scale_kind = RIDGE if kinds[RIDGE] and (L >= 28 or not kinds[UNIFORM]) else UNIFORM
        if not kinds[scale_kind]:
            scale_kind = SIMPLEX
        G = np.zeros((N, N))
        for i in range(N):
            for j in range(i + 1):
                s = 0.0
                for d in range(L):
                    s += x[i, d] * x[j, d]
                G[i, j] = G[j, i] = s
        # sigma_hat of synthetic DiD: spread of the donors' first differences.
        rows = x[1:, :L][valid[o, 1:]]
        steps = rows[:, 1:] - rows[:, :-1]
        sigma2 = 0.0
        if steps.size > 0:
            sigma2 = max((steps * steps).sum() / steps.size - (steps.sum() / steps.size) ** 2, 0.0)
        Gr = G + np.sqrt(H * 1.0) * sigma2 * L * np.eye(N)

        for i in range(N):
            donors = valid[o].copy()
            donors[0] = donors[i] = False
            valid[o, i] = valid[o, i] and donors.any()
            if not valid[o, i]:
                continue
            x[:, L + F] = own_weighted[o, i]
            for k in range(KINDS):
                if not kinds[k]:
                    continue
                w = W[k, i]
                if k == UNIFORM:
                    w[:] = np.where(donors, 1.0 / np.count_nonzero(donors), 0.0)
                else:
                    minimise_on_simplex(Gr if k == RIDGE else G, G[i], donors, w)
                gap = x[i].copy()
                for j in range(N):
                    if w[j] > 0.0:
                        for d in range(gap.size):
                            gap[d] -= w[j] * x[j, d]
                pre[o, k, i] = gap[L : L + F + 1]
                post[o, k, i] = gap[L + F + 1]
                daily[o, k, i] = gap[L + F + 2 :]
                omega[o, k, i] = w
                if k == scale_kind:
                    scale[o, i] = _block_scale(gap, L, H)
        if last:
            weekday[:] = profile[0]
            relative[:] = r


def gaps(
    numerator: FloatArray,
    denominator: FloatArray | None,
    dates: Dates,
    design: Design,
    *,
    windows: tuple[int, ...],
    kinds: tuple[int, ...] = (UNIFORM, RIDGE, SIMPLEX),
    timed: bool = False,
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
    timed
        Whether the time weights of synthetic DiD are wanted: the last column of `Gaps.pre` is else 0. They are uniform
        where fewer than two controls are left, or the days after are not there yet.
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
        own_weighted=np.zeros((count, N, N)),
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
        timed,
        out,
    )
    return out
