"""The gap between every unit and its synthetic control, at every placebo date, in one compiled pass.

On the scale of `adsml_impact.models.relative`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_impact.models.relative import change_from_baseline, to_relative
from adsml_impact.models.simplex import minimise_on_simplex

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNIFORM: Final = 0
RIDGE: Final = 1
SIMPLEX: Final = 2
KINDS: Final = 3
"""Donor weights: all equal; simplex least squares with the ridge of synthetic DiD; without."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps of N units (row 0: the treated) at O dates; the last date is the change's own.

    All in relative units: 0.1 is 10% of the unit's baseline level, or 0.1 in the logarithm of a ratio.

    Attributes
    ----------
    post
        (O, KINDS, N): mean gap over the window after the date, against the baseline's level.
    pre
        (O, KINDS, N, F + 1): mean gap over the last days before the date, by number of days; the last column
        is the gap weighted by the unit's `lambda_`.
    daily
        (O, KINDS, N, H): gap on each day of the window after.
    scale
        (O, N): size that `post` has by chance, from how unsteady the gap was over the baseline.
    valid
        (O, N): whether the unit has a baseline level, a window after, and donors.
    omega
        (O, KINDS, N, N): donor weights, one unit a row.
    own_post, own_pre, own_daily
        (O, N), (O, N, F) and (O, N, H): the units' own changes after the date, over the windows before, and on
        each day after, without anything taken off: ``post = own_post - omega own_post``.
    own_weighted
        (O, N, N): change of unit j before the date by the time weights of unit i; zeros without time weights.
    relative
        (N, L + washout + H): the units around the last date, weekday-adjusted.
    weekday
        (7,): what was taken off the treated by position of the day in the week (day index modulo 7).
    """

    post: FloatArray
    pre: FloatArray
    daily: FloatArray
    scale: FloatArray
    valid: BoolArray
    omega: FloatArray
    own_post: FloatArray
    own_pre: FloatArray
    own_daily: FloatArray
    own_weighted: FloatArray
    relative: FloatArray
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
    post: FloatArray,
    pre: FloatArray,
    daily: FloatArray,
    scale: FloatArray,
    valid: BoolArray,
    omega: FloatArray,
    own_post: FloatArray,
    own_pre: FloatArray,
    own_daily: FloatArray,
    own_weighted: FloatArray,
    relative: FloatArray,
    weekday: FloatArray,
) -> None:
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
    *,
    origins: IntArray,
    lengths: IntArray,
    horizon: int,
    washout: int = 0,
    observed: bool = True,
    weekly: bool = True,
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
    origins
        (O,) first day index of each (pseudo) change, rising; the last is the change's own.
    lengths
        (O,) days of baseline before each; weekdays are adjusted for where they are whole weeks, two or more.
    horizon, washout
        H days compared, after `washout` days left out.
    observed
        Whether the days after the last date are there (False: a planned change).
    weekly
        Whether periods are days, so that weekdays can be adjusted for.
    windows
        Numbers of days before the date over which mean gaps are wanted.
    kinds
        Donor weights to compute.
    lambda_
        (O, N, longest baseline): weights of the baseline's days by unit, for the last column of `Gaps.pre`,
        which is else 0.
    """
    N, T = numerator.shape
    dates, F, L = origins.size, len(windows), int(lengths[-1])
    if not (origins - lengths >= 0).all() or origins[-1] + (washout + horizon if observed else 0) > T:
        raise ValueError("a date needs its baseline before and its window after inside the data")
    wanted = np.zeros(KINDS, dtype=np.bool_)
    wanted[list(kinds)] = True
    out = Gaps(
        post=np.zeros((dates, KINDS, N)),
        pre=np.zeros((dates, KINDS, N, F + 1)),
        daily=np.zeros((dates, KINDS, N, horizon)),
        scale=np.zeros((dates, N)),
        valid=np.zeros((dates, N), dtype=np.bool_),
        omega=np.zeros((dates, KINDS, N, N)),
        own_post=np.zeros((dates, N)),
        own_pre=np.zeros((dates, N, F)),
        own_daily=np.zeros((dates, N, horizon)),
        own_weighted=np.zeros((dates, N, N) if lambda_ is not None else (dates, 1, 1)),
        relative=np.zeros((N, L + (washout + horizon if observed else 0))),
        weekday=np.zeros(7),
    )
    _gaps(
        np.ascontiguousarray(numerator, dtype=np.float64),
        np.empty((0, 0)) if denominator is None else np.ascontiguousarray(denominator, dtype=np.float64),
        origins.astype(np.int64),
        lengths.astype(np.int64),
        washout,
        horizon,
        weekly,
        observed,
        np.array(windows, dtype=np.int64),
        wanted,
        np.empty((0, 0, 0)) if lambda_ is None else np.ascontiguousarray(lambda_),
        out.post,
        out.pre,
        out.daily,
        out.scale,
        out.valid,
        out.omega,
        out.own_post,
        out.own_pre,
        out.own_daily,
        out.own_weighted,
        out.relative,
        out.weekday,
    )
    return out
