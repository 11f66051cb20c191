"""Accounts' recent days from the store, kept in memory until a row of them changes."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.errors import NotFound
from adsml_common.store.accounts import AccountStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache

from adsml_classifier.models.features import LOOKBACK_DAYS
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.snapshot import AccountSnapshot

RECENT_DAYS: Final = 2 * LOOKBACK_DAYS
"""Kept in memory up to the last stored day; an as-of day before that costs a query of its own."""

_SNAPSHOTS: Final = 4
_BACK: Final = timedelta(days=LOOKBACK_DAYS - 1)
_OFF: Final = frozenset(("PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED", "ARCHIVED", "DELETED"))


@dataclass(frozen=True, eq=False)
class AccountDays:
    """An account's days and its entities; threads share it."""

    panel: Panel
    statuses: Mapping[tuple[str, str], str]
    """Level and id of every entity to what the platform says of it now; empty where it says nothing."""
    last: date  # the account's last stored day
    currency_code: str  # empty where no load said it
    recent: bool  # whether these days reach up to the last, and are kept in memory
    first_covered: date  # the first of which all days that its features look at are here
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _snapshots: dict[date, AccountSnapshot] = field(default_factory=dict)

    def snapshot(self, as_of: date) -> AccountSnapshot:
        """The entities as of a day of the panel; kept for the days last asked about."""
        with self._lock:
            snapshot = self._snapshots.pop(as_of, None) or AccountSnapshot.of(self.panel, as_of)
            while len(self._snapshots) >= _SNAPSHOTS:
                del self._snapshots[next(iter(self._snapshots))]
            self._snapshots[as_of] = snapshot
        return snapshot

    def peek(self, as_of: date) -> AccountSnapshot | None:
        """What `snapshot` keeps, without waiting; None where it would have to compute it."""
        return self._snapshots.get(as_of) if self.covers(as_of) else None

    def covers(self, as_of: date) -> bool:
        """Whether all days that features of a day look at are here."""
        return self.first_covered <= as_of <= self.last

    def off(self, key: tuple[str, str], as_of: date) -> str:
        """The status of an entity that the platform says is switched off, as of the last day; else empty."""
        status = self.statuses.get(key, "") if as_of >= self.last else ""
        return status if status.upper() in _OFF else ""


class AccountData:
    """Gives accounts' days, of `capacity` accounts from memory; threads share it.

    The store is asked whether a row has changed at most every `max_age_seconds` for each account, so that under load
    not every call costs a query: an import is seen that much later.
    """

    def __init__(
        self,
        database: Database,
        *,
        capacity: int,
        max_age_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._accounts = AccountStore(database)
        self._max_age = max_age_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # With the version of the rows, and when the store was asked for it.
        self._cached: LRUCache[int, tuple[AccountDays, str, float]] = LRUCache(capacity)
        # One thread reads an account, the others wait for it: many callers of a cold account are one query.
        self._reading: dict[int, threading.Lock] = {}

    def days(self, config_id: int, *, as_of: date) -> AccountDays:
        """The account's days up to `as_of`, all that features look at; it may hold later days too.

        `NotFound` where it has no rows in those days, `Unavailable` where the database does not answer.
        """
        recent = self.recent(config_id)
        if recent.covers(as_of):
            return recent
        return self._read(config_id, as_of - _BACK, as_of, last=recent.last, recent=False)

    def recent(self, config_id: int) -> AccountDays:
        """The account's days up to its last stored one; errors as of `days`."""
        cached = self.peek(config_id)
        if cached is not None and not cached[1]:
            return cached[0]
        with self._lock:
            reading = self._reading.setdefault(config_id, threading.Lock())
        try:
            with reading:
                cached = self.peek(config_id)
                return cached[0] if cached is not None and not cached[1] else self._renewed(config_id)
        finally:
            with self._lock:
                # Whoever waits for it holds it; whoever comes later makes a new one.
                self._reading.pop(config_id, None)

    def peek(self, config_id: int) -> tuple[AccountDays, bool] | None:
        """What `recent` keeps, and whether it is time to ask the store; None where that can't wait.

        Others may be answered by what is kept while one asks, but for no longer than twice the age it may have.
        """
        with self._lock:
            cached = self._cached.get(config_id)
        if cached is None:
            return None
        age = self._clock() - cached[2]
        return None if age >= 2 * self._max_age else (cached[0], age >= self._max_age)

    def _renewed(self, config_id: int) -> AccountDays:
        now, version = self._clock(), self._metrics.data_version(config_id)
        with self._lock:
            cached = self._cached.get(config_id)
        if cached is not None and cached[1] == version:
            days = cached[0]
        elif (last := self._metrics.last_date(config_id)) is not None:
            days = self._read(config_id, last - timedelta(days=RECENT_DAYS - 1), last, last=last, recent=True)
        else:
            with self._lock:
                self._cached.pop(config_id, None)
            raise NotFound(f"account {config_id} has no daily rows")
        with self._lock:
            self._cached[config_id] = days, version, now
        return days

    def _read(self, config_id: int, start: date, end: date, *, last: date, recent: bool) -> AccountDays:
        frame = self._metrics.daily(config_id, start=start, end=end)
        if frame.empty:
            raise NotFound(f"account {config_id} has no daily rows from {start} to {end}")
        entities = self._entities.frame(config_id)
        panel = Panel.of(frame, entities=entities, start=start, end=end)
        keys = zip(entities["entity_type"], entities["entity_id"], strict=True)
        statuses = dict(zip(keys, entities["status"].fillna("").astype(str), strict=True))
        return AccountDays(
            panel, statuses, last, self._accounts.currency(config_id) or "", recent, start + _BACK
        )
