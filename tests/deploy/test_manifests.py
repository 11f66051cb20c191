"""What a platform team relies on, held by the manifests as a cluster gets them."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from adsml_anomaly.settings import AnomalySettings
from adsml_classifier.settings import ClassifierSettings
from adsml_common.cli.main import build
from adsml_common.serving import health
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.training_servicer import JOBS
from adsml_common.settings import Settings, variables
from adsml_common.training.cluster import CONTAINER, SELECTOR
from adsml_common.training.job import Pace
from adsml_common.training.launchers import CRONJOB
from adsml_forecasting.settings import ForecastingSettings
from prometheus_client import REGISTRY
from support.manifests import KUBERNETES, ROOT, built, of_kind

OVERLAYS = ("overlays/local", "overlays/production")
SERVICES = ("classifier", "forecasting", "anomaly", "impact")
SCHEDULES = {
    "classifiers": "0 3 * * *",
    "prophet": "0 2 * * 0",
    "anomaly-detectors": "0 4 * * *",
    "ensemble-weights": "0 5 * * *",
}
# What reads the environment without being a field of a settings class.
READ_ELSEWHERE = {
    "ADSML_CPUS", "ADSML_TRAIN_JOB_NAME", "ADSML_TRAIN_METRICS_PORT", "ADSML_LAUNCHER_NAMESPACE",
    "ADSML_LAUNCHER_METRICS_PORT", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
}  # fmt: skip

overlays = pytest.mark.parametrize("overlay", OVERLAYS)
services = pytest.mark.parametrize("service", SERVICES)


def pod_of(thing: dict[str, Any]) -> dict[str, Any]:
    """The pod template of whatever makes pods."""
    spec = thing["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if thing["kind"] == "CronJob" else spec["template"]
    return template["spec"]


def ours(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Everything that makes pods of our images: its name, itself, its pod's spec."""
    for thing in built(overlay):
        if thing["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob"):
            yield f"{thing['kind']}/{thing['metadata']['name']}", thing, pod_of(thing)


def environment(overlay: str, pod: dict[str, Any]) -> dict[str, str]:
    """What a container sees, as far as the manifests say it: ConfigMaps, then its own."""
    maps = of_kind(overlay, "ConfigMap")
    found: dict[str, str] = {}
    container = pod["containers"][0]
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: str(one.get("value", "")) for one in container.get("env", ())}


def settings_of(service: str) -> type[ServingSettings]:
    known: dict[str, type[ServingSettings]] = {
        "classifier": ClassifierSettings,
        "forecasting": ForecastingSettings,
        "anomaly": AnomalySettings,
    }
    if service in known:
        return known[service]
    impact = pytest.importorskip("adsml_impact.settings", reason="impact is not served yet")
    found: type[ServingSettings] = impact.ImpactSettings
    return found


@overlays
@services
class TestServices:
    def test_probes_ask_what_the_server_serves(self, overlay: str, service: str) -> None:
        deployment = of_kind(overlay, "Deployment")[service]
        (container,) = pod_of(deployment)["containers"]
        assert container["startupProbe"]["grpc"].get("service", health.OVERALL) == health.OVERALL
        assert container["readinessProbe"]["grpc"]["service"] == health.READINESS
        assert container["livenessProbe"]["grpc"]["service"] == health.LIVENESS
        port = int(environment(overlay, pod_of(deployment))[f"ADSML_{service.upper()}_HEALTH_PORT"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == port

    def test_ports_are_those_it_listens_on(self, overlay: str, service: str) -> None:
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

    def test_it_scales_and_nobody_else_sets_its_replicas(self, overlay: str, service: str) -> None:
        assert "replicas" not in of_kind(overlay, "Deployment")[service]["spec"]
        scaler = of_kind(overlay, "HorizontalPodAutoscaler")[service]
        assert scaler["apiVersion"] == "autoscaling/v2"
        assert scaler["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": service,
        }

    def test_one_pod_at_a_time_may_be_disrupted(self, overlay: str, service: str) -> None:
        budget = of_kind(overlay, "PodDisruptionBudget")[service]["spec"]
        assert budget["maxUnavailable"] == 1
        labels = of_kind(overlay, "Deployment")[service]["spec"]["template"]["metadata"]["labels"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()

    def test_only_callers_and_forecasting_reach_it(self, overlay: str, service: str) -> None:
        policy = of_kind(overlay, "NetworkPolicy")[service]["spec"]
        labels = of_kind(overlay, "Deployment")[service]["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        (rule,) = policy["ingress"]
        callers, *peers = rule["from"]
        assert callers["namespaceSelector"]["matchLabels"] == {"adsml/callers": "true"}
        assert callers["podSelector"]["matchLabels"] == {"adsml/caller": "true"}
        names = [one["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for one in peers]
        assert names == ([] if service == "forecasting" else ["forecasting"])

    def test_the_kill_comes_after_the_drain(self, overlay: str, service: str) -> None:
        pod = pod_of(of_kind(overlay, "Deployment")[service])
        seen = environment(overlay, pod)
        before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert before > 0
        drain = sum(
            float(seen[f"ADSML_{service.upper()}_DRAIN_{part}_SECONDS"]) for part in ("WAIT", "GRACE")
        )
        # And some for pools, database and the last log line.
        assert pod["terminationGracePeriodSeconds"] >= before + drain + 15

    def test_pods_are_spread(self, overlay: str, service: str) -> None:
        pod = pod_of(of_kind(overlay, "Deployment")[service])
        keys = {one["topologyKey"] for one in pod["topologySpreadConstraints"]}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}

    def test_every_setting_is_one(
        self, overlay: str, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """By name, and by value: the process would start with them."""
        cls = settings_of(service)
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


@overlays
class TestEveryPod:
    def test_it_has_no_rights_and_writes_nowhere_but_scratch(self, overlay: str) -> None:
        for name, _, pod in ours(overlay):
            security = pod["securityContext"]
            assert security["runAsNonRoot"] is True, name
            assert security["runAsUser"] > 10000, name
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
            for container in pod["containers"]:
                own = container["securityContext"]
                assert own["readOnlyRootFilesystem"] is True, name
                assert own["allowPrivilegeEscalation"] is False, name
                assert own["capabilities"] == {"drop": ["ALL"]}, name
                assert "/tmp" in {one["mountPath"] for one in container["volumeMounts"]}, name  # noqa: S108

    def test_memory_is_reserved_and_processors_are_shared(self, overlay: str) -> None:
        for name, _, pod in ours(overlay):
            for container in pod["containers"]:
                resources = container["resources"]
                assert resources["requests"]["memory"] == resources["limits"]["memory"], name
                assert "cpu" in resources["requests"], name
                assert "cpu" not in resources["limits"], name

    def test_the_launcher_alone_has_a_token(self, overlay: str) -> None:
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
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert rights == {
            ("cronjobs", "get"), ("pods", "list"),
            *(("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
        }  # fmt: skip

    def test_the_namespace_holds_them_to_it(self, overlay: str) -> None:
        (namespace,) = of_kind(overlay, "Namespace").values()
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        assert all(
            one["metadata"]["namespace"] == namespace["metadata"]["name"]
            for one in built(overlay)
            if one["kind"] != "Namespace"
        )

    def test_nothing_goes_in_or_out_unless_it_is_allowed(self, overlay: str) -> None:
        deny = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def test_secrets_are_referred_to(self, overlay: str) -> None:
        for name, _, pod in ours(overlay):
            for container in pod["containers"]:
                for one in container.get("env", ()):
                    assert (
                        not re.search("PASSWORD$|SECRET|DATABASE_URL", one["name"]) or "valueFrom" in one
                    ), name

    def test_its_command_is_one(self, overlay: str) -> None:
        """Parsed by the real command line, and not run."""
        command = typer.main.get_command(build())
        for name, _, pod in ours(overlay):
            for container in pod["containers"]:
                if not container["image"].startswith(("adsml-", "registry.example.com/adsml/")):
                    continue
                if name == "Deployment/impact" and "impact" not in _installed():
                    continue
                context, group, words = typer.Context(command), command, list(container["args"])
                while hasattr(group, "resolve_command"):
                    _, group, words = group.resolve_command(context, words)
                    assert group is not None, name
                group.make_context("adsml", list(words), resilient_parsing=False)

    def test_images_are_those_that_are_built(self, overlay: str) -> None:
        dockerfiles = {path.parent.name for path in ROOT.glob("services/*/Dockerfile")} | {"launcher"}
        images = {
            re.split("[@:]", container["image"])[0].rpartition("/")[2].removeprefix("adsml-")
            for name, _, pod in ours(overlay)
            for container in pod["containers"]
            if name != "StatefulSet/postgresql"
        }
        assert images == dockerfiles


def _installed() -> set[str]:
    from adsml_common.cli.family import installed

    return set(installed())


def test_production_names_images_by_digest() -> None:
    for name, _, pod in ours("overlays/production"):
        for container in pod["containers"]:
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), name


def test_production_has_no_secret_in_it() -> None:
    assert not of_kind("overlays/production", "Secret")


@overlays
@pytest.mark.parametrize("job", SCHEDULES)
class TestTraining:
    def cronjob(self, overlay: str, job: str) -> dict[str, Any]:
        return of_kind(overlay, "CronJob")[CRONJOB.format(job=job)]

    def test_when(self, overlay: str, job: str) -> None:
        spec = self.cronjob(overlay, job)["spec"]
        assert (spec["schedule"], spec["timeZone"]) == (SCHEDULES[job], "Etc/UTC")
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["startingDeadlineSeconds"] > 0
        assert len(CRONJOB.format(job=job)) <= 52

    def test_shards(self, overlay: str, job: str) -> None:
        """An index is a shard: the Job's number and the command's are one, and all pods are one run."""
        spec = self.cronjob(overlay, job)["spec"]["jobTemplate"]["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        assert spec["completionMode"] == "Indexed"
        assert f"--shard-count={spec['completions']}" in container["args"]
        assert spec["parallelism"] <= spec["completions"] <= 256
        assert spec["maxFailedIndexes"] <= spec["completions"]
        (named,) = [one for one in container["env"] if one["name"] == "ADSML_TRAIN_JOB_NAME"]
        assert (
            named["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
        )

    def test_ends(self, overlay: str, job: str) -> None:
        spec = self.cronjob(overlay, job)["spec"]["jobTemplate"]["spec"]
        assert spec["backoffLimitPerIndex"] > 0
        assert spec["podReplacementPolicy"] == "Failed"
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["ttlSecondsAfterFinished"] > 0
        ignore, fail = spec["podFailurePolicy"]["rules"]
        assert ignore == {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
        assert fail["action"] == "FailIndex"
        assert 42 in fail["onExitCodes"]["values"]
        assert 1 not in fail["onExitCodes"]["values"]
        assert fail["onExitCodes"]["containerName"] == CONTAINER
        pod = spec["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        # What is in work may be finished after SIGTERM.
        assert pod["terminationGracePeriodSeconds"] > Pace().grace

    def test_the_launcher_finds_its_jobs(self, overlay: str, job: str) -> None:
        template = self.cronjob(overlay, job)["spec"]["jobTemplate"]
        wanted = dict(part.split("=") for part in SELECTOR.split(","))
        assert wanted.items() <= template["metadata"]["labels"].items()
        assert [one["name"] for one in template["spec"]["template"]["spec"]["containers"]] == [CONTAINER]

    def test_its_settings_are_some(self, overlay: str, job: str) -> None:
        seen = environment(overlay, pod_of(self.cronjob(overlay, job)))
        assert set(seen) <= set(variables(Settings).values()) | READ_ELSEWHERE
        assert seen["ADSML_ARTIFACT_URL"]


def test_every_job_of_the_contract_has_its_cronjob() -> None:
    assert set(JOBS.values()) == set(SCHEDULES)
    assert set(of_kind("overlays/production", "CronJob")) == {CRONJOB.format(job=job) for job in SCHEDULES}


class TestMonitoring:
    """Every metric that alerts and dashboard name is one that a process exports."""

    MONITORING = KUBERNETES / "components" / "monitoring"

    def exported(self) -> set[str]:
        from adsml_common.serving.exposition import ModelCollector
        from adsml_common.training.metrics import RunWatch

        for module in ("adsml_common.serving.telemetry", "adsml_common.training.launcher"):
            importlib.import_module(module)
        families = [
            *REGISTRY.collect(),
            *ModelCollector(list).collect(),
            *RunWatch(None, ()).collect(),  # type: ignore[arg-type]  # not read
        ]
        names: set[str] = set()
        for family in families:
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
                family.type, ("",)
            )
            names |= {f"{family.name}{suffix}" for suffix in suffixes}
        return names

    def expressions(self) -> Iterator[str]:
        for rule in of_kind("overlays/production", "PrometheusRule").values():
            for group in rule["spec"]["groups"]:
                yield from (one["expr"] for one in group["rules"])
        dashboard = json.loads((self.MONITORING / "adsml.json").read_text())
        for panel in dashboard["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))

    def test_they_exist(self) -> None:
        named = {name for one in self.expressions() for name in re.findall(r"\badsml_[a-z_]+", one)}
        assert len(named) > 10
        assert named <= self.exported()

    def test_every_alert_is_explained(self) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()
        for rule in of_kind("overlays/production", "PrometheusRule").values():
            for group in rule["spec"]["groups"]:
                for one in group["rules"]:
                    assert f"`{one['alert']}`" in page

    def test_every_alert_has_a_test(self) -> None:
        tests = (self.MONITORING / "rules_test.yaml").read_text()
        for rule in of_kind("overlays/production", "PrometheusRule").values():
            for group in rule["spec"]["groups"]:
                for one in group["rules"]:
                    assert f"alertname: {one['alert']}\n" in tests

    def test_the_dashboard_is_shipped_as_it_is(self) -> None:
        (shipped,) = [
            one["data"]
            for name, one in of_kind("overlays/production", "ConfigMap").items()
            if "dashboard" in name
        ]
        assert json.loads(shipped["adsml.json"]) == json.loads((self.MONITORING / "adsml.json").read_text())


def test_a_queue_can_be_put_before_training(tmp_path_factory: pytest.TempPathFactory) -> None:
    import shutil

    folder = tmp_path_factory.mktemp("k8s")
    shutil.copytree(KUBERNETES, folder / "k8s")
    (folder / "k8s" / "queued").mkdir()
    (folder / "k8s" / "queued" / "kustomization.yaml").write_text(
        "resources: [../overlays/production]\ncomponents: [../components/kueue]\nnamespace: adsml\n"
    )
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(kubectl), "kustomize", str(folder / "k8s" / "queued")],
        capture_output=True,
        text=True,
        check=True,
    )
    import yaml

    found = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "CronJob"]
    assert len(found) == len(SCHEDULES)
    for one in found:
        template = one["spec"]["jobTemplate"]
        assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "adsml-training"
        assert template["spec"]["suspend"] is True


DOCKERFILES = [*sorted(ROOT.glob("services/*/Dockerfile")), ROOT / "libs" / "common" / "Dockerfile"]


class TestDockerfiles:
    @pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
    def test_it_holds_what_it_needs_and_no_more(self, path: Path) -> None:
        text = path.read_text()
        name = "adsml-common" if path.parent.name == "common" else f"adsml-{path.parent.name}"
        assert f"--frozen --no-dev --no-editable --package {name} " in text
        assert re.search(r"^ARG PYTHON=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
        assert text.count("FROM ${PYTHON}") == 2
        final = text.rpartition("FROM ${PYTHON}")[2]
        assert "USER 10001:10001" in final
        assert "apt-get" not in text
        assert 'ENTRYPOINT ["adsml"]' in final

    def test_there_is_one_for_every_service(self) -> None:
        assert {path.parent.name for path in DOCKERFILES} == {*SERVICES, "common"}
