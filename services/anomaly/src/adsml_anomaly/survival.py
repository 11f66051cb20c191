"""How often an ordinary day is at least this strange: p-values from held-out scores, pooled over entities.

The share of held-out ordinary days with a score at least as large is a conformal p-value (V. Vovk, A. Gammerman,
G. Shafer, "Algorithmic learning in a random world", 2005, section 4.2). One entity's held-out days are few: with
n of them no p-value below 1 / (n + 1) can be told apart. So an entity's share is drawn to its level's, that to
its account's, and that to a reference form, each standing for a number of days::

    p(s) = (n own(s) + d parent(s)) / (n + d)

Averaged over the entities of a level this keeps the rate of false alarms, and it has no end: beyond the largest
held-out score the parent's tail goes on.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]

LOG_P: Final = -np.arange(0.0, 4.01, 0.125)
"""The grid in log10 of p on which a curve is kept: 1 down to 0.0001."""
LEAST_LOG_P: Final = -12.0
ENTITY_DAYS: Final = 200.0
LEVEL_DAYS: Final = 100.0
ACCOUNT_DAYS: Final = 30.0
"""For how many days the parent of an entity's, a level's and an account's curve stands."""


@dataclass(frozen=True, slots=True)
class Survival:
    """The curve of one score.

    Attributes
    ----------
    scores
        Shape (33,), rising: the score that a share of ``10 ** LOG_P`` of ordinary days reaches.
    """

    scores: FloatArray

    def log_p(self, score: npt.ArrayLike) -> FloatArray:
        """Log10 of the share of ordinary days at least as strange, same shape; NaN for NaN.

        Between grid points, and beyond the last by the slope of the last decade, log p is linear in the score.
        """
        s = np.asarray(score, dtype=np.float64)
        inside = np.interp(s, self.scores, LOG_P)
        slope = -1.0 / max(self.scores[-1] - self.scores[-9], 1e-9)
        beyond = LOG_P[-1] + slope * (s - self.scores[-1])
        return np.maximum(np.where(s > self.scores[-1], beyond, inside), LEAST_LOG_P)

    def score(self, log_p: float) -> float:
        """The score at which log10 p is reached; inverse of `log_p`."""
        if log_p < LOG_P[-1]:
            return float(self.scores[-1] + (LOG_P[-1] - log_p) * (self.scores[-1] - self.scores[-9]))
        return float(np.interp(-log_p, -LOG_P, self.scores))


def learn(own: npt.ArrayLike, parent: Survival, *, parent_days: float) -> Survival:
    """The curve of held-out scores, drawn to a parent's.

    Parameters
    ----------
    own
        Shape (n,): held-out scores; NaN are left out, none at all gives the parent.
    parent
        The curve of the wider circle.
    parent_days
        For how many days it stands.
    """
    scores = np.asarray(own, dtype=np.float64).ravel()
    scores = np.sort(scores[~np.isnan(scores)])
    if not scores.size:
        return parent
    # Exact at every own score (just reached, and just passed) and at the parent's grid.
    at = np.unique(np.concatenate([scores, np.nextafter(scores, np.inf), parent.scores]))
    reached = scores.size - np.searchsorted(scores, at, side="left")
    p = (reached + parent_days * 10.0 ** parent.log_p(at)) / (scores.size + parent_days)
    log_p = np.log10(np.maximum(p, 10.0**LEAST_LOG_P))
    # Beyond the own scores the curve is the parent's, moved: follow it to the end of the grid.
    last = log_p[-1]
    if last > LOG_P[-1]:
        shift = np.log10(parent_days / (scores.size + parent_days))
        more = np.array([parent.score(q - shift) for q in np.arange(last - 0.125, LOG_P[-1] - 0.25, -0.125)])
        at = np.concatenate([at, np.maximum(more, at[-1] + 1e-9)])
        log_p = np.concatenate([log_p, np.log10(parent_days / (scores.size + parent_days)) + parent.log_p(more)])
    order = np.argsort(-log_p, kind="stable")
    grid = np.interp(-LOG_P, -log_p[order], at[order])
    return Survival(_rising(grid))


def _rising(grid: FloatArray) -> FloatArray:
    return np.maximum.accumulate(grid + 1e-12 * np.arange(grid.size))


def _curve(inverse: "stats.rv_frozen", share: FloatArray) -> Survival:
    return Survival(_rising(np.asarray(inverse.isf(share), dtype=np.float64)))


def reference_z() -> Survival:
    """Of an absolute robust z: Student's t with 8 degrees of freedom, two-sided."""
    return _curve(stats.t(8), 10.0**LOG_P / 2.0)


def reference_distance(dimensions: int) -> Survival:
    """Of a Mahalanobis distance over so many metrics: root of F(dimensions, 40) times dimensions."""
    squared = stats.f(dimensions, 40).isf(np.minimum(10.0**LOG_P, 1.0 - 1e-12)) * dimensions
    return Survival(_rising(np.sqrt(np.maximum(squared, 0.0))))


def reference_forest() -> Survival:
    """Of an isolation forest's score: about 0.42 for the most ordinary day, and 0.085 more per decade."""
    return Survival(0.42 - 0.085 * LOG_P)


def reference_combined() -> Survival:
    """Of the combined evidence: Bonferroni's bound, p = 10 ** -evidence."""
    return Survival(-LOG_P.copy())
