"""The job ``scan-anomalies``: what happened in every account, kept in the store and handed to Alertmanager.

Incidents are alerts of Prometheus Alertmanager by its API v2. An alert is its labels: the same labels again are the
same alert, other labels another one. It lasts until its end, which lies a little behind the next scan and is put off by
it; an incident that is over has its end now. What is done with alerts (grouping, silences, Slack, e-mail, pagers) is
Alertmanager's.

Source: https://prometheus.io/docs/alerting/latest/clients/ and Alertmanager's OpenAPI, ``POST /api/v2/alerts``.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.errors import FailedPrecondition, NotFound, Unavailable
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day, day_message, entity_ref
from adsml_common.settings import load_settings
from adsml_common.store.accounts import AccountStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.context import TrainingContext
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_anomaly import encoding
from adsml_anomaly.incident_store import IncidentStore, StoredIncident
from adsml_anomaly.server import open_service
from adsml_anomaly.service import ACCOUNT_DAYS, AnomalyService
from adsml_anomaly.settings import AnomalySettings

JOB: Final = "scan-anomalies"
FORGOTTEN_DAYS: Final = 60
"""An account without a row for longer is not used any more."""
_PER_REQUEST: Final = 200
_CHILDREN: Final = 10
_SECONDS: Final = 15.0
_OVERLAP: Final = 1.25
"""An alert outlasts the pause until the next scan by a quarter, lest a late scan end it."""


def items_of(database: Database, config_ids: Sequence[int]) -> list[Item]:
    """One item for each account."""
    return [Item(str(config_id), config_id, None, None) for config_id in config_ids]


def scanner(context: TrainingContext, *, as_of: date | None = None) -> "AccountScanner":
    """Opened from the settings, on connections of its own."""
    settings = load_settings(AnomalySettings)
    return AccountScanner(context.database, open_service(settings).service, settings, as_of=as_of)


@dataclass(frozen=True)
class AccountScanner:
    """Scans one account after the other up to the day `as_of`; None: the last that should be loaded by `now`."""

    database: Database
    service: AnomalyService
    settings: AnomalySettings
    as_of: date | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __call__(self, item: Item) -> ItemResult:
        """Scan an account, keep what was found, and hand over what is to be alerted; another try goes on from there."""
        config_id = item.config_id
        last = MetricStore(self.database).last_date(config_id)
        if last is None:
            raise NotFound(f"account {config_id} has no daily rows")
        as_of = self.as_of or max(last, self._due(config_id))
        if (as_of - last).days > FORGOTTEN_DAYS:
            return ItemResult(ItemStatus.SKIPPED, f"no rows since {last}: the account is not used any more")
        first = as_of - timedelta(days=ACCOUNT_DAYS - 1)
        options = pb.DetectionOptions(first_date=day_message(first), as_of_date=day_message(as_of))
        request = pb.DetectAccountAnomaliesRequest(config_id=config_id, options=options)
        answer = self.service.DetectAccountAnomalies(request, CallContext())
        IncidentStore(self.database).update(
            config_id, answer.incidents, scan_date=as_of, first_date=first, at=self.now()
        )
        alerts = self.hand_over(config_id, currency=answer.currency_code)
        n = sum(one.state == pb.INCIDENT_STATE_OPEN for one in answer.incidents)
        metrics = {"incidents_open": n, "incidents": len(answer.incidents), "alerts": alerts}
        text = f"{n} open incident{'' if n == 1 else 's'} as of {as_of}"
        return ItemResult(ItemStatus.TRAINED, text, metrics=metrics)

    def hand_over(self, config_id: int, *, currency: str) -> int:
        """Give Alertmanager the account's open incidents, and the end of those that are over; how many alerts."""
        address, token = self.settings.alertmanager_url, self.settings.alertmanager_token
        if not address:
            return 0
        now, alerts, standing = self.now(), [], list[tuple[str, dict[str, str] | None]]()
        for stored in IncidentStore(self.database).alerting(config_id):
            labels = labels_of(stored) if stored.alerts else None
            # Other labels are another alert: the one before has ended.
            if stored.alert_labels is not None and stored.alert_labels != labels:
                alerts.append({"labels": stored.alert_labels, "annotations": {}, "endsAt": _iso(now)})
            if labels is not None:
                alerts.append(self._alert(stored, now, currency))
            standing.append((stored.incident.incident_id, labels))
        if alerts:
            post_alerts(address, alerts, token=token.get_secret_value() if token is not None else "")
            # Only now: should we end before, the next scan hands the same over again.
            IncidentStore(self.database).alerted(config_id, standing, at=now)
        return len(alerts)

    def _alert(self, stored: StoredIncident, now: datetime, currency: str) -> dict[str, Any]:
        """The alert of an open incident."""
        incident = stored.incident
        annotations = {"summary": f"{incident.title}: {incident.summary}", "title": incident.title}
        if incident.HasField("money_at_stake_per_day"):
            annotations["at_stake_per_day"] = f"{incident.money_at_stake_per_day:,.2f} {currency}".strip()
        if incident.children:
            named = [child.title or child.entity.entity_id for child in incident.children[:_CHILDREN]]
            more = len(incident.children) - len(named)
            annotations["affected"] = ", ".join(named) + (f" and {more} more" if more > 0 else "")
        if stored.message.HasField("acknowledgement") and stored.person:
            annotations["acknowledged_by"] = stored.person
        first = day(incident.first_date, "first_date")
        out = {
            "labels": labels_of(stored),
            "annotations": annotations,
            "startsAt": f"{first}T00:00:00Z",
            "endsAt": _iso(now + _OVERLAP * timedelta(hours=self.settings.scan_interval_hours)),
        }
        if url := self.settings.report_url:
            out["generatorURL"] = url.replace("{config_id}", str(stored.config_id))
        return out

    def _due(self, config_id: int) -> date:
        """The last day that should be loaded by now, by the account's clock."""
        try:
            zone = ZoneInfo(AccountStore(self.database).get(config_id).time_zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            zone = ZoneInfo("UTC")
        return self.now().astimezone(zone).date() - timedelta(days=self.settings.load_delay_days)


def post_alerts(address: str, alerts: Sequence[dict[str, Any]], *, token: str = "") -> None:
    """Hand alerts to the one at an address like ``http://alertmanager:9093``; the same again is harmless.

    A path in front of ``/api/v2`` is kept. Unavailable where it does not answer, FailedPrecondition where it refuses
    the alerts or our token.
    """
    url = address.rstrip("/") + "/api/v2/alerts"
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    for start in range(0, len(alerts), _PER_REQUEST):
        body = json.dumps(list(alerts[start : start + _PER_REQUEST])).encode()
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310  # checked by the setting
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace").strip()
            text = f"Alertmanager at {url} answers {error.code}: {said or error.reason}"
            later = error.code in (408, 429) or error.code >= 500
            raise (Unavailable if later else FailedPrecondition)(text) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(f"Alertmanager at {url} can't be reached: {reason}") from None


def labels_of(stored: StoredIncident) -> dict[str, str]:
    """What an incident's alert is known by, and routed by."""
    incident = stored.incident
    labels = {
        "alertname": "AdsmlIncident",
        "config_id": str(stored.config_id),
        "incident_id": incident.incident_id,
        "kind": encoding.KIND.from_wire(incident.kind, "kind").value,
        "scope": encoding.SCOPE.from_wire(incident.scope, "scope").value,
        "severity": pb.Severity.Name(incident.severity).removeprefix("SEVERITY_").lower(),
    }
    if incident.HasField("entity"):
        entity = entity_ref(incident.entity, "entity")
        labels |= {"entity_type": entity.entity_type.value, "entity_id": entity.entity_id}
    return labels


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
