"""Incidents as alerts of Prometheus Alertmanager, by its API v2.

An alert is its labels: the same labels again are the same alert, other labels another one. It lasts until its end,
which lies a little behind the next scan and is put off by it; an incident that is over has its end now. What is done
with alerts (grouping, silences, Slack, e-mail, pagers) is Alertmanager's.

Source: https://prometheus.io/docs/alerting/latest/clients/ and Alertmanager's OpenAPI, ``POST /api/v2/alerts``.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.errors import FailedPrecondition, Unavailable

from adsml_anomaly.incident_store import StoredIncident

NAME: Final = "AdsmlIncident"
_PER_REQUEST: Final = 200
_CHILDREN: Final = 10
_SECONDS: Final = 15.0
_OVERLAP: Final = 1.25
"""An alert outlasts the pause until the next scan by a quarter, lest a late scan end it."""


class Alertmanager:
    """One Alertmanager at an address like ``http://alertmanager:9093``; a path in front of ``/api/v2`` is kept."""

    def __init__(self, url: str, *, token: str = "") -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def post(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Hand alerts over; the same again is harmless.

        Unavailable where it does not answer, FailedPrecondition where it refuses the alerts or our token.
        """
        for start in range(0, len(alerts), _PER_REQUEST):
            self._send(json.dumps(list(alerts[start : start + _PER_REQUEST])).encode())

    def _send(self, body: bytes) -> None:
        request = urllib.request.Request(self._url, body, self._headers, method="POST")  # noqa: S310  # checked by the setting
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace").strip()
            text = f"Alertmanager at {self._url} answers {error.code}: {said or error.reason}"
            if error.code in (408, 429) or error.code >= 500:
                raise Unavailable(text) from None
            raise FailedPrecondition(text) from None
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(f"Alertmanager at {self._url} can't be reached: {reason}") from None


def labels_of(stored: StoredIncident) -> dict[str, str]:
    """What an incident's alert is known by, and routed by."""
    incident = stored.incident
    labels = {
        "alertname": NAME,
        "config_id": str(stored.config_id),
        "incident_id": incident.incident_id,
        "kind": _word(pb.IncidentKind.Name(incident.kind), "INCIDENT_KIND_"),
        "scope": _word(pb.IncidentScope.Name(incident.scope), "INCIDENT_SCOPE_"),
        "severity": _word(pb.Severity.Name(incident.severity), "SEVERITY_"),
    }
    if incident.HasField("entity"):
        labels["entity_type"] = _word(entity_pb2.EntityType.Name(incident.entity.entity_type), "ENTITY_TYPE_")
        labels["entity_id"] = incident.entity.entity_id
    return labels


def alert_of(
    stored: StoredIncident, *, now: datetime, interval: timedelta, currency: str, report_url: str
) -> dict[str, Any]:
    """The alert of an open incident."""
    incident = stored.incident
    annotations = {"summary": f"{incident.title}: {incident.summary}", "title": incident.title}
    if incident.HasField("money_at_stake_per_day"):
        money = f"{incident.money_at_stake_per_day:,.2f} {currency}".strip()
        annotations["at_stake_per_day"] = money
    if incident.children:
        named = [child.title or child.entity.entity_id for child in incident.children[:_CHILDREN]]
        more = len(incident.children) - len(named)
        annotations["affected"] = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    if stored.message.HasField("acknowledgement") and stored.person:
        annotations["acknowledged_by"] = stored.person
    first = incident.first_date
    out = {
        "labels": labels_of(stored),
        "annotations": annotations,
        "startsAt": _iso(datetime(first.year, first.month, first.day, tzinfo=UTC)),
        "endsAt": _iso(now + interval * _OVERLAP),
    }
    if report_url:
        out["generatorURL"] = report_url.replace("{config_id}", str(stored.config_id))
    return out


def ended(labels: dict[str, str], *, now: datetime) -> dict[str, Any]:
    """The end of an alert that was handed over under these labels."""
    return {"labels": labels, "annotations": {}, "endsAt": _iso(now)}


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
