"""Synthetic control: the convex combination of controls that followed the treated before."""

import numpy as np

from adsml_impact.models.panel import Estimate, Panel, weighted_difference
from adsml_impact.models.simplex import simplex_least_squares


def synthetic_control(panel: Panel, *, demeaned: bool = False) -> Estimate:
    """Simplex least squares on the outcomes before treatment.

    ``omega = argmin |y_pre - omega' Y_co,pre (- omega_0)|^2`` over ``omega >= 0``, ``sum(omega) = 1``:
    Abadie, Diamond and Hainmueller (2010), *Synthetic Control Methods for Comparative Case Studies*, JASA
    105(490):493-505, on outcomes only. `demeaned` allows a constant difference of level: Doudchenko and Imbens (2016),
    NBER 22791; Ferman and Pinto (2021), Quantitative Economics 12:1197-1221. It is what GeoLift calls fixed effects,
    and what units of different size need.
    """
    omega = simplex_least_squares(
        panel.controls[:, : panel.T_pre].T, panel.y[: panel.T_pre], intercept=demeaned
    )
    level = 1.0 / panel.T_pre if demeaned else 0.0
    return weighted_difference(panel, omega, np.full(panel.T_pre, level))
