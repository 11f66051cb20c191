"""How much of each kind of donor weights, and of how recent a past: learned from placebos of all units.

One choice for the account, not one per unit, so that there is next to nothing to overfit. Where history is
too short to learn from, the choice falls back to the ridge weights and the whole baseline.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.gaps import RIDGE, Gaps
from adsml_impact.models.simplex import simplex_least_squares

_PRIOR: Final = 3.0
"""Weight of the fall-back, in independent placebos."""
_OUTLIER: Final = 3.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """A convex combination of donor weights and, for each, of windows before the change."""

    kinds: FloatArray  # (K,) shares of the kinds of donor weights, sum 1
    # (K, F + 1) shares of the windows before the date whose mean gap is the level compared with; sum 1 a row. The
    # last share is that of the time weights of synthetic DiD. The share of a short window is how much of a deviation
    # in the last days persists: none is a comparison with the long baseline, all of it the plain before and after.
    windows: FloatArray
    # of the controls' movement that is taken off: 1 in a synthetic control, learned in a regression
    # (`adsml_impact.models.regression`), where the shares of windows need not sum to 1 either
    share: float = 1.0

    def level(self, gaps: Gaps, dates: slice) -> FloatArray:
        """Mean gap before the dates that an effect is measured from, (O, K, N)."""
        return np.asarray(np.einsum("oknf,kf->okn", gaps.pre[dates], self.windows))

    def effects(self, gaps: Gaps, dates: slice = slice(None)) -> FloatArray:
        """Effects of all units on some dates, (O, N), in relative units."""
        post = gaps.post[dates]
        unshared = (1.0 - self.share) * (gaps.own_post[dates][:, None] - post)
        return np.asarray(np.einsum("okn,k->on", post + unshared - self.level(gaps, dates), self.kinds))

    def effects_without(self, gaps: Gaps, dates: slice = slice(None)) -> FloatArray:
        """Effects (O, N, N) of unit i with j struck from its donors; NaN where j carries nearly all of them.

        The other weights are scaled up instead of fitted anew: with ``e_i = sum_j omega_ij (x_i - z_j)`` for
        the units' own changes x and the part z of them that is taken off, the term of j goes and the rest is divided
        by ``1 - omega_ij``.
        """
        before = np.einsum("onf,kf->okn", gaps.own_pre[dates], self.windows[:, :-1])
        own_post = gaps.own_post[dates][:, None, :]
        omega = gaps.omega[dates]
        apart = (own_post - before)[..., :, None] - (self.share * own_post - before)[..., None, :]
        if self.windows[:, -1].any():
            weighted = gaps.own_weighted[dates]
            own = np.diagonal(weighted, axis1=1, axis2=2)[:, :, None] - weighted
            apart = apart - self.windows[:, -1][None, :, None, None] * own[:, None]
        terms = omega * apart
        rest = 1.0 - omega
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(rest > 0.05, (terms.sum(axis=-1, keepdims=True) - terms) / rest, np.nan)
        return np.asarray(np.einsum("okij,k->oij", left, self.kinds))


def clip_outliers(y: FloatArray) -> FloatArray:
    """Residuals with outliers drawn in to three robust standard deviations."""
    size = 1.4826 * float(np.median(np.abs(y)))
    return np.clip(y, -_OUTLIER * size, _OUTLIER * size) if size > 0 else y


def learn_mixture(post: FloatArray, pre: FloatArray, *, independent: float) -> Mixture:
    """The mixture whose placebo effects are smallest in squares.

    Parameters
    ----------
    post
        (K, M) studentised gaps after placebo dates.
    pre
        (K, M, F) studentised mean gaps over windows before, shortest window first, whole baseline last.
    independent
        How many independent placebos the M amount to: windows overlap.
    """
    K, M, F = pre.shape
    kinds, whole = np.eye(K)[RIDGE], np.eye(F)[-1]
    windows = np.tile(whole, (K, 1))
    if not M:
        return Mixture(kinds=kinds, windows=windows)
    share = min(1.0, independent / M)
    residuals = np.zeros((K, M))
    for k in range(K):
        for _ in range(3):
            # Outliers are replaced by what is expected of them: Huber's regression by winsorising.
            fitted = pre[k] @ windows[k]
            windows[k] = _shares(pre[k], fitted + clip_outliers(post[k] - fitted), share, whole)
        residuals[k] = post[k] - pre[k] @ windows[k]
    R = np.stack([clip_outliers(one) for one in residuals])
    return Mixture(kinds=_shares(R.T, np.zeros(M), share, kinds), windows=windows)


def _shares(X: FloatArray, y: FloatArray, share: float, fallback: FloatArray) -> FloatArray:
    """Least squares on the simplex, drawn to a fallback; `share`: weight of a row, in independent placebos."""
    size = float((X**2).mean()) + 1e-12
    A = np.vstack([np.sqrt(share) * X, np.sqrt(_PRIOR * size) * np.eye(fallback.size)])
    return simplex_least_squares(A, np.concatenate([np.sqrt(share) * y, np.sqrt(_PRIOR * size) * fallback]))
