"""What many changes of one kind did together: random-effects meta-analysis on placebo-calibrated errors.

    y_i = theta_i + e_i,   theta_i ~ N(mu, tau^2),   e ~ N(0, V)

DerSimonian and Laird (1986, Controlled Clinical Trials 7:177-188) with tau^2 by restricted maximum likelihood and V not
diagonal: changes on the same days share what happened on those days. Effects are logarithms of ratios, or shares of the
level for counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from adsml_impact.models.arrays import FloatArray

USUAL_EFFECT: Final = 0.25
"""Standard deviation of what changes do before anything is known, in logarithms: a prior for probabilities only."""
_GRID: Final = np.concatenate([[0.0], np.geomspace(0.005, 1.5, 120)])
"""Standard deviations between changes that are tried."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One change's own estimate."""

    effect: float  # tau of its comparison
    # its standard error: half the interval over the normal quantile, so that it is as calibrated as the placebos
    error: float
    group: str  # whose days these are: changes of different groups are independent
    unit: str  # whose series: estimates of one unit from the same days are one estimate
    # the days compared after the change
    first: date
    last: date
    correlation: float  # of two units' errors on the same days


@dataclass(frozen=True, slots=True)
class Pooled:
    """The mean effect."""

    # and its interval of level `1 - alpha`, which excludes 0 exactly when `p_value < alpha`
    mean: float
    lower: float
    upper: float
    p_value: float  # of a mean of 0
    tau: float  # standard deviation between changes
    i_squared: float  # share of the estimates' variation that is not chance, 0 to 1
    # where one more such change should lie
    predicted_lower: float
    predicted_upper: float
    probability_below: float  # that the mean is below 0
    shrunk: FloatArray  # (k,) each change's effect in the light of the others
    probabilities_below: FloatArray  # (k,) that each change's effect is below 0


def probability_below(effect: float, error: float) -> float:
    """That one change's true effect is below 0, where such changes do `USUAL_EFFECT` to either side."""
    if not error > 0:
        return float(effect < 0) if effect != 0 else 0.5
    shrinkage = USUAL_EFFECT**2 / (USUAL_EFFECT**2 + error**2)
    return float(ndtr(-effect * np.sqrt(shrinkage) / error))


def covariance(estimates: Sequence[Estimate]) -> FloatArray:
    """Of the estimates' errors, (k, k): of one group they correlate as far as their days overlap, of one unit fully."""
    errors = np.array([one.error for one in estimates])
    R = np.eye(errors.size)
    for i, a in enumerate(estimates):
        for j, b in enumerate(estimates[:i]):
            if a.group != b.group:
                continue
            days = (min(a.last, b.last) - max(a.first, b.first)).days + 1
            longer = max((one.last - one.first).days + 1 for one in (a, b))
            overlap = max(days, 0) / longer
            alike = 0.999 if a.unit == b.unit else max(min(a.correlation, b.correlation), 0.0)
            R[i, j] = R[j, i] = alike * overlap
    smallest = float(np.linalg.eigvalsh(R)[0])
    if smallest < 1e-3:  # overlaps in a row need not be consistent
        R = (R + (1e-3 - smallest) * np.eye(errors.size)) / (1.0 + 1e-3 - smallest)
    return np.asarray(R * errors[:, None] * errors[None, :])


def pool(estimates: Sequence[Estimate], *, alpha: float = 0.05) -> Pooled:
    """Pool two or more estimates; ValueError with fewer."""
    if len(estimates) < 2:
        raise ValueError("pooling needs two estimates or more")
    y = np.array([one.effect for one in estimates])
    V = covariance(estimates)
    k = y.size
    likelihood = np.array([_restricted_likelihood(y, V, tau) for tau in _GRID])
    tau = float(_GRID[int(np.argmax(likelihood))])
    weights, variance = _weights(V, tau)
    mean = float(weights @ y)
    # What rests on an estimated tau has as many degrees of freedom as that (Satterthwaite 1946).
    uncertain = tau**2 * float((weights**2).sum())
    df = min(variance**2 / (uncertain**2 / (k - 1)), 1e6) if uncertain > 0 else 1e6
    se = float(np.sqrt(variance))
    half = -float(stdtrit(df, alpha / 2)) * se
    fixed, _ = _weights(V, 0.0)
    residual = y - float(fixed @ y)
    Q = float(residual @ np.linalg.solve(V, residual))
    spread = -float(stdtrit(max(k - 1.0, 1.0) if tau > 0 else 1e6, alpha / 2)) * float(
        np.sqrt(tau**2 + variance)
    )
    below, shrunk, each = _posterior(y, V, likelihood)
    return Pooled(
        mean=mean,
        lower=mean - half,
        upper=mean + half,
        p_value=2.0 * float(stdtr(df, -abs(mean) / se)),
        tau=tau,
        i_squared=max(0.0, 1.0 - (k - 1) / Q) if Q > 0 else 0.0,
        predicted_lower=mean - spread,
        predicted_upper=mean + spread,
        probability_below=below,
        shrunk=shrunk,
        probabilities_below=each,
    )


def _weights(V: FloatArray, tau: float) -> tuple[FloatArray, float]:
    """Weights of the generalised least squares mean, and its variance."""
    solved = np.linalg.solve(V + tau**2 * np.eye(V.shape[0]), np.ones(V.shape[0]))
    total = float(solved.sum())
    return np.asarray(solved / total, dtype=np.float64), 1.0 / total


def _restricted_likelihood(y: FloatArray, V: FloatArray, tau: float) -> float:
    W = V + tau**2 * np.eye(y.size)
    weights, variance = _weights(V, tau)
    residual = y - float(weights @ y)
    _, determinant = np.linalg.slogdet(W)
    return -0.5 * float(determinant - np.log(variance) + residual @ np.linalg.solve(W, residual))


def _posterior(y: FloatArray, V: FloatArray, likelihood: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """P(mean below 0), shrunk effects, and P(each below 0), over tau and a mean with the usual prior."""
    k = y.size
    prior = -0.5 * (_GRID / USUAL_EFFECT) ** 2 + np.log(np.gradient(_GRID))
    log_weight = likelihood + prior
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    below, shrunk, each = 0.0, np.zeros(k), np.zeros(k)
    for share, tau in zip(weight, _GRID, strict=True):
        if share < 1e-6:
            continue
        # Joint prior of (theta_1 ... theta_k, mu): covariance tau^2 I + s^2 11', with mu ~ N(0, s^2).
        between = tau**2 * np.eye(k) + USUAL_EFFECT**2
        gain = np.linalg.solve(between + V, np.column_stack([between, np.full(k, USUAL_EFFECT**2)])).T
        thetas = gain[:k] @ y
        spread = np.sqrt(np.maximum(np.diag(between - gain[:k] @ between), 1e-18))
        mu = float(gain[k] @ y)
        mu_sd = float(np.sqrt(max(USUAL_EFFECT**2 - float(gain[k].sum()) * USUAL_EFFECT**2, 1e-18)))
        below += share * float(ndtr(-mu / mu_sd))
        shrunk += share * thetas
        each += share * ndtr(-thetas / spread)
    return below, shrunk, each
