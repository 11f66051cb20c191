"""The counterfactual as a regression pooled over the account's placebos, penalised and cross-fitted.

A synthetic control takes all of the controls' movement off. Where units mostly wander on their own that adds
the controls' noise to the treated's. What follows a date is therefore regressed, over all units and earlier
dates, on the movement of each unit's synthetic control and on how far the unit stood from it in the last days:

    own change = gamma * controls' change + sum_f a_f * (gap over the last f days) + error

A ridge penalty draws the coefficients to gamma = 1, a = 0, which is the synthetic control itself.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.gaps import Gaps
from adsml_impact.models.weighting import Mixture, clip_outliers

_PRIOR: Final = 10.0
"""Weight of the penalty, in independent placebos."""
_FOLDS: Final = 4
"""Blocks of dates; each block's placebos are predicted with coefficients learned on the others."""
_FEWEST_DATES: Final = 8
_ROUNDS: Final = 3


def regress_on_placebos(
    gaps: Gaps, mixture: Mixture, scale: FloatArray, *, independent: float
) -> list[tuple[Mixture, slice]]:
    """Coefficients with the dates they hold for: the change's rest on all earlier dates, a placebo's on other blocks.

    `mixture`: whose kinds of donor weights make the synthetic controls. `scale` (O, N): chance sizes, by which errors
    are weighed. `independent`: how many independent placebos there are, since windows overlap.
    """
    post = np.einsum("okn,k->on", gaps.post, mixture.kinds)
    pre = np.einsum("oknf,k->onf", gaps.pre[..., :-2], mixture.kinds)
    X = np.concatenate([pre, (gaps.own_post - post)[..., None]], axis=2)
    y = gaps.own_post
    past = gaps.valid.copy()
    past[-1] = False
    share = min(1.0, independent / max(int(past.sum()), 1))
    dates = past.shape[0] - 1
    whole = _coefficients(X, y, scale, past, share=share)
    if dates < _FEWEST_DATES:
        return [(_regression(mixture, whole), slice(None))]
    out = []
    for block in np.array_split(np.arange(dates), _FOLDS):
        others = past.copy()
        others[block] = False
        learned = _regression(mixture, _coefficients(X, y, scale, others, share=share))
        out.append((learned, slice(int(block[0]), int(block[-1]) + 1)))
    return [*out, (_regression(mixture, whole), slice(dates, None))]


def _regression(mixture: Mixture, coefficients: FloatArray) -> Mixture:
    windows = np.zeros_like(mixture.windows)
    windows[:, : coefficients.size - 1] = coefficients[:-1]
    return replace(mixture, windows=windows, share=float(coefficients[-1]))


def _coefficients(
    X: FloatArray, y: FloatArray, scale: FloatArray, rows: BoolArray, *, share: float
) -> FloatArray:
    """Ridge towards a plain synthetic control; outliers are drawn in (Huber's regression by winsorising)."""
    P = X.shape[2]
    prior: FloatArray = np.eye(P)[-1]
    if not rows.any():
        return prior
    A, target = X[rows] / scale[rows][:, None], y[rows] / scale[rows]
    penalty = np.diag(_PRIOR * (A**2).mean(axis=0) + 1e-12)
    coefficients: FloatArray = prior
    for _ in range(_ROUNDS):
        fitted = A @ coefficients
        z = fitted + clip_outliers(target - fitted)
        step = np.linalg.solve(share * A.T @ A + penalty, share * A.T @ (z - A @ prior))
        coefficients = np.asarray(prior + step, dtype=np.float64)
    # More than all of the controls' movement, or against it, is chance.
    coefficients[-1] = min(max(float(coefficients[-1]), 0.0), 1.2)
    return np.asarray(coefficients, dtype=np.float64)
