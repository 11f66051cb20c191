"""How complete young days are: rows keep growing for a while after their day, leads longest.

A day's age is counted from the last loaded day: that one has age 0. The share that is in at an age is learnt from
rows that were loaded young and restated later: a ratio of sums over days, which never falls with age. Days are of the
account's campaigns (or whatever its highest level with rows is).
"""

import threading
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from cachetools import LRUCache

from adsml_common.domain.completion import CompletionCurve
from adsml_common.domain.entities import EntityType
from adsml_common.store.metrics import MetricStore

FloatArray = npt.NDArray[np.float64]

LONGEST_DAYS: Final = 28
"""Older days are taken for complete."""
DAYS_NEEDED: Final = 7
"""Days seen at an age before its share is believed."""
_LEARNED_FROM_DAYS: Final = 120
_ACCOUNTS_IN_MEMORY: Final = 256
_COMPLETE: Final = 0.995
_DELIVERY: Final = ("spend", "impressions", "clicks")
_LEADS: Final = ("leads",)


class CompletionCurves:
    """The curves of stored accounts, learned anew when their data change. Safe to use from any thread."""

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._known: LRUCache[int, tuple[str, CompletionCurve | None]] = LRUCache(_ACCOUNTS_IN_MEMORY)
        self._lock = threading.Lock()

    def of(self, config_id: int) -> CompletionCurve | None:
        """An account's curve; None where nothing was restated, or too little."""
        version = self._metrics.data_version(config_id)
        with self._lock:
            known = self._known.get(config_id)
        if known is not None and known[0] == version:
            return known[1]
        last, curve = self._metrics.last_date(config_id), None
        if last is not None:
            start = last - timedelta(days=_LEARNED_FROM_DAYS)
            levels = (
                self._metrics.versions(config_id, entity_type=level, start=start) for level in EntityType
            )
            # Of the highest level whose rows were restated.
            curve = learn_curve(next((one for one in levels if not one.empty), pd.DataFrame()))
        with self._lock:
            self._known[config_id] = (version, curve)
        return curve


def learn_curve(versions: pd.DataFrame) -> CompletionCurve | None:
    """The curve of an account, from every version of its rows; the last version of a row is the one that counts.

    `versions` has ``entity_id, date, loaded_at`` (UTC) and the stored columns. None where fewer than seven days were
    seen young, or all days are complete from the first load on.
    """
    if versions.empty:
        return None
    frame = versions.sort_values(["entity_id", "date", "loaded_at"], kind="stable")
    # The last day that each load, or one before it, had brought: the clock by which days were young.
    clock = frame.groupby("loaded_at")["date"].max().sort_index().cummax()
    frame = frame.assign(age=(frame["loaded_at"].map(clock) - frame["date"]).dt.days)
    last = clock.iloc[-1]
    final = frame.groupby(["entity_id", "date"], sort=False).last()
    final = final[final.index.get_level_values("date") <= last - pd.Timedelta(days=LONGEST_DAYS)]
    if final.empty:
        return None
    seen_by_age = []
    for age in range(LONGEST_DAYS):
        # What was known at this age: the last version loaded by then.
        seen = frame[frame["age"] <= age].groupby(["entity_id", "date"], sort=False).last()
        by_day = seen.join(final, rsuffix="_final", how="inner").groupby("date").sum(numeric_only=True)
        seen_by_age.append(by_day)
    delivery, leads = (
        np.array([_share(by_day, columns) for by_day in seen_by_age]) for columns in (_DELIVERY, _LEADS)
    )
    if np.isnan(delivery[0, 0]) and np.isnan(leads[0, 0]):
        return None
    return _curve(delivery, leads)


def _share(by_day: pd.DataFrame, columns: tuple[str, ...]) -> tuple[float, float]:
    """Share of the final sums, and the spread of its logarithm over days; NaN where too few were seen."""
    ratios = []
    for column in columns:
        now, then = (by_day[name].to_numpy(dtype=np.float64) for name in (column, f"{column}_final"))
        use = then > 0
        if use.sum() < DAYS_NEEDED:
            continue
        total = now[use].sum() / then[use].sum()
        # Chance makes a ratio of few leads uneven, too: that part is not the curve's.
        logs = np.log((now[use] + 0.5) / (then[use] + 0.5))
        chance = np.mean((1.0 - np.minimum(now[use] / then[use], 1.0)) / np.maximum(now[use], 0.5))
        ratios.append(
            (total, float(np.sqrt(max(np.var(logs) - (chance if column == "leads" else 0.0), 0.0))))
        )
    if not ratios:
        return np.nan, np.nan
    return min(float(np.mean([one for one, _ in ratios])), 1.0), float(np.mean([two for _, two in ratios]))


def _curve(*parts: FloatArray) -> CompletionCurve | None:
    """The curve by shares and spreads, shape (ages, 2), of delivery and of leads."""
    shares = [np.maximum.accumulate(pd.Series(one[:, 0]).bfill().fillna(1.0).to_numpy()) for one in parts]
    incomplete = np.flatnonzero((np.stack(shares) < _COMPLETE).any(axis=0))
    if not incomplete.size:
        return None
    n = int(incomplete[-1]) + 1
    spreads = [np.nan_to_num(one[:n, 1]) for one in parts]
    return CompletionCurve(*(tuple(one[:n].tolist()) for one in (*shares, *spreads)))
