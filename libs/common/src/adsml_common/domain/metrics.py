"""Daily metrics and the ratios derived from them.

A ratio over a window is a ratio of sums, never a mean of daily ratios: doubling a budget at constant true cost per
lead otherwise reads as a rise. A ratio whose denominator is 0 is missing (NaN), not 0 and not infinity.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

# Commands name metrics before anything is computed: what is heavy is imported where it is used.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

FloatArray: TypeAlias = "npt.NDArray[np.float64]"


class Metric(StrEnum):
    """What can be asked for: counts and money as stored, ratios as derived."""

    SPEND = "spend"
    IMPRESSIONS = "impressions"
    CLICKS = "clicks"
    LEADS = "leads"
    CPL = "cpl"
    CTR = "ctr"
    CPC = "cpc"
    CPM = "cpm"
    CONVERSION_RATE = "conversion_rate"
    FREQUENCY = "frequency"

    @property
    def is_ratio(self) -> bool:
        return self in RATIOS


@dataclass(frozen=True, slots=True)
class Ratio:
    """``scale * numerator / denominator``, each the name of a stored column."""

    numerator: str
    denominator: str
    scale: float = 1.0


RATIOS: Final[dict[Metric, Ratio]] = {
    Metric.CPL: Ratio("spend", "leads"),
    Metric.CTR: Ratio("clicks", "impressions", 100.0),
    Metric.CPC: Ratio("spend", "clicks"),
    Metric.CPM: Ratio("spend", "impressions", 1000.0),
    Metric.CONVERSION_RATE: Ratio("leads", "clicks", 100.0),
    Metric.FREQUENCY: Ratio("impressions", "reach"),
}
"""CTR and conversion rate are in percent; CPL, CPC and CPM (a thousand impressions) in its currency."""

STORED: Final[tuple[str, ...]] = ("spend", "impressions", "clicks", "leads", "reach")
"""The columns of a daily row. `reach` may be missing (NaN); the others may not.

Reach counts people once per row, so over several days its sum is an upper bound of the people reached."""

REQUIRED: Final[tuple[str, ...]] = ("spend", "impressions", "clicks", "leads")


def divide(numerator: "npt.ArrayLike", denominator: "npt.ArrayLike", *, scale: float = 1.0) -> FloatArray:
    """``scale * numerator / denominator``, NaN where the denominator is not above 0 or either is missing."""
    import numpy as np  # noqa: PLC0415

    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out = np.full(np.broadcast(top, bottom).shape, np.nan)
    np.divide(scale * top, bottom, out=out, where=bottom > 0)
    return out


def value(metric: Metric, sums: "pd.DataFrame") -> FloatArray:
    """A metric, unit as in `RATIOS` and NaN where missing, from summed columns: one row per window, or per day."""
    ratio = RATIOS.get(metric)
    if ratio is None:
        return sums[metric.value].to_numpy(dtype="float64")
    return divide(sums[ratio.numerator], sums[ratio.denominator], scale=ratio.scale)
