"""Accounts' recent days from the store, kept in memory until a row of them changes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.errors import NotFound
from adsml_common.store.accounts import AccountStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_classifier.models.features import LOOKBACK_DAYS
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.rule import RuleSettings
from adsml_classifier.models.snapshot import AccountSnapshot

RECENT_DAYS: Final = 2 * LOOKBACK_DAYS
"""Kept in memory up to the last stored day; an as-of day before that costs a query of its own."""

_SNAPSHOTS: Final = 4
_BACK: Final = timedelta(days=LOOKBACK_DAYS - 1)
_OFF: Final = frozenset(("PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED", "ARCHIVED", "DELETED"))


class AccountDays:
    """An account's days and its entities; threads share it.

    Parameters
    ----------
    panel
        The days.
    statuses
        Level and id of every entity of the account, with rows in those days or without, to what the platform says of
        it now; empty where it says nothing.
    last
        The account's last stored day.
    currency_code
        Of the account's money; empty where no load said it.
    recent
        Whether these days reach up to it, and are kept in memory.

    Attributes
    ----------
    first
        The first of the days.
    """

    def __init__(
        self,
        panel: Panel,
        statuses: Mapping[tuple[str, str], str],
        last: date,
        *,
        currency_code: str = "",
        recent: bool,
    ) -> None:
        self.panel = panel
        self.statuses = statuses
        self.first = panel.day(0)
        self.last = last
        self.currency_code = currency_code
        self.recent = recent
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[tuple[date, RuleSettings], AccountSnapshot] = OrderedDict()

    def snapshot(self, as_of: date, settings: RuleSettings) -> AccountSnapshot:
        """The entities as of a day of the panel; kept for the days last asked about."""
        with self._lock:
            snapshot = self._snapshots.get((as_of, settings))
            if snapshot is None:
                snapshot = self._snapshots[as_of, settings] = AccountSnapshot.of(self.panel, as_of, settings)
                while len(self._snapshots) > _SNAPSHOTS:
                    self._snapshots.popitem(last=False)
            else:
                self._snapshots.move_to_end((as_of, settings))
        return snapshot

    def peek(self, as_of: date, settings: RuleSettings) -> AccountSnapshot | None:
        """What `snapshot` keeps; None where it would have to compute it."""
        return self._snapshots.get((as_of, settings))

    def covers(self, as_of: date) -> bool:
        """Whether all days that features of a day look at are here."""
        return self.first + _BACK <= as_of <= self.last

    def off(self, key: tuple[str, str], as_of: date) -> str:
        """The status of an entity that the platform says is switched off, as of the last day; else empty."""
        status = self.statuses.get(key, "") if as_of >= self.last else ""
        return status if status.upper() in _OFF else ""


@dataclass(slots=True)
class _CachedAccount:
    version: str
    days: AccountDays
    checked_at: float


class AccountData:
    """Gives accounts' days; threads share it.

    Parameters
    ----------
    database
        Where they are stored.
    capacity
        Accounts kept in memory; the one unused for longest makes room.
    max_age_seconds
        The store is asked whether a row has changed at most this often for each account, so that under load not
        every call costs a query: an import is seen that much later.
    clock
        Seconds, rising steadily.
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
        self._capacity = capacity
        self._max_age = max_age_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: OrderedDict[int, _CachedAccount] = OrderedDict()
        # One thread reads an account, the others wait for it: many callers of a cold account are one query.
        self._reading: dict[int, threading.Lock] = {}

    def days(self, config_id: int, *, as_of: date) -> AccountDays:
        """The account's days up to `as_of`, all that features look at; it may hold later days too.

        Raises
        ------
        NotFound
            The account has no rows in those days.
        Unavailable
            The database does not answer.
        """
        recent = self.recent(config_id)
        if recent.covers(as_of):
            return recent
        return self._read(config_id, as_of - _BACK, as_of, last=recent.last, recent=False)

    def recent(self, config_id: int) -> AccountDays:
        """The account's days up to its last stored one.

        Raises
        ------
        NotFound
            It has none.
        Unavailable
            The database does not answer.
        """
        cached = self._fresh(config_id)
        if cached is not None:
            return cached
        with self._lock:
            reading = self._reading.setdefault(config_id, threading.Lock())
        try:
            with reading:
                return self._fresh(config_id) or self._renewed(config_id)
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
            age = self._clock() - cached.checked_at
            if age >= 2 * self._max_age:
                return None
            self._cached.move_to_end(config_id)
            return cached.days, age >= self._max_age

    def _fresh(self, config_id: int) -> AccountDays | None:
        with self._lock:
            cached = self._cached.get(config_id)
            if cached is None or self._clock() - cached.checked_at >= self._max_age:
                return None
            self._cached.move_to_end(config_id)
            return cached.days

    def _renewed(self, config_id: int) -> AccountDays:
        now = self._clock()
        version = self._metrics.data_version(config_id)
        with self._lock:
            cached = self._cached.get(config_id)
            if cached is not None and cached.version == version:
                cached.checked_at = now
                self._cached.move_to_end(config_id)
                return cached.days
        last = self._metrics.last_date(config_id)
        if last is None:
            with self._lock:
                self._cached.pop(config_id, None)
            raise NotFound(f"account {config_id} has no daily rows")
        days = self._read(config_id, last - timedelta(days=RECENT_DAYS - 1), last, last=last, recent=True)
        with self._lock:
            self._cached[config_id] = _CachedAccount(version, days, now)
            self._cached.move_to_end(config_id)
            while len(self._cached) > self._capacity:
                self._cached.popitem(last=False)
        return days

    def _read(self, config_id: int, start: date, end: date, *, last: date, recent: bool) -> AccountDays:
        frame = self._metrics.daily(config_id, start=start, end=end)
        if frame.empty:
            raise NotFound(f"account {config_id} has no daily rows from {start} to {end}")
        entities = self._entities.frame(config_id)
        panel = Panel.of(frame, entities=entities, start=start, end=end)
        keys = zip(entities["entity_type"], entities["entity_id"], strict=True)
        statuses = dict(zip(keys, entities["status"].fillna("").astype(str), strict=True))
        currency = self._accounts.currency(config_id) or ""
        return AccountDays(panel, statuses, last, currency_code=currency, recent=recent)
