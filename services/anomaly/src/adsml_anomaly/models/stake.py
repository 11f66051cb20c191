"""Money at stake on a day: what an incident costs while it lasts, to rank incidents by."""

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.channels import CHANNELS, NUMERATOR
from adsml_anomaly.models.results import Kind

_SPEND, _CPL = CHANNELS.index(Metric.SPEND), CHANNELS.index(Metric.CPL)
_WEEK = 7


def of_day(
    kind: Kind, main: Metric | None, rows: FloatArray, expected: FloatArray, unit_price: float
) -> float:
    """In the account's currency.

    Spend that does not happen, or happens beyond the plan, is at stake as such; of lost leads and of a ratio that is
    off, that part of the day's spend which buys nothing or too little. Good news put nothing at stake.

    `rows`, shape (t + 1, 5), end with the day; `expected`, shape (channels,), are its expected counts, NaN where
    unknown; `unit_price` is the spend in one unit of the spend channel.
    """
    spend = float(rows[-1, 0])
    if kind in (Kind.ABSENT_DATA, Kind.NO_DELIVERY):
        before = rows[:-1, 0]
        before = before[before > 0][-_WEEK:]
        return float(np.median(before)) if before.size else 0.0
    if kind in (Kind.DELIVERY_DROP, Kind.DELIVERY_SURGE):
        usual = float(expected[_SPEND]) * unit_price
        off = usual - spend if kind is Kind.DELIVERY_DROP else spend - usual
        return max(off, 0.0) if np.isfinite(usual) else 0.0
    if kind in (Kind.LEADS_SURGE, Kind.ENGAGEMENT_RISE, Kind.COST_FALL):
        return 0.0
    c = _CPL if kind is Kind.LEADS_LOST else None if main is None else CHANNELS.index(main)
    if c is None:
        return 0.0
    due, seen = float(expected[c]), float(rows[-1, NUMERATOR[c]])
    if not np.isfinite(due) or due <= 0:
        return 0.0
    short = 1.0 - (seen / unit_price if c == _SPEND else seen) / due
    return spend * min(max(short, 0.0) if kind is Kind.LEADS_LOST else abs(short), 1.0)
