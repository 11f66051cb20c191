"""The chance size of every unit's effect: components of variance, learned from the account's placebos.

The square of a placebo effect is expected to be a sum of parts: one as unsteady as the unit's own gap was over
the baseline, one that all units share, and one that falls with the unit's volume (counts of few are unsteady).
"""

from typing import Final

import numpy as np
from scipy.optimize import nnls

from adsml_impact.models.arrays import BoolArray, FloatArray, IntArray

_PRIOR: Final = 3.0
"""Weight of the prior shares, in independent placebos."""
_OWN, _COMMON, _VOLUME = 0.5, 0.2, 0.3
"""Shares of the parts before anything is learned."""
_OUTLIER: Final = 9.0
"""Squares above so many times their expectation count as that."""
_ROUNDS: Final = 5


def mean_level(values: FloatArray, origins: IntArray, lengths: IntArray) -> FloatArray:
    """Mean per day over the baseline before each date, (O, N)."""
    total = np.concatenate([np.zeros((values.shape[0], 1)), np.cumsum(values, axis=1)], axis=1)
    return np.asarray(((total[:, origins] - total[:, origins - lengths]) / lengths).T)


def learn_sizes(
    effects: FloatArray,
    scale: FloatArray,
    volumes: list[FloatArray],
    *,
    past: BoolArray,
    independent: float,
) -> FloatArray:
    """Chance sizes (O, N) of all effects, as standard deviations; 0 only where no placebo moved at all.

    Parameters
    ----------
    effects, scale
        (O, N): placebo effects, and the unsteadiness of each unit's gap over its baseline.
    volumes
        Baseline means per day, (O, N) each: of the numerator and, for a ratio, the denominator.
    past
        (O, N): the placebos to learn from.
    independent
        How many independent ones they amount to.
    """
    if not past.any():
        return scale
    typical = float(np.median(effects[past] ** 2)) / 0.455  # the median of a squared standard normal
    if not typical > 0:
        typical = float(np.mean(effects[past] ** 2))
    parts = [scale**2, np.full(scale.shape, typical)]
    shares = [_OWN, _COMMON]
    for volume in volumes:
        parts.append(1.0 / np.maximum(volume, 1e-9))
        shares.append(_VOLUME / len(volumes))
    V = np.stack([part / max(float(part[past].mean()), 1e-300) for part in parts], axis=-1) * typical
    if not typical > 0:
        return np.zeros_like(scale)
    weight = min(1.0, independent / int(past.sum()))
    squares, rows = effects[past] ** 2, V[past]
    expected = np.full(squares.size, typical)
    prior = np.sqrt(_PRIOR / np.array(shares))
    wanted = np.array(shares)
    for _ in range(_ROUNDS):
        target = np.minimum(squares, _OUTLIER * expected) / expected
        share, _ = nnls(
            np.concatenate([np.sqrt(weight) * rows / expected[:, None], np.diag(prior)]),
            np.concatenate([np.sqrt(weight) * target, prior * wanted]),
        )
        expected = np.maximum(rows @ share, 1e-6 * typical)
    return np.asarray(np.sqrt(np.maximum(V @ share, 1e-6 * typical)))
