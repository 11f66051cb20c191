"""compose.yaml: what it names is there, what it needs is stated, and only the gateway is reached from outside."""

import re
from typing import Any

import pytest
import yaml
from adsml_anomaly.settings import AnomalySettings
from adsml_classifier.settings import ClassifierSettings
from adsml_common.cli.schedule import Entry
from adsml_common.settings import variables
from adsml_forecasting.settings import ForecastingSettings
from adsml_impact.settings import ImpactSettings
from support.manifests import READ_ELSEWHERE, ROOT, SCHEDULES, SERVICES, check_command, of_kind

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
FOREIGN = {"postgresql", "gateway"}
OURS = sorted(PARTS.keys() - FOREIGN)
BY_LABEL = re.compile(r"\$\{ADSML_REGISTRY:-\}adsml-(\w+):\$\{ADSML_TAG:-local\}")


def image(name: str) -> str:
    found = BY_LABEL.fullmatch(PARTS[name]["image"])
    assert found, PARTS[name]["image"]
    return found[1]


def test_all_that_was_asked_for_is_there() -> None:
    assert {"postgresql", "migrate", *SERVICES, "gateway", "scheduler"} <= PARTS.keys()


@pytest.mark.parametrize("name", OURS)
def test_its_image_is_one_that_is_built(name: str) -> None:
    (built,) = re.findall(r"^IMAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert image(name) in built.split()


@pytest.mark.parametrize("name", OURS)
def test_its_command_is_one(name: str) -> None:
    # Without a command an image serves its family.
    words = PARTS[name].get("command") or ["serve", image(name)]
    check_command(name, words)
    health = PARTS[name].get("healthcheck", {}).get("test")
    if health:
        assert health[:2] == ["CMD", "adsml"]
        check_command(name, health[2:])


@pytest.mark.parametrize("name", OURS)
def test_its_settings_are_read_by_something(name: str) -> None:
    known = set(READ_ELSEWHERE)
    for settings in (AnomalySettings, ClassifierSettings, ForecastingSettings, ImpactSettings):
        known |= set(variables(settings).values())
    assert set(PARTS[name].get("environment", ())) <= known


@pytest.mark.parametrize("name", sorted(PARTS))
def test_what_it_waits_for_and_writes_to_is_there(name: str) -> None:
    part = PARTS[name]
    for other, how in part.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in PARTS[other]
        else:
            # A part that ends well: it is not started again then.
            assert how["condition"] == "service_completed_successfully"
            assert PARTS[other]["restart"].startswith("on-failure")
    for volume in part.get("volumes", ()):
        assert volume.partition(":")[0] in COMPOSE["volumes"]
    if name not in FOREIGN:
        # The folder is the image's user's, and so the volume is.
        assert all("/var/lib/adsml" in volume for volume in part["volumes"])
        assert "-g 10001 /var/lib/adsml" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_a_peer_is_called_by_the_name_and_port_that_it_has() -> None:
    for key, target in PARTS["forecasting"]["environment"].items():
        if key.endswith("_TARGET"):
            host, _, port = target.partition(":")
            assert PARTS[host]["environment"][f"ADSML_{host.upper()}_PORT"] == port
    backends = [one for one in PARTS["gateway-config"]["command"] if one.startswith("--backend=")]
    assert {one.partition("=")[2] for one in backends} == {f"{name}={name}:50051" for name in SERVICES}


def test_callers_without_credentials_come_from_this_machine_alone() -> None:
    published = {name: part["ports"] for name, part in PARTS.items() if "ports" in part}
    assert published == {"gateway": ["127.0.0.1:${ADSML_PORT:-8080}:8080"]}


@pytest.mark.parametrize("name", sorted(PARTS.keys() - {"postgresql"}))
def test_it_can_do_no_more_than_it_needs(name: str) -> None:
    part = PARTS[name]
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]


def test_the_nights_work_is_that_of_the_cluster() -> None:
    """The same commands at the same times as the CronJobs; the scheduler's image has what they need."""
    entries = [Entry.of(one) for one in PARTS["scheduler"]["command"][1:]]
    for entry in entries:
        check_command("scheduler", entry.words)
    times = {" ".join(one.words[:2]): (one.at.hour, one.at.minute, one.weekday) for one in entries}
    for job, when in SCHEDULES.items():
        minute, hour, _, _, weekday = when.split()
        assert times[f"train {job}"] == (int(hour), int(minute), None if weekday == "*" else 6), job
    assert {one.words[0] for one in entries} == {"sync", "train", "scan-anomalies", "report"}
    assert len(entries) == len(of_kind("overlays/production", "CronJob")) + 3
    build = (ROOT / "deploy" / "image" / "build.sh").read_text()
    report = build[build.index("report)") : build.index("*)")]
    assert set(re.findall(r"--package adsml-(\w+)", report)) == {"report", "ingest", *SERVICES}
