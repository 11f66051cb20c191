"""How far each synced account's rows reach, told to Prometheus."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adsml_common.domain.errors import AdsmlError
from adsml_common.store.accounts import AccountStatus, AccountStore

_LOG = logging.getLogger(__name__)


@contextmanager
def watched_accounts(accounts: AccountStore) -> Iterator[None]:
    watch = AccountWatch(accounts)
    REGISTRY.register(watch)
    watch.start()
    try:
        yield
    finally:
        REGISTRY.unregister(watch)
        watch.close()


class AccountWatch(Collector):
    """Reads the accounts now and then; never when Prometheus asks, which must not wait for a database."""

    def __init__(self, accounts: AccountStore, *, every_seconds: float = 300.0) -> None:
        self._accounts = accounts
        self._every = every_seconds
        self._listed: list[AccountStatus] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="account-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def read(self) -> None:
        self._listed = [one for one in self._accounts.list() if one.sync_started_at is not None]

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self.read()
            except AdsmlError as error:
                _LOG.warning("accounts can't be read now: %s", error.message)
            self._ended.wait(self._every)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, as of the last reading; none of an account that is not synced."""
        last = GaugeMetricFamily(
            "adsml_account_last_date_timestamp_seconds",
            "Start (UTC) of the last day with rows, of each account that is synced",
            labels=("config_id",),
        )
        failed = GaugeMetricFamily(
            "adsml_account_last_sync_failed", "1 if the account's last sync failed", labels=("config_id",)
        )
        for one in self._listed:
            failed.add_metric((str(one.config_id),), float(one.sync_error is not None))
            if one.last_date is not None:
                moment = datetime.combine(one.last_date, time(), tzinfo=UTC)
                last.add_metric((str(one.config_id),), moment.timestamp())
        yield last
        yield failed
