"""Standard errors of the published estimators: controls in the role of the treated."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
from scipy.special import ndtr, ndtri

from adsml_impact.models.panel import Estimate, Panel

_MAX_DRAWS = 200


@dataclass(frozen=True, slots=True)
class NormalTest:
    """A two-sided test of no effect and its inversion: the interval excludes 0 exactly when ``p_value < alpha``."""

    se: float  # standard error, in the outcome's unit; NaN with fewer than 3 placebos
    p_value: float  # of `tau = 0`
    # interval of level `1 - alpha`
    lower: float
    upper: float

    def p_of(self, tau: float) -> float:
        """The p-value that another effect would have with the same standard error."""
        if not self.se > 0:
            return float(tau == 0.0) if self.se == 0 else np.nan
        return 2.0 * float(ndtr(-abs(tau) / self.se))


def placebo_test(
    panel: Panel, estimate: Callable[[Panel], Estimate], *, alpha: float = 0.05, seed: int = 0
) -> NormalTest:
    """Arkhangelsky et al. (2021), Algorithm 4: the spread of effects that placebo units show.

    With one treated unit every control takes its role once, so that nothing is drawn; with more, every subset
    of their number where there are at most 200, else 200 drawn ones. The reference is the normal
    distribution, as in the paper.
    """
    tau = estimate(panel).tau
    draws: list[tuple[int, ...]] = []
    if panel.N_co > panel.N_tr:
        if comb(panel.N_co, panel.N_tr) <= _MAX_DRAWS:
            draws = list(combinations(range(panel.N_co), panel.N_tr))
        else:
            rng = np.random.default_rng(seed)
            draws = [
                tuple(rng.choice(panel.N_co, panel.N_tr, replace=False).tolist()) for _ in range(_MAX_DRAWS)
            ]
    if len(draws) < 3:
        return NormalTest(se=np.nan, p_value=np.nan, lower=-np.inf, upper=np.inf)
    se = float(np.std([estimate(panel.placebo(treated)).tau for treated in draws]))
    half = -float(ndtri(alpha / 2)) * se
    test = NormalTest(se=se, p_value=np.nan, lower=tau - half, upper=tau + half)
    return replace(test, p_value=test.p_of(tau))
