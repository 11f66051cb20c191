"""A panel of units over time with a block of treated cells: what the published estimators work on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adsml_impact.models.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Panel:
    """Outcomes of treated units and controls, none missing; ValueError if sizes do not fit.

    Symbols as in Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), *Synthetic
    Difference-in-Differences*, American Economic Review 111(12):4088-4118.
    """

    Y: FloatArray  # (N, T): the N_tr treated units first, then the N_co controls; in the outcome's unit
    N_tr: int  # number of treated units, 1 or more
    T_pre: int  # number of periods before treatment, 1 or more and fewer than T
    units: Sequence[str] = ()  # N names
    times: Sequence[Hashable] = ()  # T labels of the periods

    def __post_init__(self) -> None:
        if self.Y.ndim != 2 or not np.isfinite(self.Y).all():
            raise ValueError("Y must be a matrix of finite numbers")
        if not (1 <= self.N_tr < self.Y.shape[0] and 1 <= self.T_pre < self.Y.shape[1]):
            raise ValueError(f"no panel of shape {self.Y.shape} has N_tr={self.N_tr}, T_pre={self.T_pre}")

    @property
    def N_co(self) -> int:
        """Number of controls."""
        return int(self.Y.shape[0]) - self.N_tr

    @property
    def T_post(self) -> int:
        """Number of treated periods."""
        return int(self.Y.shape[1]) - self.T_pre

    @property
    def y(self) -> FloatArray:
        """Mean outcome of the treated by period, (T,)."""
        return np.asarray(self.Y[: self.N_tr].mean(axis=0))

    @property
    def controls(self) -> FloatArray:
        """Outcomes of the controls, (N_co, T)."""
        return self.Y[self.N_tr :]

    def placebo(self, treated: Sequence[int]) -> "Panel":
        """The controls alone, some of them (by position) in the role of the treated."""
        chosen = np.zeros(self.N_co, dtype=np.bool_)
        chosen[list(treated)] = True
        Y = np.concatenate([self.controls[chosen], self.controls[~chosen]])
        return replace(self, Y=Y, N_tr=int(chosen.sum()), units=())


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimator found."""

    tau: float  # average effect on the treated per unit and period, in the outcome's unit
    omega: FloatArray  # weights of the controls, (N_co,), sum 1
    # weights of the periods before treatment, (T_pre,), sum 1 (0 where levels are compared as they are)
    lambda_: FloatArray
    counterfactual: FloatArray  # what the treated's mean would have been, (T,); before treatment, the fit

    @property
    def percent(self) -> float:
        """The effect in percent of the counterfactual's mean over the treated periods."""
        T_pre = self.lambda_.size
        return 100.0 * self.tau / float(self.counterfactual[T_pre:].mean())


def weighted_difference(panel: Panel, omega: FloatArray, lambda_: FloatArray) -> Estimate:
    """The weighted double difference that all estimators here share.

    ``tau = (mean_post y - lambda' y_pre) - omega' (mean_post Y_co - Y_co,pre lambda)``, Arkhangelsky et al.
    (2021), equation (3) in its closed form; ``lambda = 0`` leaves only the differences after treatment.
    """
    synthetic = omega @ panel.controls
    gap = panel.y - synthetic
    level = float(gap[: panel.T_pre] @ lambda_)
    tau = float(gap[panel.T_pre :].mean()) - level
    return Estimate(tau=tau, omega=omega, lambda_=lambda_, counterfactual=synthetic + level)
