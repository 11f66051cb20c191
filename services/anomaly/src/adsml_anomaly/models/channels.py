"""What is watched: four counts, and six ratios as counts against an exposure.

A ratio's noise lies in its numerator's count, so every channel is a count ``y`` seen against an exposure ``x``:
CTR is clicks against impressions, CPL is leads against spend (and rises when leads fall, hence `SIGN` -1). Spend is
no count; it is measured in units of what an impression usually costs the entity, which gives it the same noise at
small delivery as the impressions it buys.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.metrics import STORED, Metric

from adsml_anomaly.models.arrays import BoolArray, FloatArray

CHANNELS: Final[tuple[Metric, ...]] = tuple(Metric)
"""The order of every array's channel axis: counts first, then ratios."""
BASE: Final = 4
"""The first so many channels are the counts; the rest are ratios of them (and of reach)."""
COLUMNS: Final[tuple[str, ...]] = STORED
SPEND, IMPRESSIONS, CLICKS, LEADS, CPL, CTR, CPC, CPM, CONVERSION, FREQUENCY = range(len(CHANNELS))
"""Places on the channel axis; of the counts, also the columns of rows."""
REACH: Final = 4
"""The last column of rows."""
_EPOCH: Final = date(1970, 1, 1).toordinal()

NUMERATOR: Final = np.array(
    [SPEND, IMPRESSIONS, CLICKS, LEADS, LEADS, CLICKS, CLICKS, IMPRESSIONS, LEADS, IMPRESSIONS]
)
EXPOSURE: Final = np.array([-1, -1, -1, -1, SPEND, IMPRESSIONS, SPEND, SPEND, CLICKS, REACH])
SCALE: Final = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 100.0, 1.0, 1000.0, 100.0, 1.0])
SIGN: Final = np.array([1, 1, 1, 1, -1, 1, -1, -1, 1, 1])
"""-1 where the metric is exposure over count (a cost per something), so that it rises when the count falls."""


@dataclass(frozen=True, slots=True)
class Days:
    """One entity's daily rows on an unbroken calendar."""

    first_day: date
    # Shape (T, 5), columns as `COLUMNS`; 0 on a day without delivery, reach NaN where unknown
    rows: FloatArray
    present: BoolArray | None = None  # Shape (T,): days for which a row came; None: all

    @property
    def delivered(self) -> BoolArray:
        """Shape (T,): days with spend or impressions."""
        return np.asarray((self.rows[:, SPEND] > 0) | (self.rows[:, IMPRESSIONS] > 0))

    @property
    def last_day(self) -> date:
        """Calendar day of the last row."""
        return self.day(len(self.rows) - 1)

    def day(self, index: int) -> date:
        """Calendar day of a row."""
        return self.first_day + timedelta(days=int(index))

    def index(self, day: date) -> int:
        """Row of a calendar day; may lie outside of the rows."""
        return (day - self.first_day).days

    def until(self, last: int) -> "Days":
        """Without the rows behind `last`, or with absent days up to there."""
        present = np.ones(len(self.rows), dtype=np.bool_) if self.present is None else self.present
        more = max(last + 1 - len(self.rows), 0)
        rows = np.concatenate([self.rows[: last + 1], np.zeros((more, len(COLUMNS)))])
        present = np.concatenate([present[: last + 1], np.zeros(more, dtype=np.bool_)])
        return Days(self.first_day, rows, present)


def calendar_of(
    days: npt.NDArray[np.datetime64], values: FloatArray, *, last_day: date | None = None
) -> Days:
    """Rows of shape (n, 5) of n days, in any order, on an unbroken calendar: an absent day is one without delivery.

    It is filled up to `last_day`, where rows end before (an entity that stopped while its account went on).
    """
    at = days.astype("datetime64[D]").astype(np.int64)
    first, end = int(at.min()), int(at.max())
    if last_day is not None:
        end = max(end, last_day.toordinal() - _EPOCH)
    rows, present = np.zeros((end - first + 1, len(COLUMNS))), np.zeros(end - first + 1, dtype=np.bool_)
    rows[at - first], present[at - first] = values, True
    return Days(date.fromordinal(first + _EPOCH), rows, present)


def unit_price(rows: FloatArray) -> float:
    """What an impression usually costs: spend over impressions, over all rows; NaN without either."""
    spend, impressions = float(rows[:, SPEND].sum()), float(rows[:, IMPRESSIONS].sum())
    return spend / impressions if spend > 0 and impressions > 0 else np.nan


def metric_values(rows: FloatArray) -> FloatArray:
    """The metrics themselves in their own units, shape (T, channels); NaN where missing."""
    y = rows[:, NUMERATOR]
    x = np.where(EXPOSURE >= 0, rows[:, EXPOSURE], 1.0)
    top, bottom = np.where(SIGN > 0, y, x), np.where(SIGN > 0, x, y)
    out = np.full(y.shape, np.nan)
    np.divide(SCALE * top, bottom, out=out, where=bottom > 0)
    return out
