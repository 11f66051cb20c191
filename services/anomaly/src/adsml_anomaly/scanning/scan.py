"""The job ``scan-anomalies``: what happened in every account, kept in the store and handed to Alertmanager."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.errors import NotFound
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day_message
from adsml_common.settings import load_settings
from adsml_common.store.accounts import AccountStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.context import TrainingContext
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_anomaly.incident_store import IncidentStore
from adsml_anomaly.scanning.alertmanager import Alertmanager, alert_of, ended, labels_of
from adsml_anomaly.server import open_service
from adsml_anomaly.service import ACCOUNT_DAYS, AnomalyService
from adsml_anomaly.settings import AnomalySettings

JOB: Final = "scan-anomalies"
FORGOTTEN_DAYS: Final = 60
"""An account without a row for longer is not used any more."""


def items_of(database: Database, config_ids: Sequence[int]) -> list[Item]:
    """One item for each account."""
    return [Item(str(config_id), config_id, None, None) for config_id in config_ids]


def scanner(context: TrainingContext, *, as_of: date | None = None) -> "AccountScanner":
    """Opened from the settings, on connections of its own."""
    settings = load_settings(AnomalySettings)
    return AccountScanner(context.database, open_service(settings).service, settings, as_of=as_of)


class AccountScanner:
    """Scans one account after the other up to the day `as_of`; None: the last that should be loaded by `now`."""

    def __init__(
        self,
        database: Database,
        service: AnomalyService,
        settings: AnomalySettings,
        *,
        as_of: date | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._metrics = MetricStore(database)
        self._accounts = AccountStore(database)
        self._incidents = IncidentStore(database)
        self._service = service
        self._settings = settings
        self._as_of = as_of
        self._now = now
        token = settings.alertmanager_token
        self._alertmanager = Alertmanager(
            settings.alertmanager_url, token=token.get_secret_value() if token is not None else ""
        )

    def __call__(self, item: Item) -> ItemResult:
        """Scan an account, keep what was found, and hand over what is to be alerted; another try goes on from there."""
        config_id = item.config_id
        last = self._metrics.last_date(config_id)
        if last is None:
            raise NotFound(f"account {config_id} has no daily rows")
        as_of = self._as_of or max(last, self._due(config_id))
        if (as_of - last).days > FORGOTTEN_DAYS:
            return ItemResult(ItemStatus.SKIPPED, f"no rows since {last}: the account is not used any more")
        first = as_of - timedelta(days=ACCOUNT_DAYS - 1)
        request = pb.DetectAccountAnomaliesRequest(config_id=config_id)
        request.options.first_date.CopyFrom(day_message(first))
        request.options.as_of_date.CopyFrom(day_message(as_of))
        answer = self._service.DetectAccountAnomalies(request, CallContext())
        self._incidents.update(config_id, answer.incidents, scan_date=as_of, first_date=first, at=self._now())
        alerts = self.hand_over(config_id, currency=answer.currency_code)
        n = sum(one.state == pb.INCIDENT_STATE_OPEN for one in answer.incidents)
        metrics = {"incidents_open": n, "incidents": len(answer.incidents), "alerts": alerts}
        return ItemResult(
            ItemStatus.TRAINED, f"{n} open incident{'' if n == 1 else 's'} as of {as_of}", metrics=metrics
        )

    def hand_over(self, config_id: int, *, currency: str) -> int:
        """Give Alertmanager the account's open incidents, and the end of those that are over; how many alerts."""
        if not self._settings.alertmanager_url:
            return 0
        now, interval = self._now(), timedelta(hours=self._settings.scan_interval_hours)
        alerts, standing = [], list[tuple[str, dict[str, str] | None]]()
        for stored in self._incidents.alerting(config_id):
            labels = labels_of(stored) if stored.alerts else None
            # Other labels are another alert: the one before has ended.
            if stored.alert_labels is not None and stored.alert_labels != labels:
                alerts.append(ended(stored.alert_labels, now=now))
            if labels is not None:
                url = self._settings.report_url
                alerts.append(alert_of(stored, now=now, interval=interval, currency=currency, report_url=url))
            standing.append((stored.incident.incident_id, labels))
        if alerts:
            self._alertmanager.post(alerts)
            # Only now: should we end before, the next scan hands the same over again.
            self._incidents.alerted(config_id, standing, at=now)
        return len(alerts)

    def _due(self, config_id: int) -> date:
        """The last day that should be loaded by now, by the account's clock."""
        try:
            zone = ZoneInfo(self._accounts.get(config_id).time_zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            zone = ZoneInfo("UTC")
        return self._now().astimezone(zone).date() - timedelta(days=self._settings.load_delay_days)
