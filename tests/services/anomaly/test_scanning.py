"""The nightly scan: what it keeps, and what a real Alertmanager gets."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import entity_pb2, feedback_pb2
from adsml_anomaly.scanning import JOB, AccountScanner, items_of, post_alerts
from adsml_anomaly.server import open_service
from adsml_anomaly.service import AnomalyService
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.domain.errors import FailedPrecondition, Unavailable
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day_message
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemStatus
from adsml_simulate import SimulatedAccount
from adsml_simulate.storing import write_to_store
from support import alertmanager as am
from support.serving import eventually, free_port

from .conftest import LAST_DAY

COUNTS = ["spend", "impressions", "clicks", "leads"]
ITEM = Item("1", 1, None, None)


class Night:
    """A stored account whose days come in one by one."""

    def __init__(self, account: SimulatedAccount, database: Database, settings: AnomalySettings) -> None:
        self.account, self.database, self.settings = account, database, settings
        self.store = MetricStore(database)
        self.opened = open_service(settings)
        self.now = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 5, 30, tzinfo=UTC)

    @property
    def service(self) -> AnomalyService:
        return self.opened.service

    def load(self, day: date, *, factor: float = 1.0, leads: float = 1.0) -> None:
        """A day of every entity: that of four weeks ago, or a part of it."""
        frame = self.account.daily
        rows = frame[frame["date"] == pd.Timestamp(day - timedelta(days=28))].copy()
        rows["date"] = pd.Timestamp(day)
        for name in COUNTS:
            rows[name] = np.floor(rows[name] * factor * (leads if name == "leads" else 1.0))
        rows["reach"] = np.nan
        self.store.upsert_daily(1, rows, source="test")

    def scan(self, day: date) -> dict[str, int]:
        """The scan of the morning after."""
        self.now = datetime(day.year, day.month, day.day, 5, 30, tzinfo=UTC) + timedelta(days=1)
        scanner = AccountScanner(self.database, self.service, self.settings, now=lambda: self.now)
        result = scanner(ITEM)
        assert result.status is ItemStatus.TRAINED, result.reason
        return dict(result.metrics)

    def incidents(self, **filters: object) -> list[pb.StoredIncident]:
        request = pb.ListIncidentsRequest(config_id=1, **filters)
        return list(self.service.ListIncidents(request, CallContext()).incidents)

    def outages(self) -> list[pb.StoredIncident]:
        """Those of delivery: beside them a quiet account may have a false alarm, now and then."""
        kinds = (pb.INCIDENT_KIND_NO_DELIVERY, pb.INCIDENT_KIND_ABSENT_DATA)
        return [one for one in self.incidents() if one.incident.kind in kinds]


@pytest.fixture
def night(
    account: SimulatedAccount, database: Database, database_url: str, tmp_path: Path
) -> Iterator[Night]:
    write_to_store(account, database)
    settings = AnomalySettings(
        database_url=database_url, artifact_url=str(tmp_path / "models"), cache_dir=tmp_path / "cache"
    )
    opened = Night(account, database, settings)
    yield opened
    opened.opened.close()


DAYS = [LAST_DAY + timedelta(days=step) for step in range(1, 6)]


def test_an_outage_is_one_incident_from_its_first_day_until_it_is_over(night: Night) -> None:
    night.load(DAYS[0], factor=0.0)
    night.scan(DAYS[0])
    [first] = night.outages()
    assert first.incident.state == pb.INCIDENT_STATE_OPEN
    assert first.incident.scope == pb.INCIDENT_SCOPE_ACCOUNT
    assert first.incident.first_date == day_message(DAYS[0])
    assert len(first.incident.children) >= 8  # 2 campaigns, 6 ad sets, and the ads that show enough
    # What the account spends on an ordinary day is at stake.
    spend = night.account.daily.query("entity_type == 'campaign'").groupby("date")["spend"].sum()
    assert first.incident.money_at_stake_per_day == pytest.approx(spend.iloc[-7:].median(), rel=0.05)
    night.scan(DAYS[0])
    [again] = night.outages()
    assert (again.incident, again.update_time) == (first.incident, first.update_time), (
        "the same again changes nothing"
    )
    night.load(DAYS[1], factor=0.0)
    night.scan(DAYS[1])
    [second] = night.outages()
    assert second.incident.incident_id == first.incident.incident_id
    assert (second.create_time, second.incident.state) == (first.create_time, pb.INCIDENT_STATE_OPEN)
    assert second.incident.last_date == day_message(DAYS[1])
    night.load(DAYS[2])
    night.scan(DAYS[2])
    [third] = night.outages()
    assert third.incident.incident_id == first.incident.incident_id
    assert third.incident.state == pb.INCIDENT_STATE_RESOLVED
    assert third.incident.last_date == day_message(DAYS[1])


def test_a_fault_that_spreads_stays_the_same_incident(night: Night) -> None:
    """One campaign stops, the next day all of them: it is the first one that has grown."""
    frame = night.account.daily
    campaign = frame[frame["entity_type"] == "campaign"]["entity_id"].iloc[0]
    below = {one.ref.entity_id for one in night.account.entities if one.parent_id == campaign}
    below |= {one.ref.entity_id for one in night.account.entities if one.parent_id in below}
    night.load(DAYS[0])
    rows = frame[frame["entity_id"].isin({campaign, *below})]
    rows = rows[rows["date"] == pd.Timestamp(DAYS[0] - timedelta(days=28))].copy()
    rows["date"] = pd.Timestamp(DAYS[0])
    rows[COUNTS] = 0.0
    rows["reach"] = np.nan
    night.store.upsert_daily(1, rows, source="test")
    night.scan(DAYS[0])
    [first] = night.outages()
    assert first.incident.entity.entity_id == campaign
    assert first.incident.scope == pb.INCIDENT_SCOPE_SUBTREE
    night.load(DAYS[1], factor=0.0)
    night.scan(DAYS[1])
    grown = [one for one in night.outages() if one.incident.state == pb.INCIDENT_STATE_OPEN]
    assert [one.incident.incident_id for one in grown] == [first.incident.incident_id]
    assert grown[0].incident.scope == pb.INCIDENT_SCOPE_ACCOUNT
    assert grown[0].incident.first_date == day_message(DAYS[0])


def test_nothing_loaded_is_an_incident_of_the_load(night: Night) -> None:
    # On the morning of day 2 there should be day 1.
    night.scan(DAYS[0])
    [load] = night.outages()
    assert load.incident.scope == pb.INCIDENT_SCOPE_LOAD
    assert load.incident.kind == pb.INCIDENT_KIND_ABSENT_DATA
    assert f"no rows of any entity since {LAST_DAY}" in load.incident.summary
    night.load(DAYS[0])
    night.scan(DAYS[0])
    assert [one.incident.state for one in night.outages()] == [pb.INCIDENT_STATE_RESOLVED]


def test_an_account_nobody_loads_any_more_is_skipped(night: Night) -> None:
    night.now = datetime(LAST_DAY.year, 12, 24, tzinfo=UTC)
    scanner = AccountScanner(night.database, night.service, night.settings, now=lambda: night.now)
    result = scanner(ITEM)
    assert result.status is ItemStatus.SKIPPED
    assert f"no rows since {LAST_DAY}" in result.reason
    assert [one.config_id for one in items_of(night.database, [1, 7])] == [1, 7]
    assert JOB == "scan-anomalies"


def test_a_person_s_word_is_kept_with_the_incident(night: Night) -> None:
    night.load(DAYS[0], leads=0.0)
    night.scan(DAYS[0])
    [lost] = [
        one for one in night.incidents()
        if (one.incident.kind, one.incident.scope) == (pb.INCIDENT_KIND_LEADS_LOST, pb.INCIDENT_SCOPE_ACCOUNT)
    ]  # fmt: skip
    assert not lost.HasField("acknowledgement")
    worst = lost.incident.children[0].entity
    feedback = feedback_pb2.Feedback(entity=worst, date=day_message(DAYS[0]), person="ada")
    request = pb.RecordFeedbackRequest(feedback=feedback, judgement=pb.ALARM_JUDGEMENT_FALSE_ALARM)
    night.service.RecordFeedback(request, CallContext())
    [same] = [one for one in night.incidents() if one.incident.incident_id == lost.incident.incident_id]
    assert not same.HasField("acknowledgement"), "a false alarm of one entity says nothing of the others"
    request.judgement = pb.ALARM_JUDGEMENT_TRUE_ALARM
    night.service.RecordFeedback(request, CallContext())
    [same] = [one for one in night.incidents() if one.incident.incident_id == lost.incident.incident_id]
    assert same.acknowledgement == pb.ALARM_JUDGEMENT_TRUE_ALARM


def test_incidents_are_listed_by_state_day_and_page(night: Night) -> None:
    night.load(DAYS[0], factor=0.0)
    night.scan(DAYS[0])
    everything = night.incidents()
    assert everything[0].incident.kind == pb.INCIDENT_KIND_NO_DELIVERY, "what costs most comes first"
    assert night.incidents(state=pb.INCIDENT_STATE_NEW_NORMAL) == [
        one for one in everything if one.incident.state == pb.INCIDENT_STATE_NEW_NORMAL
    ]
    assert night.incidents(since_date=day_message(DAYS[0])) == [
        one
        for one in everything
        if one.incident.state == pb.INCIDENT_STATE_OPEN or one.incident.last_date == day_message(DAYS[0])
    ]
    paged: list[pb.StoredIncident] = []
    request = pb.ListIncidentsRequest(config_id=1, page_size=1)
    while True:
        page = night.service.ListIncidents(request, CallContext())
        paged += page.incidents
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert paged == everything
    assert page.scan_date == day_message(DAYS[0])


class TestAlertmanager:
    """Against the program itself."""

    pytestmark = pytest.mark.skipif(
        am.executable() is None,
        reason="prometheus-alertmanager is not installed; `make test` unpacks Debian's",
    )

    def test_an_outage_is_opened_grouped_repeated_and_resolved(self, night: Night, tmp_path: Path) -> None:
        with am.receiver() as webhook, am.alertmanager(tmp_path, webhook.url, repeat="1s") as url:
            night.settings = night.settings.model_copy(
                update={"alertmanager_url": url, "report_url": "https://reports.example/{config_id}.html"}
            )
            night.load(DAYS[0], factor=0.0)
            # Alertmanager's clock is the machine's, so the scan's is, too.
            scanner = AccountScanner(night.database, night.service, night.settings, as_of=DAYS[0])
            scanner(ITEM)
            eventually(lambda: webhook.alerts("firing"), within=30)
            [stored] = night.outages()
            first = webhook.notifications[0]
            assert first["groupLabels"] == {"config_id": "1"}
            [alert] = [one for one in first["alerts"] if one["labels"]["kind"] == "no_delivery"]
            assert alert["labels"] == {
                "alertname": "AdsmlIncident", "config_id": "1", "incident_id": stored.incident.incident_id,
                "kind": "no_delivery", "scope": "account", "severity": "critical",
            }  # fmt: skip
            assert alert["generatorURL"] == "https://reports.example/1.html"
            assert alert["startsAt"].startswith(str(DAYS[0]))
            assert stored.incident.summary in alert["annotations"]["summary"]
            assert (
                alert["annotations"]["at_stake_per_day"] == f"{stored.incident.money_at_stake_per_day:,.2f}"
            )
            # The next night it goes on: the same alert, told again as the route asks.
            night.load(DAYS[1], factor=0.0)
            scanner = AccountScanner(night.database, night.service, night.settings, as_of=DAYS[1])
            scanner(ITEM)
            eventually(lambda: len(webhook.notifications) > 1, within=30)
            outages = [one for one in am.standing(url) if one["labels"]["kind"] == "no_delivery"]
            assert [one["labels"] for one in outages] == [alert["labels"]], "still one alert"
            assert datetime.fromisoformat(outages[0]["endsAt"]) > datetime.now(UTC) + timedelta(hours=24)
            # Back.
            night.load(DAYS[2])
            scanner = AccountScanner(night.database, night.service, night.settings, as_of=DAYS[2])
            scanner(ITEM)
            eventually(
                lambda: [a for a in webhook.alerts("resolved") if a["labels"]["kind"] == "no_delivery"],
                within=30,
            )
            assert not [one for one in am.standing(url) if one["labels"]["kind"] == "no_delivery"]

    def test_an_incident_said_to_be_a_false_alarm_is_taken_back(self, night: Night, tmp_path: Path) -> None:
        ads = [one.ref for one in night.account.entities if str(one.ref.entity_type) == "campaign"]
        with am.receiver() as webhook, am.alertmanager(tmp_path, webhook.url) as url:
            night.settings = night.settings.model_copy(update={"alertmanager_url": url})
            night.load(DAYS[0])
            rows = night.account.daily.query("entity_id == @ads[0].entity_id")
            rows = rows[rows["date"] == pd.Timestamp(DAYS[0] - timedelta(days=28))].copy()
            rows["date"], rows["reach"] = pd.Timestamp(DAYS[0]), np.nan
            rows["spend"] *= 6
            night.store.upsert_daily(1, rows, source="test")
            scanner = AccountScanner(night.database, night.service, night.settings, as_of=DAYS[0])
            scanner(ITEM)
            [surge] = [
                one for one in night.incidents()
                if one.incident.kind == pb.INCIDENT_KIND_DELIVERY_SURGE and one.incident.HasField("entity")
            ]  # fmt: skip
            assert any(one["labels"]["incident_id"] == surge.incident.incident_id for one in am.standing(url))
            entity = entity_pb2.EntityRef(
                config_id=1, entity_type=entity_pb2.ENTITY_TYPE_CAMPAIGN, entity_id=ads[0].entity_id
            )
            feedback = feedback_pb2.Feedback(entity=entity, date=day_message(DAYS[0]), person="ada")
            request = pb.RecordFeedbackRequest(feedback=feedback, judgement=pb.ALARM_JUDGEMENT_FALSE_ALARM)
            night.service.RecordFeedback(request, CallContext())
            scanner(ITEM)
            eventually(
                lambda: (
                    not any(
                        one["labels"]["incident_id"] == surge.incident.incident_id for one in am.standing(url)
                    )
                )
            )


def test_without_an_alertmanager_at_its_address_the_scan_is_tried_again_and_incidents_are_kept(
    night: Night,
) -> None:
    night.settings = night.settings.model_copy(update={"alertmanager_url": f"http://127.0.0.1:{free_port()}"})
    night.load(DAYS[0], factor=0.0)
    scanner = AccountScanner(night.database, night.service, night.settings, as_of=DAYS[0])
    with pytest.raises(Unavailable, match="can't be reached"):
        scanner(ITEM)
    assert len(night.outages()) == 1


def test_what_alertmanager_refuses_is_not_tried_again(tmp_path: Path) -> None:
    if am.executable() is None:
        pytest.skip("prometheus-alertmanager is not installed; `make test` unpacks Debian's")
    with am.receiver() as webhook, am.alertmanager(tmp_path, webhook.url) as url:
        with pytest.raises(FailedPrecondition, match="answers 400"):
            post_alerts(url, [{"labels": {}}])


def test_the_configuration_of_the_docs_loads_and_its_template_says_what_the_page_shows(
    tmp_path: Path,
) -> None:
    if am.executable() is None:
        pytest.skip("prometheus-alertmanager is not installed; `make test` unpacks Debian's")
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
    blocks = page.split("```")
    configuration = next(one for one in blocks if "alertmanager.yml" in one).removeprefix("yaml\n")
    template = next(one for one in blocks if "adsml.tmpl */" in one).removeprefix("text\n")
    (tmp_path / "adsml.tmpl").write_text(template)
    (tmp_path / "slack-url").write_text("https://hooks.slack.example/T")
    (tmp_path / "alertmanager.yml").write_text(configuration.replace("/etc/alertmanager", str(tmp_path)))
    amtool = Path(str(am.executable())).with_name("amtool")
    checked = subprocess.run(
        [amtool, "check-config", tmp_path / "alertmanager.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    alert = {
        "status": "firing",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "account 7: Open since 2026-03-17: No leads",
            "at_stake_per_day": "1,465.94 EUR",
            "affected": "Spring | Prospecting",
        },
        "generatorURL": "https://reports.example.com/7.html",
    }
    data = {"receiver": "x", "status": "firing", "groupLabels": {"config_id": "7"}, "alerts": [alert]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    rendered = {
        name: subprocess.run(
            [
                amtool, "template", "render", f"--template.glob={tmp_path}/*.tmpl",
                f"--template.text={{{{ template \"{name}\" . }}}}", f"--template.data={tmp_path / 'data.json'}",
            ],
            capture_output=True, text=True, check=True,
        ).stdout
        for name in ("adsml.title", "adsml.text")
    }  # fmt: skip
    assert rendered["adsml.title"].strip() == "Account 7: 1 open"
    assert [line.strip() for line in rendered["adsml.text"].strip().splitlines()] == [
        "[critical] account 7: Open since 2026-03-17: No leads",
        "at stake: 1,465.94 EUR a day",
        "affected: Spring | Prospecting",
        "https://reports.example.com/7.html",
    ]
