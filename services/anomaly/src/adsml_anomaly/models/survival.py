"""How often an ordinary day is at least this strange: p-values from held-out scores, pooled over entities.

The share of held-out ordinary days with a score at least as large is a conformal p-value (V. Vovk, A. Gammerman,
G. Shafer, "Algorithmic learning in a random world", 2005, section 4.2). One entity's held-out days are few: with
n of them no p-value below 1 / (n + 1) can be told apart. So an entity's share is drawn to its level's, that to
its account's, and that to a reference form, each standing for a number of days::

    p(s) = (n own(s) + d parent(s)) / (n + d)

Averaged over the entities of a level this keeps the rate of false alarms, and it has no end: beyond the largest
held-out score the parent's tail goes on.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.compiled import compiled

from adsml_anomaly.models.arrays import FloatArray

LOG_P: Final = -np.arange(0.0, 4.01, 0.125)
"""The grid in log10 of p on which a curve is kept: 1 down to 0.0001."""
LEAST_LOG_P: Final = -12.0
ENTITY_DAYS: Final = 200.0
LEVEL_DAYS: Final = 100.0
ACCOUNT_DAYS: Final = 30.0
"""For how many days the parent of an entity's, a level's and an account's curve stands."""
_TAIL_SHARE: Final = 0.05
_TAIL_POOL: Final = 10.0


@dataclass(frozen=True, slots=True)
class Survival:
    """The curve of one score: what a share of ``10 ** LOG_P`` of ordinary days reaches, shape (33,), rising."""

    scores: FloatArray

    def log_p(self, score: npt.ArrayLike) -> FloatArray:
        """Log10 of the share of ordinary days at least as strange, same shape; NaN for NaN."""
        s = np.asarray(score, dtype=np.float64)
        return log_p_of(s.ravel(), self.scores).reshape(s.shape)

    def score(self, log_p: float) -> float:
        """The score at which log10 p is reached; inverse of `log_p`."""
        if log_p < LOG_P[-1]:
            return float(self.scores[-1] + (LOG_P[-1] - log_p) * (self.scores[-1] - self.scores[-9]))
        return float(np.interp(-log_p, -LOG_P, self.scores))


@compiled
def log_p_of(score: FloatArray, grid: FloatArray) -> FloatArray:
    """As `Survival.log_p`, shape (n,): linear between grid points, and beyond them by the slope of the last decade."""
    n, out = grid.size, np.empty(score.size)
    slope = -1.0 / max(grid[n - 1] - grid[n - 9], 1e-9)
    for i in range(score.size):
        s = score[i]
        if np.isnan(s):
            out[i] = np.nan
        elif s <= grid[0]:
            out[i] = LOG_P[0]
        elif s >= grid[n - 1]:
            out[i] = max(LOG_P[n - 1] + slope * (s - grid[n - 1]), LEAST_LOG_P)
        else:
            k = np.searchsorted(grid, s, side="right") - 1
            step = grid[k + 1] - grid[k]
            share = (s - grid[k]) / step if step > 0.0 else 0.0
            out[i] = LOG_P[k] + share * (LOG_P[k + 1] - LOG_P[k])
    return out


def learn(own: npt.ArrayLike, parent: Survival, *, parent_days: float) -> Survival:
    """The curve of held-out scores (NaN are left out), drawn to a parent's that stands for so many days."""
    scores = np.asarray(own, dtype=np.float64).ravel()
    scores = np.sort(scores[~np.isnan(scores)])
    if not scores.size:
        return parent
    at = np.unique(np.concatenate([scores, np.nextafter(scores, np.inf), parent.scores]))
    # Follow the tail until the grid's end.
    beyond = at[-1] + np.arange(1, 200) * (parent.scores[-1] - parent.scores[-9]) / 8.0
    at = np.concatenate([at, beyond])
    share = scores.size * _own_share(scores, parent, at) + parent_days * 10.0 ** parent.log_p(at)
    return Survival(_rising(np.interp(-LOG_P, -np.log10(share / (scores.size + parent_days)), at)))


def _own_share(scores: FloatArray, parent: Survival, at: FloatArray) -> FloatArray:
    """Share of own scores (sorted) at least as large; an exponential tail above the largest twentieth.

    Without the tail the largest held-out score would be a cliff, and a day just above it a certainty. The tail's
    mean excess is drawn to that of the parent's, which stands for `_TAIL_POOL` excesses.
    """
    n = scores.size
    share = (n - np.searchsorted(scores, at, side="left")) / n
    top = min(max(math.ceil(_TAIL_SHARE * n), 3), n)
    edge = float(scores[n - top])
    log_p = float(parent.log_p(edge))
    usual = max(parent.score(log_p - 1.0) - parent.score(log_p), 1e-9) / math.log(10.0)
    excess = (float((scores[n - top :] - edge).sum()) + _TAIL_POOL * usual) / (top + _TAIL_POOL)
    tail = top / n * np.exp(-np.maximum(at - edge, 0.0) / excess)
    return np.where(at > edge, tail, share)


def _rising(grid: FloatArray) -> FloatArray:
    return np.maximum.accumulate(grid + 1e-12 * np.arange(grid.size))


def references(metrics: int, dimensions: int) -> tuple[Survival, ...]:
    """What is believed before any day was seen: of so many metrics' z, the distance, the forest's score, the evidence.

    An absolute robust z: Student's t with 8 degrees of freedom, two-sided. A Mahalanobis distance over `dimensions`
    metrics: root of F(dimensions, 40) times dimensions. An isolation forest's score: about 0.42 for the most ordinary
    day, and 0.085 more per decade. The evidence: Bonferroni's bound, p = 10 ** -evidence.
    """
    from scipy import special  # noqa: PLC0415 - half a second, and needed to learn only

    z = Survival(_rising(np.asarray(-special.stdtrit(8.0, 10.0**LOG_P / 2.0), dtype=np.float64)))
    # The upper tail of F(a, b) is the lower one of F(b, a), turned over.
    squared = dimensions / np.asarray(special.fdtri(40.0, dimensions, np.minimum(10.0**LOG_P, 1.0 - 1e-12)))
    distance = Survival(_rising(np.sqrt(np.maximum(squared, 0.0))))
    return (*[z] * metrics, distance, Survival(0.42 - 0.085 * LOG_P), Survival(-LOG_P.copy()))
