"""Daily rows as series: of a frame, and of the store, entry while the rows stay as they are."""

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache

from adsml_anomaly.models.channels import COLUMNS, Days, calendar_of


def series(frame: pd.DataFrame, config_id: int, *, last_day: date | None = None) -> dict[EntityRef, Days]:
    """The series of a daily frame, sorted by level and id as the store gives it.

    Parameters
    ----------
    frame
        See `adsml_common.domain.daily`.
    config_id
        Its account.
    last_day
        Fill every series up to here: the account's last day.
    """
    return dict(_each(frame, config_id, last_day))


def _each(frame: pd.DataFrame, config_id: int, last_day: date | None) -> Iterator[tuple[EntityRef, Days]]:
    if frame.empty:
        return
    levels, ids = frame["entity_type"].to_numpy(dtype=object), frame["entity_id"].to_numpy(dtype=object)
    days = frame["date"].to_numpy(dtype="datetime64[D]")
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    new = np.flatnonzero((levels[1:] != levels[:-1]) | (ids[1:] != ids[:-1])) + 1
    bounds = [0, *new.tolist(), len(frame)]
    for a, b in pairwise(bounds):
        ref = EntityRef(config_id, EntityType(levels[a]), ids[a])
        yield ref, calendar_of(days[a:b], values[a:b], last_day=last_day)


_FEW: Final = 2_000
"""More changed entities than this are read as the whole level or account."""


@dataclass(frozen=True, slots=True)
class _Entry:
    revision: int
    start: date
    last_day: date
    days: Days | None


class Histories:
    """Series of stored entities, read again when their rows have changed; threads share it.

    Parameters
    ----------
    metrics
        Where the rows are.
    capacity
        Series kept; the one unused for longest makes room. One takes about 6 kB.
    """

    def __init__(self, metrics: MetricStore, *, capacity: int) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._entries: LRUCache[EntityRef, _Entry] = LRUCache(capacity)

    def of(
        self,
        config_id: int,
        *,
        entity_type: EntityType | None,
        entity_ids: Collection[str] | None,
        start: date,
        last_day: date,
    ) -> dict[EntityRef, Days]:
        """The series of those entities that have rows, in two queries at most.

        Parameters
        ----------
        config_id, entity_type, entity_ids
            Which; all levels, all entities without.
        start, last_day
            The first day that is read, and the one that every series is filled up to.

        Raises
        ------
        Unavailable
            The database does not answer.
        """
        # Asked before the rows: should they change in between, an entry looks older than it is, never newer.
        revisions = self._metrics.revisions(config_id, entity_type=entity_type, entity_ids=entity_ids)
        out: dict[EntityRef, Days] = {}
        changed: list[EntityRef] = []
        with self._lock:
            for ref, revision in revisions.items():
                entry = self._entries.get(ref)
                if entry is None or (entry.revision, entry.start, entry.last_day) != (
                    revision,
                    start,
                    last_day,
                ):
                    changed.append(ref)
                    continue
                if entry.days is not None:
                    out[ref] = entry.days
        if changed:
            read = {
                ref: calendar_of(days, values, last_day=last_day)
                for ref, days, values in self._metrics.each(
                    config_id,
                    entity_type=entity_type,
                    entity_ids=sorted({ref.entity_id for ref in changed}) if len(changed) <= _FEW else None,
                    start=start,
                )
            }
            out |= read
            with self._lock:
                for ref in changed:
                    self._entries[ref] = _Entry(revisions[ref], start, last_day, read.get(ref))
        return out
