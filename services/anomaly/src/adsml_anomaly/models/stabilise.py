"""Stabilise the variance of overdispersed counts.

A count with mean ``mu`` and variance ``mu + phi mu^2`` (Poisson chance times a steady unevenness of variance
``phi`` in logs) has, after ::

    g(y) = 2 arcsinh(sqrt(phi (y + 3/8))) / sqrt(phi)

a variance of about 1, whatever its mean: Anscombe's square root at small counts, a logarithm in units of
``sqrt(phi)`` at large ones.

Source: F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35
(1948), section 4; 3/8 is his constant for the Poisson case, to which the others tend at small ``phi``.
"""

import math
from typing import Final

from adsml_common.compiled import compiled

ANSCOMBE: Final = 0.375
_NEARLY_POISSON: Final = 1e-6


@compiled
def difference(count: float, mean: float, phi: float) -> float:
    """``g(count) - g(mean)``: how many standard deviations a count lies from its mean."""
    a, b = math.sqrt(max(count, 0.0) + ANSCOMBE), math.sqrt(mean + ANSCOMBE)
    if phi * max(a, b) ** 2 < _NEARLY_POISSON:
        return 2.0 * (a - b)
    root = math.sqrt(phi)
    a, b = root * a, root * b
    # arcsinh a - arcsinh b, by one logarithm
    return 2.0 * math.log((a + math.sqrt(a * a + 1.0)) / (b + math.sqrt(b * b + 1.0))) / root


@compiled
def invert(mean: float, phi: float, deviations: float) -> float:
    """The count that lies so many standard deviations from its mean, at least 0."""
    b = math.sqrt(mean + ANSCOMBE)
    if phi * b**2 < _NEARLY_POISSON and phi * deviations**2 < _NEARLY_POISSON:
        a = max(b + deviations / 2.0, 0.0)
    else:
        root = math.sqrt(phi)
        a = max(math.sinh(min(math.asinh(root * b) + deviations * root / 2.0, 300.0)) / root, 0.0)
    return max(a * a - ANSCOMBE, 0.0)
