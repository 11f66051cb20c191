"""Daily rows as series: of a frame, and of the store, kept while the rows stay as they are."""

import threading
from collections.abc import Collection
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache

from adsml_anomaly.models.channels import COLUMNS, Days, calendar_of

_FEW: Final = 2_000
"""More changed entities than this are read as the whole level or account."""


def series(frame: pd.DataFrame, config_id: int) -> dict[EntityRef, Days]:
    """The series of a daily frame (`adsml_common.domain.daily`)."""
    return {
        EntityRef(config_id, EntityType(str(level)), str(entity_id)): calendar_of(
            rows["date"].to_numpy(dtype="datetime64[D]"),
            rows[list(COLUMNS)].to_numpy(dtype=np.float64),
        )
        for (level, entity_id), rows in frame.groupby(["entity_type", "entity_id"], sort=False, observed=True)
    }


def stored_series(metrics: MetricStore, config_id: int, *, start: date) -> dict[EntityRef, Days]:
    """The series of all entities of an account that have rows from `start` on."""
    return {ref: calendar_of(days, values) for ref, days, values in metrics.each(config_id, start=start)}


class Histories:
    """Series of stored entities, read again when their rows have changed; threads share it.

    `capacity` series are kept, about 6 kB each; the one unused for longest makes room.
    """

    def __init__(self, metrics: MetricStore, *, capacity: int) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._entries: LRUCache[EntityRef, tuple[tuple[int, date, date], Days | None]] = LRUCache(capacity)

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
        stamps = {ref: (revision, start, last_day) for ref, revision in revisions.items()}
        with self._lock:
            known = {ref: self._entries.get(ref) for ref in stamps}
        changed = [ref for ref, stamp in stamps.items() if (one := known[ref]) is None or one[0] != stamp]
        if changed:
            ids = sorted({ref.entity_id for ref in changed}) if len(changed) <= _FEW else None
            rows = self._metrics.each(config_id, entity_type=entity_type, entity_ids=ids, start=start)
            read = {ref: calendar_of(days, values, last_day=last_day) for ref, days, values in rows}
            renewed = {ref: (stamps[ref], read.get(ref)) for ref in changed}
            known |= renewed
            with self._lock:
                self._entries.update(renewed)
        return {ref: one[1] for ref, one in known.items() if one is not None and one[1] is not None}
