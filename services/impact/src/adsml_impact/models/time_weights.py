"""Weights on the days before a date: the lambda of synthetic difference-in-differences, by unit and date."""

import numpy as np

from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.design import Dates, Design
from adsml_impact.models.relative import as_parts, change_from_baseline, to_relative
from adsml_impact.models.simplex import minimise_on_simplex


def did_time_weights(
    numerator: FloatArray, denominator: FloatArray | None, dates: Dates, design: Design
) -> FloatArray:
    """The lambda of synthetic DiD for every unit at every date, on the scale of `gaps`: (O, N, longest baseline).

    Simplex least squares with intercept of the controls' change after the date on their days before:
    Arkhangelsky et al. (2021), equation (6). A control in the role of the treated is left out of its own
    weights. Uniform where fewer than two controls are left, or the days after are not there yet.
    """
    N, washout, H = numerator.shape[0], design.washout, design.horizon
    out = np.zeros((dates.origins.size, N, int(dates.lengths.max())))
    A, B = as_parts(numerator, denominator)
    for o, (t, L) in enumerate(zip(dates.origins, dates.lengths, strict=True)):
        out[o, :, :L] = 1.0 / L
        if not design.observed:
            continue
        r = np.zeros((N, L + washout + H))
        level, valid, profile = np.zeros(N), np.zeros(N, dtype=np.bool_), np.zeros((N, 7))
        to_relative(A, B, t, L, washout + H, design.weekly, r, level, valid, profile)
        after = np.array([change_from_baseline(A, B, j, t, L, t + washout, H, r, profile) for j in range(N)])
        usable = valid & np.isfinite(after)
        usable[0] = False
        w = np.zeros(L)
        for i in range(N):
            donors = usable.copy()
            donors[i] = False
            if donors.sum() < 2:
                continue
            X = r[donors, :L] - r[donors, :L].mean(axis=0)
            G = X.T @ X
            np.fill_diagonal(G, np.diag(G) * (1.0 + 1e-9))
            c = X.T @ (after[donors] - after[donors].mean())
            minimise_on_simplex(G, c, np.ones(L, dtype=np.bool_), w)
            out[o, i, :L] = w
    return out
