"""Daily rows as series: of a frame, and of the store, kept while the rows stay as they are."""

import threading
from collections.abc import Collection
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

_FEW: Final = 2_000
"""More changed entities than this are read as the whole level or account."""


def series(frame: pd.DataFrame, config_id: int, *, last_day: date | None = None) -> dict[EntityRef, Days]:
    """The series of a daily frame (`adsml_common.domain.daily`), sorted by level and id as the store gives it.

    With `last_day`, the account's last one, every series is filled up to there.
    """
    out: dict[EntityRef, Days] = {}
    if frame.empty:
        return out
    levels, ids = frame["entity_type"].to_numpy(dtype=object), frame["entity_id"].to_numpy(dtype=object)
    days = frame["date"].to_numpy(dtype="datetime64[D]")
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    new = np.flatnonzero((levels[1:] != levels[:-1]) | (ids[1:] != ids[:-1])) + 1
    for a, b in pairwise([0, *new.tolist(), len(frame)]):
        ref = EntityRef(config_id, EntityType(levels[a]), ids[a])
        out[ref] = calendar_of(days[a:b], values[a:b], last_day=last_day)
    return out


@dataclass(frozen=True, slots=True)
class _Entry:
    revision: int
    start: date
    last_day: date
    days: Days | None


class Histories:
    """Series of stored entities, read again when their rows have changed; threads share it.

    `capacity` series are kept, about 6 kB each; the one unused for longest makes room.
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
        """The series of those entities that have rows from `start` on, filled up to `last_day`: two queries at most.

        Without type or ids: all levels, all entities.
        """
        # Asked before the rows: should they change in between, an entry looks older than it is, never newer.
        revisions = self._metrics.revisions(config_id, entity_type=entity_type, entity_ids=entity_ids)
        with self._lock:
            entries = {ref: self._entries.get(ref) for ref in revisions}
        changed = {
            ref: revision
            for ref, revision in revisions.items()
            if (one := entries[ref]) is None
            or (one.revision, one.start, one.last_day) != (revision, start, last_day)
        }
        if changed:
            ids = sorted({ref.entity_id for ref in changed}) if len(changed) <= _FEW else None
            rows = self._metrics.each(config_id, entity_type=entity_type, entity_ids=ids, start=start)
            read = {ref: calendar_of(days, values, last_day=last_day) for ref, days, values in rows}
            renewed = {
                ref: _Entry(revision, start, last_day, read.get(ref)) for ref, revision in changed.items()
            }
            entries |= renewed
            with self._lock:
                self._entries.update(renewed)
        return {ref: one.days for ref, one in entries.items() if one is not None and one.days is not None}
