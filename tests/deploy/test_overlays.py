"""What each overlay promises: a release by name, and a machine of 4 processors and 8 GiB."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.manifests import KUBECTL, KUBERNETES, built, of_kind, ours, overlays

MIB = 1 << 20


def quantity(text: str) -> float:
    """Processors, or bytes."""
    number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi)?", text).groups()  # type: ignore[union-attr]
    return int(number) * {None: 1, "m": 0.001, "Mi": MIB, "Gi": 1024 * MIB}[unit]


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_another_release_is_another_migration(overlay: str, tmp_path: Path) -> None:
    """A Job can't be changed: applied again under its name, the second release would fail beside its services."""
    shutil.copytree(KUBERNETES, tmp_path / "k8s")
    kustomization = tmp_path / "k8s" / "overlays" / overlay / "kustomization.yaml"
    text, count = re.subn(r"(app.kubernetes.io/version: )\S+}", r"\g<1>1.4.0-rc1}", kustomization.read_text())
    assert count == 1
    kustomization.write_text(text)
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(kustomization.parent)], capture_output=True, text=True, check=True
    )
    (job,) = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Job"]
    assert job["metadata"]["name"] == "migrate-1.4.0-rc1"
    assert job["metadata"]["name"] not in of_kind(f"overlays/{overlay}", "Job")


@overlays
def test_the_migration_goes_before_the_services_of_a_sync(overlay: str) -> None:
    (job,) = of_kind(overlay, "Job").values()
    annotations = job["metadata"]["annotations"]
    assert int(annotations["argocd.argoproj.io/sync-wave"]) < 0
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    (account,) = [one for name, one in of_kind(overlay, "ServiceAccount").items() if name == "migration"]
    wave = "argocd.argoproj.io/sync-wave"
    assert int(account["metadata"]["annotations"][wave]) < int(annotations[wave])


def test_the_local_one_fits_a_machine_of_4_processors_and_8_gibibytes() -> None:
    """With one pod of each service, one of one training job, and the cluster itself (0.9 processors, 1 GiB)."""
    cpu, memory = 0.9, 1024.0 * MIB
    training = []
    for name, thing, pod in ours("overlays/local"):
        requests = [container["resources"]["requests"] for container in pod["containers"]]
        needs = (
            sum(quantity(one["cpu"]) for one in requests),
            sum(quantity(one["memory"]) for one in requests),
        )
        if thing["kind"] == "CronJob":
            spec = thing["spec"]["jobTemplate"]["spec"]
            training.append((needs[0] * spec["parallelism"], needs[1] * spec["parallelism"]))
        elif thing["kind"] != "Job":
            assert thing["spec"].get("replicas", 1) == 1, name
            cpu, memory = cpu + needs[0], memory + needs[1]
    for scaler in of_kind("overlays/local", "HorizontalPodAutoscaler").values():
        assert scaler["spec"]["maxReplicas"] == 1
    # Two at once, where one takes longer than the hour to the next.
    cpu += 2 * max(one[0] for one in training)
    memory += 2 * max(one[1] for one in training)
    assert cpu <= 4
    assert memory <= 8 * 1024 * MIB


def test_its_volumes_are_of_one_node() -> None:
    claims = [one["spec"] for one in built("overlays/local") if one["kind"] == "PersistentVolumeClaim"]
    claims += [
        claim["spec"]
        for one in of_kind("overlays/local", "StatefulSet").values()
        for claim in one["spec"]["volumeClaimTemplates"]
    ]
    assert [one["accessModes"] for one in claims] == [["ReadWriteOnce"]] * 2
