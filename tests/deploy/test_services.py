"""What the platform team relies on in each service's manifests, as a cluster gets them."""

import os
from pathlib import Path

import pytest
from adsml_anomaly.settings import AnomalySettings
from adsml_classifier.settings import ClassifierSettings
from adsml_common.serving import health
from adsml_common.serving.settings import ServingSettings
from adsml_common.settings import variables
from adsml_forecasting.settings import ForecastingSettings
from adsml_impact.settings import ImpactSettings
from support.manifests import READ_ELSEWHERE, environment, of_kind, overlays, pod_of, selects, services

SETTINGS: dict[str, type[ServingSettings]] = {
    "classifier": ClassifierSettings,
    "forecasting": ForecastingSettings,
    "anomaly": AnomalySettings,
    "impact": ImpactSettings,
}


@overlays
@services
def test_probes_ask_what_the_server_serves(overlay: str, service: str) -> None:
    deployment = of_kind(overlay, "Deployment")[service]
    (container,) = pod_of(deployment)["containers"]
    assert container["startupProbe"]["grpc"].get("service", health.OVERALL) == health.OVERALL
    assert container["readinessProbe"]["grpc"]["service"] == health.READINESS
    assert container["livenessProbe"]["grpc"]["service"] == health.LIVENESS
    port = int(environment(overlay, pod_of(deployment))[f"ADSML_{service.upper()}_HEALTH_PORT"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == port


@overlays
@services
def test_ports_are_those_it_listens_on(overlay: str, service: str) -> None:
    deployment = of_kind(overlay, "Deployment")[service]
    (container,) = pod_of(deployment)["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    seen = environment(overlay, pod_of(deployment))
    assert {name: int(seen[f"ADSML_{service.upper()}_{key}"]) for name, key in
            (("grpc", "PORT"), ("health", "HEALTH_PORT"), ("metrics", "METRICS_PORT"))} == ports  # fmt: skip
    offered = of_kind(overlay, "Service")[service]["spec"]
    assert offered["clusterIP"] == "None"
    assert {one["name"]: one["targetPort"] for one in offered["ports"]} == {
        "grpc": "grpc",
        "metrics": "metrics",
    }
    assert {one["port"] for one in offered["ports"]} == {ports["grpc"], ports["metrics"]}


@overlays
@services
def test_it_scales_and_nobody_else_sets_its_replicas(overlay: str, service: str) -> None:
    assert "replicas" not in of_kind(overlay, "Deployment")[service]["spec"]
    scaler = of_kind(overlay, "HorizontalPodAutoscaler")[service]
    assert scaler["apiVersion"] == "autoscaling/v2"
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": service,
    }


@overlays
@services
def test_one_pod_at_a_time_may_be_disrupted(overlay: str, service: str) -> None:
    budget = of_kind(overlay, "PodDisruptionBudget")[service]["spec"]
    assert budget["maxUnavailable"] == 1
    labels = of_kind(overlay, "Deployment")[service]["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


@overlays
@services
def test_only_callers_the_gateway_and_forecasting_reach_it(overlay: str, service: str) -> None:
    labels = of_kind(overlay, "Deployment")[service]["spec"]["template"]["metadata"]["labels"]
    (container,) = pod_of(of_kind(overlay, "Deployment")[service])["containers"]
    (grpc,) = [one["containerPort"] for one in container["ports"] if one["name"] == "grpc"]
    sources = [
        source
        for policy in of_kind(overlay, "NetworkPolicy").values() if selects(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("ingress", ()) if grpc in {port["port"] for port in rule["ports"]}
        for source in rule["from"]
    ]  # fmt: skip
    callers, *others = sources
    assert callers["namespaceSelector"]["matchLabels"] == {"adsml/callers": "true"}
    assert callers["podSelector"]["matchLabels"] == {"adsml/caller": "true"}
    names = [one["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for one in others]
    assert names == ["gateway"] + ([] if service == "forecasting" else ["forecasting"])


@overlays
@services
def test_it_waits_for_its_schema(overlay: str, service: str) -> None:
    """So that an upgrade which starts it before the migration is done does not make it fail and back off."""
    pod = pod_of(of_kind(overlay, "Deployment")[service])
    (first,) = pod["initContainers"]
    assert first["args"][:2] == ["migrate", "--check"]
    assert any(one.startswith("--wait-seconds=") for one in first["args"])
    assert first["image"] == pod["containers"][0]["image"]


@overlays
@services
def test_the_kill_comes_after_the_drain(overlay: str, service: str) -> None:
    pod = pod_of(of_kind(overlay, "Deployment")[service])
    seen = environment(overlay, pod)
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before > 0
    drain = sum(float(seen[f"ADSML_{service.upper()}_DRAIN_{part}_SECONDS"]) for part in ("WAIT", "GRACE"))
    # And some for pools, database and the last log line.
    assert pod["terminationGracePeriodSeconds"] >= before + drain + 15


@overlays
@services
def test_pods_are_spread(overlay: str, service: str) -> None:
    pod = pod_of(of_kind(overlay, "Deployment")[service])
    keys = {one["topologyKey"] for one in pod["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


@overlays
@services
def test_every_setting_is_one(
    overlay: str, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By name, and by value: the process would start with them."""
    cls = SETTINGS[service]
    seen = environment(overlay, pod_of(of_kind(overlay, "Deployment")[service]))
    known = {name.upper() for name in variables(cls).values()} | READ_ELSEWHERE
    assert set(seen) <= known
    for name in list(os.environ):
        if name.startswith("ADSML_"):
            monkeypatch.delenv(name)
    seen["ADSML_DATABASE_URL"] = "postgresql://adsml:secret@db/adsml"
    for name, value in seen.items():
        if value.startswith("/etc/adsml/tls/"):
            (tmp_path / Path(value).name).touch()
            value = str(tmp_path / Path(value).name)  # noqa: PLW2901 - as it would be mounted
        monkeypatch.setenv(name, value)
    settings = cls()
    assert settings.launcher == ("kubernetes" if service != "impact" else "local")
    assert (settings.tls, settings.insecure) == (("production" in overlay), ("local" in overlay))
