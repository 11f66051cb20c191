"""What an account's entities have in common: how they answer to spend, to named days, to the days of the week."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from adsml_common.domain.metrics import RATIOS, Metric, divide

from adsml_forecasting.models import events, spend_response
from adsml_forecasting.models.prepared import NO_ACCOUNT, AccountProfile
from adsml_forecasting.models.ratios import parts_of
from adsml_forecasting.models.series import DailySeries, EntityHistory, Vector

COLUMNS: Final = ("spend", "impressions", "clicks", "leads")
_RECENT: Final = 56
_WEEKS_PRIOR: Final = 2.0


def profile_account(histories: Sequence[EntityHistory], calendar: events.Calendar) -> AccountProfile:
    """Learn from every entity's days, none of which may lie after the day the answer is about."""
    if not histories:
        return NO_ACCOUNT
    last = max(one.last_day for one in histories)
    elasticity: dict[str, spend_response.Elasticity] = {}
    moves = 0
    effects: dict[str, dict[str, events.EventEffect]] = {}
    weekdays: dict[str, tuple[float, ...]] = {}
    every = [day for days in calendar.values() for day in days]
    for column in COLUMNS:
        own = [
            found
            for one in histories
            if (found := spend_response.estimate(one.column("spend"), one.column(column))) is not None
        ]
        if column != "spend":
            elasticity[column] = spend_response.pool(own)
            moves = max(moves, len(own))
        effects[column] = {}
        known = []
        for one in histories:
            if np.isfinite(values := one.column(column)).any():
                series = DailySeries(one.first_day, values, True, one.name)
                known.append((series, events.ordinary(series, every)))
        for name, days in calendar.items():
            pooled = events.pool([events.occurrences(one, days, usual) for one, usual in known])
            if pooled is not None:
                effects[column][name] = pooled
        shape = _weekday_factors(histories, column, last)
        if shape is not None:
            weekdays[column] = shape
    return AccountProfile(elasticity, moves, effects, _rates(histories, last), weekdays)


def _newest(history: EntityHistory, column: str, last: int) -> Vector:
    """The newest eight weeks up to `last`, 0 where nothing is known."""
    out = np.zeros(_RECENT)
    values = np.nan_to_num(history.column(column))
    days = np.arange(history.first_day, history.last_day + 1)
    at = days - (last - _RECENT + 1)
    inside = (at >= 0) & (at < _RECENT)
    out[at[inside]] = values[inside]
    return out


def _weekday_factors(histories: Sequence[EntityHistory], column: str, last: int) -> tuple[float, ...] | None:
    total = np.sum([_newest(one, column, last) for one in histories], axis=0)
    known = np.flatnonzero(total > 0)
    if not len(known) or _RECENT - known[0] < 14:
        return None
    weeks = (_RECENT - int(known[0])) // 7
    table = total[-7 * weeks :].reshape(weeks, 7)
    level = float(table.mean())
    if not level > 0:
        return None
    shape = table.mean(axis=0) / level
    weight = weeks / (weeks + _WEEKS_PRIOR)
    # 1970-01-01 was a Thursday: day 4 a Monday.
    weekday = (last - 6 + np.arange(7) + 3) % 7
    out = np.ones(7)
    out[weekday] = 1 + weight * (shape - 1)
    return tuple(float(one) for one in out)


def _rates(histories: Sequence[EntityHistory], last: int) -> dict[Metric, float]:
    sums = {
        column: np.array([sum(_newest(one, column, last).sum() for one in histories)])
        for column in (*COLUMNS, "reach")
    }
    parts = {metric: parts_of(metric) for metric in RATIOS}
    rates = {metric: float(divide(sums[top], sums[per])[0]) for metric, (top, per) in parts.items()}
    return {metric: rate for metric, rate in rates.items() if np.isfinite(rate) and rate > 0}
