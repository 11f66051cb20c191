"""Weights on the days before a date: the lambda of synthetic difference-in-differences, by unit and date."""

import numpy as np
from adsml_common.compiled import compiled

from adsml_impact.models.arrays import FloatArray, IntArray
from adsml_impact.models.design import Dates, Design
from adsml_impact.models.relative import as_parts, change_from_baseline, to_relative
from adsml_impact.models.simplex import minimise_on_simplex


@compiled
def _time_weights(  # noqa: PLR0912
    A: FloatArray,
    B: FloatArray,
    origins: IntArray,
    lengths: IntArray,
    washout: int,
    H: int,
    weekly: bool,
    out: FloatArray,
) -> None:
    N = A.shape[0]
    for o in range(origins.size):
        t, L = origins[o], lengths[o]
        r = np.zeros((N, L + washout + H))
        level = np.zeros(N)
        valid = np.zeros(N, np.bool_)
        profile = np.zeros((N, 7))
        to_relative(A, B, t, L, washout + H, weekly, r, level, valid, profile)
        after = np.zeros(N)
        for j in range(1, N):
            if valid[j]:
                after[j] = change_from_baseline(A, B, j, t, L, t + washout, H, r, profile)
                valid[j] = not np.isnan(after[j])
        anywhere = np.ones(L, np.bool_)
        G = np.zeros((L, L))
        c = np.zeros(L)
        mean = np.zeros(L)
        w = np.zeros(L)
        for i in range(N):
            n = 0
            target = 0.0
            mean[:] = 0.0
            for j in range(1, N):
                if j != i and valid[j]:
                    n += 1
                    target += after[j]
                    for d in range(L):
                        mean[d] += r[j, d]
            if n < 2:
                out[o, i, :L] = 1.0 / L
                continue
            G[:] = 0.0
            c[:] = 0.0
            for j in range(1, N):
                if j != i and valid[j]:
                    for d in range(L):
                        x = r[j, d] - mean[d] / n
                        c[d] += x * (after[j] - target / n)
                        for e in range(d + 1):
                            G[d, e] += x * (r[j, e] - mean[e] / n)
            for d in range(L):
                for e in range(d):
                    G[e, d] = G[d, e]
                G[d, d] *= 1.0 + 1e-9
            minimise_on_simplex(G, c, anywhere, w)
            for d in range(L):
                out[o, i, d] = w[d]


def did_time_weights(
    numerator: FloatArray, denominator: FloatArray | None, dates: Dates, design: Design
) -> FloatArray:
    """The lambda of synthetic DiD for every unit at every date, on the scale of `gaps`: (O, N, longest baseline).

    Simplex least squares with intercept of the controls' change after the date on their days before:
    Arkhangelsky et al. (2021), equation (6). A control in the role of the treated is left out of its own
    weights. Uniform where fewer than two controls are left, or the days after are not there yet.
    """
    out = np.zeros((dates.origins.size, numerator.shape[0], int(dates.lengths.max())))
    if not design.observed:
        for o, days in enumerate(dates.lengths):
            out[o, :, :days] = 1.0 / days
        return out
    A, B = as_parts(numerator, denominator)
    _time_weights(A, B, dates.origins, dates.lengths, design.washout, design.horizon, design.weekly, out)
    return out
