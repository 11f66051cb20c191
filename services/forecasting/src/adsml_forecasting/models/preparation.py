"""From daily rows to the series that is forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.metrics import RATIOS, Metric

from adsml_forecasting.models.level_shifts import LevelShift, adjusted, day_number, without_pauses
from adsml_forecasting.models.ratios import RatioSeries
from adsml_forecasting.models.series import DailySeries, Vector

_LATEST: Final = 7


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What is fitted, and what was left out of it.

    Attributes
    ----------
    series
        The metric's own, or the ratio's parts.
    cutoff
        Last day of history.
    masked, incomplete, missing
        Days left out: flagged or without delivery in a pause; still filling up; without a denominator.
    shifts
        Changes used as level shifts.
    """

    series: DailySeries | RatioSeries
    cutoff: date
    masked: tuple[date, ...]
    incomplete: tuple[date, ...]
    missing: tuple[date, ...]
    shifts: tuple[LevelShift, ...]


def column(frame: pd.DataFrame, name: str, *, last: int, label: str) -> DailySeries:
    """One stored column of one entity's rows on every day from its first row to `last`.

    A day without a row is a day without delivery: 0. Reach that is not known is missing.
    """
    days = frame["date"].to_numpy(dtype="datetime64[D]").astype(np.int64)
    values = frame[name].to_numpy(dtype=np.float64)
    kept = days <= last
    if not kept.any():
        raise InsufficientHistory(label, had=0, needed=1)
    first = int(days[kept].min())
    grid = np.zeros(last - first + 1)
    grid[days[kept] - first] = values[kept]
    return DailySeries(first, grid, True, label)


def prepare(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    label: str,
    cutoff: date | None = None,
    drop_last_days: int = 0,
    masked: Sequence[date] = (),
    shifts: Sequence[LevelShift] = (),
    budgets: Mapping[date, float] | None = None,
    horizon: int = 7,
) -> Prepared:
    """The series of a metric up to the cutoff.

    Parameters
    ----------
    frame
        One entity's daily rows.
    label
        What to call it in errors.
    cutoff
        None: its last row's day less `drop_last_days`.
    masked
        Days to leave out.
    shifts
        Known changes; those not worth keeping are ignored.
    budgets
        Planned for days of the horizon; spend stands for the budget of the past. A day without a plan gets
        the mean of the last week's spend.

    Raises
    ------
    InsufficientHistory
        No usable day.
    """
    if frame.empty:
        raise InsufficientHistory(label, had=0, needed=1)
    newest = frame["date"].max().date()
    # Without a delivery on the newest days a row may be missing: the cutoff that was asked for stands.
    last = cutoff or newest - pd.Timedelta(days=drop_last_days)
    last_number = day_number(last)
    incomplete: tuple[date, ...] = ()
    if cutoff is None and drop_last_days:
        days = pd.date_range(newest - pd.Timedelta(days=drop_last_days - 1), newest)
        incomplete = tuple(day.date() for day in days)
    wanted = [shift for shift in shifts if shift.worth_keeping and shift.date <= last]
    left_out = {day_number(day) for day in masked if day <= last}
    ratio = RATIOS.get(metric)
    used: list[LevelShift] = []
    missing: list[int] = []

    def ready(name: str) -> DailySeries:
        nonlocal used
        series = column(frame, name, last=last_number, label=label)
        out = series.masked(dict.fromkeys([*left_out, *without_pauses(series, shifts)]))
        if name == "reach" or np.isnan(series.values).any():
            out = out.masked({})
        out, found = adjusted(out, wanted)
        used = used or found
        return out

    result: DailySeries | RatioSeries
    if ratio is None:
        result = ready(metric.value)
        if budgets:
            spend = column(frame, "spend", last=result.last_day, label=label)
            result = replace(result, budget=_budget(result, spend, budgets, horizon))
    else:
        numerator, denominator = ready(ratio.numerator), ready(ratio.denominator)
        first = max(numerator.first_day, denominator.first_day)
        end = min(numerator.last_day, denominator.last_day)
        numerator, denominator = _cut(numerator, first, end), _cut(denominator, first, end)
        result = RatioSeries(numerator, denominator, ratio.scale)
        missing = [first + int(at) for at in np.flatnonzero(denominator.values == 0)]
        # Raises where no day has a denominator: then there is no ratio to forecast.
        _ = result.daily
    return Prepared(
        result,
        last,
        tuple(sorted(date.fromordinal(day + date(1970, 1, 1).toordinal()) for day in left_out)),
        incomplete,
        tuple(date.fromordinal(day + date(1970, 1, 1).toordinal()) for day in missing),
        tuple(used),
    )


def _cut(series: DailySeries, first: int, last: int) -> DailySeries:
    if last < first:
        raise InsufficientHistory(series.name, had=0, needed=1)
    return replace(
        series,
        first_day=first,
        values=series.values[first - series.first_day : last - series.first_day + 1],
    )


def _budget(series: DailySeries, spend: DailySeries, budgets: Mapping[date, float], horizon: int) -> Vector:
    past = np.zeros(len(series))
    at = spend.first_day - series.first_day
    values = spend.values[max(-at, 0) :]
    start = max(at, 0)
    past[start : start + len(values)] = values[: len(series) - start]
    usual = float(past[-_LATEST:].mean())
    planned = {day_number(day): amount for day, amount in budgets.items()}
    ahead = [planned.get(series.last_day + step, usual) for step in range(1, horizon + 1)]
    return np.concatenate([past, np.array(ahead)])
