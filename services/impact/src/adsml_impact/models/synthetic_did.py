"""Synthetic difference-in-differences: weights on controls and on earlier periods."""

import numpy as np

from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.panel import Estimate, Panel, weighted_difference
from adsml_impact.models.simplex import simplex_least_squares


def noise_level(controls_pre: FloatArray) -> float:
    """The ``sigma_hat`` of the paper: standard deviation of the first differences of controls (N_co, T_pre).

    0 with fewer than 3 differences in all.
    """
    differences = np.diff(controls_pre, axis=1)
    return float(differences.std(ddof=1)) if differences.size > 2 else 0.0


def synthetic_did(panel: Panel) -> Estimate:
    """Arkhangelsky et al. (2021), Algorithm 1.

    ``omega`` by simplex least squares with intercept and ridge ``zeta^2 T_pre``, ``zeta = (N_tr T_post)^(1/4)
    sigma_hat``; ``lambda`` by simplex least squares with intercept of the controls' mean after treatment on
    their periods before. On California's cigarette sales -15.60 packs per head.
    """
    controls_pre = panel.controls[:, : panel.T_pre]
    sigma = noise_level(controls_pre)
    zeta_omega = (panel.N_tr * panel.T_post) ** 0.25 * sigma
    zeta_lambda = 1e-6 * sigma
    omega = simplex_least_squares(
        controls_pre.T, panel.y[: panel.T_pre], zeta2=zeta_omega**2 * panel.T_pre, intercept=True
    )
    lambda_ = simplex_least_squares(
        controls_pre,
        panel.controls[:, panel.T_pre :].mean(axis=1),
        zeta2=zeta_lambda**2 * panel.N_co,
        intercept=True,
    )
    return weighted_difference(panel, omega, lambda_)
