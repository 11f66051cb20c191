"""Daily rows as series: of a frame, and of the store, kept while the rows stay as they are."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.metrics import MetricStore

from adsml_anomaly.channels import COLUMNS, Days, calendar_of


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


@dataclass(frozen=True, slots=True)
class _Kept:
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
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[EntityRef, _Kept] = OrderedDict()

    def of(
        self,
        config_id: int,
        *,
        entity_type: EntityType | None,
        entity_ids: Collection[str],
        start: date,
        last_day: date,
    ) -> dict[EntityRef, Days]:
        """The series of those entities that have rows, in two queries at most.

        Parameters
        ----------
        config_id, entity_type, entity_ids
            Which; all levels without one.
        start, last_day
            The first day that is read, and the one that every series is filled up to.

        Raises
        ------
        Unavailable
            The database does not answer.
        """
        # Asked before the rows: should they change in between, what is kept looks older than it is, never newer.
        revisions = self._metrics.revisions(config_id, entity_type=entity_type, entity_ids=entity_ids)
        out: dict[EntityRef, Days] = {}
        changed: list[EntityRef] = []
        with self._lock:
            for ref, revision in revisions.items():
                kept = self._kept.get(ref)
                if kept is None or (kept.revision, kept.start, kept.last_day) != (revision, start, last_day):
                    changed.append(ref)
                    continue
                self._kept.move_to_end(ref)
                if kept.days is not None:
                    out[ref] = kept.days
        if changed:
            read = {
                ref: calendar_of(days, values, last_day=last_day)
                for ref, days, values in self._metrics.each(
                    config_id,
                    entity_type=entity_type,
                    entity_ids=sorted({ref.entity_id for ref in changed}),
                    start=start,
                )
            }
            out |= read
            with self._lock:
                for ref in changed:
                    self._kept[ref] = _Kept(revisions[ref], start, last_day, read.get(ref))
                    self._kept.move_to_end(ref)
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        return out
