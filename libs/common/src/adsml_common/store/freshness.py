"""How far each synced account's rows reach, for Prometheus."""

from collections.abc import Iterator
from datetime import UTC, datetime, time

from prometheus_client.core import GaugeMetricFamily

from adsml_common.store.accounts import AccountStore


def account_gauges(accounts: AccountStore) -> Iterator[GaugeMetricFamily]:
    """The gauges, read now; none of an account that is not synced."""
    last = GaugeMetricFamily(
        "adsml_account_last_date_timestamp_seconds",
        "Start (UTC) of the last day with rows, of each account that is synced",
        labels=("config_id",),
    )
    failed = GaugeMetricFamily(
        "adsml_account_last_sync_failed", "1 if the account's last sync failed", labels=("config_id",)
    )
    for one in accounts.list():
        if one.sync_started_at is None:
            continue
        failed.add_metric((str(one.config_id),), float(one.sync_error is not None))
        if one.last_date is not None:
            moment = datetime.combine(one.last_date, time(), tzinfo=UTC)
            last.add_metric((str(one.config_id),), moment.timestamp())
    yield last
    yield failed
