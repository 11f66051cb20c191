"""What holds for every pod of ours, whatever it does: no rights, no secrets, no surprises."""

import re
from typing import Any

import pytest
from support.manifests import (
    built,
    check_command,
    containers,
    of_kind,
    ours,
    overlays,
    pod_of,
    selects,
    with_components,
)


@overlays
def test_it_has_no_rights_and_writes_nowhere_but_scratch(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 10000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert "/tmp" in {one["mountPath"] for one in container["volumeMounts"]}, name  # noqa: S108


@overlays
def test_memory_is_reserved_and_processors_are_shared(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        for container in containers(pod):
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"], name
            assert "cpu" in resources["requests"], name
            assert "cpu" not in resources["limits"], name


@overlays
def test_the_launcher_alone_has_a_token(overlay: str) -> None:
    with_token = {name for name, _, pod in ours(overlay) if pod["automountServiceAccountToken"]}
    assert with_token == {"Deployment/launcher"}
    accounts = of_kind(overlay, "ServiceAccount")
    assert all(one["automountServiceAccountToken"] is False for one in accounts.values())
    used = {pod["serviceAccountName"] for _, _, pod in ours(overlay)}
    assert used == set(accounts)
    (binding,) = of_kind(overlay, "RoleBinding").values()
    assert [one["name"] for one in binding["subjects"]] == ["launcher"]
    (role,) = of_kind(overlay, "Role").values()
    rights = {
        (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert rights == {
        ("cronjobs", "get"), ("pods", "list"), ("events", "list"),
        *(("jobs", verb) for verb in ("create", "list", "delete")),
    }  # fmt: skip


@overlays
def test_the_namespace_holds_them_to_it(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(
        one["metadata"]["namespace"] == namespace["metadata"]["name"]
        for one in built(overlay)
        if one["kind"] not in ("Namespace", "PriorityClass")
    )


@overlays
def test_nothing_goes_in_or_out_unless_it_is_allowed(overlay: str) -> None:
    deny = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@overlays
def test_secrets_are_referred_to(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        for container in containers(pod):
            for one in container.get("env", ()):
                assert not re.search("PASSWORD$|SECRET|DATABASE_URL", one["name"]) or "valueFrom" in one, name


def is_ours(container: dict[str, Any]) -> bool:
    return bool(container["image"].startswith(("adsml-", "registry.example.com/adsml/")))


@overlays
def test_its_command_is_one(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        for container in filter(is_ours, containers(pod)):
            check_command(name, container["args"])


@pytest.mark.parametrize("component", ["gateway", "report", "scan-anomalies", "sync"])
def test_so_is_that_of_a_component(component: str) -> None:
    added = [
        one
        for one in with_components(component)
        if one["metadata"]["name"] == component and "template" in str(one)
    ]
    for thing in added:
        for container in filter(is_ours, containers(pod_of(thing))):
            check_command(component, container["args"])
    assert added


def test_incidents_reach_alertmanager() -> None:
    """The scan is told where it is, may go there, and its token comes from a secret that need not be there."""
    things = with_components("scan-anomalies")
    (job,) = [
        one for one in things if one["kind"] == "CronJob" and one["metadata"]["name"] == "scan-anomalies"
    ]
    maps = {one["metadata"]["name"]: one["data"] for one in things if one["kind"] == "ConfigMap"}
    (container,) = pod_of(job)["containers"]
    sources = [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one]
    seen = {name: value for source in sources for name, value in maps[source].items()}
    host, port = re.fullmatch(r"http://([\w.-]+):(\d+)", seen["ADSML_ANOMALY_ALERTMANAGER_URL"]).groups()  # type: ignore[union-attr]
    assert host.endswith(".monitoring")
    assert "ADSML_ARTIFACT_URL" in seen
    token = next(one for one in container["env"] if one["name"] == "ADSML_ANOMALY_ALERTMANAGER_TOKEN")
    assert token["valueFrom"]["secretKeyRef"]["optional"] is True
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    ways = [
        (to, rule["ports"])
        for one in things if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], labels)
        for rule in one["spec"].get("egress", ()) for to in rule.get("to", ())
    ]  # fmt: skip
    monitoring = {"namespaceSelector": {"matchLabels": {"adsml/monitoring": "true"}}}
    assert any(to == monitoring and {"port": int(port), "protocol": "TCP"} in ports for to, ports in ways)


def test_the_report_is_written_where_a_setting_says() -> None:
    things = with_components("report")
    (job,) = [one for one in things if one["kind"] == "CronJob" and one["metadata"]["name"] == "report"]
    (container,) = pod_of(job)["containers"]
    assert container["args"] == ["report", "--all", "--output=$(ADSML_REPORT_URL)"]
    sources = [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one]
    (url,) = [
        one["data"]["ADSML_REPORT_URL"]
        for one in things
        if one["kind"] == "ConfigMap"
        and one["metadata"]["name"] in sources
        and "ADSML_REPORT_URL" in one["data"]
    ]
    assert url.startswith("s3://")
    assert job["spec"]["schedule"] == "0 6 * * *"


def test_production_has_no_secret_in_it() -> None:
    assert not of_kind("overlays/production", "Secret")


@overlays
def test_services_go_before_training(overlay: str) -> None:
    classes = of_kind(overlay, "PriorityClass")
    for name, thing, pod in ours(overlay):
        if thing["kind"] == "CronJob":
            assert pod["priorityClassName"] == "adsml-training", name
        elif thing["kind"] != "Job":
            assert pod["priorityClassName"] == "adsml-serving", name
    assert classes["adsml-training"]["value"] < 0 < classes["adsml-serving"]["value"]
    assert classes["adsml-training"]["preemptionPolicy"] == "Never"


@overlays
def test_names_are_resolved_wherever_the_cluster_does_it(overlay: str) -> None:
    """CoreDNS; NodeLocal DNSCache, which is no pod of the cluster's network; OpenShift's, at a port of its own."""
    rules = of_kind(overlay, "NetworkPolicy")["dns"]["spec"]["egress"]
    allowed = [(to, {port["port"] for port in rule["ports"]}) for rule in rules for to in rule["to"]]
    assert any(to.get("podSelector", {}).get("matchLabels") == {"k8s-app": "kube-dns"} and 53 in ports
               for to, ports in allowed)  # fmt: skip
    assert any(to.get("ipBlock") == {"cidr": "169.254.20.10/32"} and 53 in ports for to, ports in allowed)
    openshift = {"kubernetes.io/metadata.name": "openshift-dns"}
    assert any(
        to.get("namespaceSelector", {}).get("matchLabels") == openshift and 5353 in ports
        for to, ports in allowed
    )


def test_credentials_of_the_clouds_are_reached_by_a_component_alone() -> None:
    def blocks(things: list[dict[str, Any]]) -> set[str]:
        return {
            to["ipBlock"]["cidr"]
            for one in things if one["kind"] == "NetworkPolicy"
            for rule in one["spec"].get("egress", ()) for to in rule.get("to", ()) if "ipBlock" in to
        }  # fmt: skip

    eks, gke = "169.254.170.23/32", "169.254.169.252/32"
    assert not {eks, gke} & blocks(built("overlays/production"))
    assert {eks, gke} <= blocks(with_components("pod-identity"))


@overlays
def test_nothing_is_shown_as_a_difference_for_ever(overlay: str) -> None:
    """What the API writes in another way than it is given it: quantities as text, claims with their defaults."""
    for name, thing, pod in ours(overlay):
        for container in containers(pod):
            for amounts in container["resources"].values():
                assert all(isinstance(amount, str) for amount in amounts.values()), name
        for claim in thing["spec"].get("volumeClaimTemplates", ()):
            assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
            assert claim["spec"]["volumeMode"] == "Filesystem"
