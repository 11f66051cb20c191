"""Difference in differences: every control and every earlier period weighs the same."""

import numpy as np

from adsml_impact.models.panel import Estimate, Panel, weighted_difference


def difference_in_differences(panel: Panel) -> Estimate:
    """``(mean post - mean pre)`` of the treated less that of the controls.

    On California's cigarette sales -27.35 packs per head (Arkhangelsky et al. 2021, Table 1: -27.3).
    """
    return weighted_difference(
        panel, np.full(panel.N_co, 1.0 / panel.N_co), np.full(panel.T_pre, 1.0 / panel.T_pre)
    )
