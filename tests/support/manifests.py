"""The manifests in deploy/k8s as a cluster gets them."""

import copy
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
import yaml
from adsml_common.cli.main import build

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")
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
    "ADSML_LAUNCHER_METRICS_PORT", "ADSML_LAUNCHER_START_SECONDS", "ADSML_REPORT_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME",
}  # fmt: skip

overlays = pytest.mark.parametrize("overlay", OVERLAYS)
services = pytest.mark.parametrize("service", SERVICES)


@functools.cache
def _built(folder: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if one]


def built(folder: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a folder below deploy/k8s."""
    return copy.deepcopy(_built(folder))


def of_kind(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    """Objects of one kind by name."""
    found = {one["metadata"]["name"]: one for one in _built(folder) if one["kind"] == kind}
    return copy.deepcopy(found)


def pod_of(thing: dict[str, Any]) -> dict[str, Any]:
    """The pod template of whatever makes pods."""
    spec = thing["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if thing["kind"] == "CronJob" else spec["template"]
    return template["spec"]


@functools.cache
def _with_components(*names: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        copy_ = Path(folder) / "k8s"
        shutil.copytree(KUBERNETES, copy_)
        kustomization = copy_ / "overlays" / "production" / "kustomization.yaml"
        overlay = yaml.safe_load(kustomization.read_text())
        overlay["components"] = [f"../../components/{name}" for name in names]
        kustomization.write_text(yaml.safe_dump(overlay))
        done = subprocess.run(
            [str(KUBECTL), "kustomize", str(kustomization.parent)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if one]


def with_components(*names: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of the production overlay with these components."""
    return copy.deepcopy(_with_components(*names))


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that run first, and those that stay."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def ours(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Everything that makes pods of our images: its name, itself, its pod's spec."""
    for thing in built(overlay):
        if thing["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob"):
            yield f"{thing['kind']}/{thing['metadata']['name']}", thing, pod_of(thing)


def check_command(name: str, arguments: Sequence[str]) -> None:
    """Arguments of a container of ours, parsed by the real command line, and not run."""
    command = typer.main.get_command(build())
    context, group, words = typer.Context(command), command, list(arguments)
    while hasattr(group, "resolve_command"):
        _, group, words = group.resolve_command(context, words)
        assert group is not None, name
    group.make_context("adsml", list(words), resilient_parsing=False)


def environment(overlay: str, pod: dict[str, Any]) -> dict[str, str]:
    """What a container sees, as far as the manifests say it: ConfigMaps, then its own."""
    maps = of_kind(overlay, "ConfigMap")
    found: dict[str, str] = {}
    container = pod["containers"][0]
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: str(one.get("value", "")) for one in container.get("env", ())}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector takes a pod with these labels."""
    assert {one["operator"] for one in selector.get("matchExpressions", ())} <= {"In", "NotIn"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        (labels.get(one["key"]) in one["values"]) == (one["operator"] == "In")
        for one in selector.get("matchExpressions", ())
    )
