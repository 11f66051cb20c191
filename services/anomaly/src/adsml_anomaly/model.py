"""What is known of one series after training: enough to judge its days."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from adsml_anomaly import covariance, evidence, gates
from adsml_anomaly.channels import BASE, Days, unit_price
from adsml_anomaly.forest import Forest
from adsml_anomaly.local_level import Dynamics, Innovations, innovations
from adsml_anomaly.survival import Survival

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SeriesModel:
    """A trained model: an entity's own, or the pooled one of a level or an account.

    Attributes
    ----------
    dynamics
        How the series moves.
    moments
        Shape (4, 4): second moments of the counts' innovations.
    forest
        Over all channels' innovations; None in a pooled model.
    curves
        One per component (`evidence`): p-values of the single scores.
    combined
        P-values of the evidence.
    """

    dynamics: Dynamics
    moments: FloatArray
    forest: Forest | None
    curves: tuple[Survival, ...]
    combined: Survival

    def for_series(self, days: Days) -> "SeriesModel":
        """A pooled model as it applies to one entity: with what an impression costs that entity."""
        own = unit_price(days.rows)
        return replace(self, dynamics=replace(self.dynamics, unit_price=own)) if np.isfinite(own) else self


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of T days; see `evidence.components` for what is NaN.

    Attributes
    ----------
    innovations
        Of all channels.
    gated
        Shape (T, channels): metrics with too little volume.
    components
        Shape (T, components).
    log_p
        Same shape: log10 of each component's own p-value.
    """

    innovations: Innovations
    gated: BoolArray
    components: FloatArray
    log_p: FloatArray


def component_scores(
    found: Innovations,
    gated: BoolArray,
    rows: slice | BoolArray,
    *,
    moments: FloatArray,
    forest: Forest | None,
) -> FloatArray:
    """Component scores, shape (T, components); NaN but for the chosen rows."""
    z = found.z[rows]
    distance = covariance.distances(z[:, :BASE], covariance.precision(moments))
    strange = None if forest is None else forest.score(np.nan_to_num(z))
    out = np.full((len(found.z), evidence.COMPONENTS), np.nan)
    out[rows] = evidence.components(z, distance, strange, gated[rows])
    return out


def score(
    model: SeriesModel,
    days: Days,
    *,
    start: int = 0,
    barred: BoolArray | None = None,
    changed: BoolArray | None = None,
) -> Scores:
    """Score days from row `start` on; the rows before serve as history.

    Parameters
    ----------
    model
        An entity's own, or a pooled one by `SeriesModel.for_series`.
    days
        T days.
    barred, changed
        Shape (T,): days that must not teach, days of known changes; see `local_level`.
    """
    found = innovations(days, model.dynamics, barred=barred, changed=changed)
    gated = gates.gated(days.rows, found.mean)
    parts = component_scores(found, gated, slice(start, None), moments=model.moments, forest=model.forest)
    return Scores(found, gated, parts, evidence.component_log_p(parts, list(model.curves)))
