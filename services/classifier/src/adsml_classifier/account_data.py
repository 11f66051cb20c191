"""Accounts' recent days from the store, kept in memory until a row of them changes."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.errors import NotFound
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_classifier.features import LOOKBACK_DAYS
from adsml_classifier.panel import Panel

RECENT_DAYS: Final = 2 * LOOKBACK_DAYS
"""Kept in memory up to the last stored day; an as-of day before that costs a query of its own."""


@dataclass(frozen=True, slots=True)
class AccountDays:
    """An account's days and its entities.

    Attributes
    ----------
    panel
        The days.
    known
        Level and id of every entity of the account, with rows in those days or without.
    """

    panel: Panel
    known: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Kept:
    version: str
    days: AccountDays


class AccountData:
    """Gives an account's days; threads share it.

    Parameters
    ----------
    database
        Where they are stored.
    capacity
        Accounts kept in memory; the one unused for longest makes room.
    """

    def __init__(self, database: Database, *, capacity: int) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def last_date(self, config_id: int) -> date:
        """The last stored day of an account.

        Raises
        ------
        NotFound
            It has none.
        """
        last = self._metrics.last_date(config_id)
        if last is None:
            raise NotFound(f"account {config_id} has no daily rows")
        return last

    def days(self, config_id: int, *, as_of: date) -> AccountDays:
        """The account's days up to `as_of`, all that features look at; it may hold later days too.

        Raises
        ------
        NotFound
            The account has no rows in those days.
        Unavailable
            The database does not answer.
        """
        last = self.last_date(config_id)
        start = last - timedelta(days=RECENT_DAYS - 1)
        if not start + timedelta(days=LOOKBACK_DAYS - 1) <= as_of <= last:
            return self._read(config_id, as_of - timedelta(days=LOOKBACK_DAYS - 1), as_of)
        version = self._metrics.data_version(config_id)
        with self._lock:
            kept = self._kept.get(config_id)
            if kept is not None and kept.version == version:
                self._kept.move_to_end(config_id)
                return kept.days
        days = self._read(config_id, start, last)
        # Running totals are made here, once, not by the first call that needs them.
        _ = days.panel.running
        with self._lock:
            self._kept[config_id] = _Kept(version, days)
            self._kept.move_to_end(config_id)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return days

    def _read(self, config_id: int, start: date, end: date) -> AccountDays:
        frame = self._metrics.daily(config_id, start=start, end=end)
        if frame.empty:
            raise NotFound(f"account {config_id} has no daily rows from {start} to {end}")
        entities = self._entities.frame(config_id)
        panel = Panel.of(frame, entities=entities, start=start, end=end)
        return AccountDays(panel, frozenset(zip(entities["entity_type"], entities["entity_id"], strict=True)))
