"""The ways to make a counterfactual that can be asked for."""

from enum import StrEnum


class Estimator(StrEnum):
    """How the counterfactual of a change is made.

    All but the last use controls on one relative scale and differ in which weights they allow: see
    `adsml_impact.models.comparison.compare`. The last uses the treated's own past.
    """

    POOLED_PLACEBO = "pooled_placebo"
    DIFFERENCE_IN_DIFFERENCES = "difference_in_differences"
    SYNTHETIC_CONTROL = "synthetic_control"
    SYNTHETIC_DIFFERENCE_IN_DIFFERENCES = "synthetic_difference_in_differences"
    STRUCTURAL = "structural"
