"""What a release checks before it begins, waits for, and clears away: `deploy/release.py` against a stand-in kubectl."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import fake_kubectl
from support.manifests import ROOT, built, of_kind

KINDS = sorted({one["kind"] for one in built("overlays/production")})
DIGEST = "sha256:" + 64 * "1"
COMPLETE = {"type": "Complete", "status": "True"}


class Release:
    """A cluster and a release for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").write_text(
            f'#!/bin/sh\nexec {sys.executable} {fake_kubectl.__file__} "$@"\n'
        )
        (folder / "bin" / "kubectl").chmod(0o755)
        self.things = built("overlays/production")
        self.text = yaml.safe_dump_all(self.things).replace("sha256:" + 64 * "0", DIGEST)
        tls = {"data": {"tls.crt": "", "tls.key": "", "ca.crt": ""}}
        node = {"status": {"allocatable": {"cpu": "16", "memory": "64Gi"}}}
        self.cluster: dict[str, Any] = {
            "version": {"major": "1", "minor": "33+", "gitVersion": "v1.33.4-eks"},
            "kinds": KINDS,
            "objects": {
                "secrets": {
                    "adsml-database": {"data": {"url": ""}},
                    **{f"{name}-tls": tls for name in ("classifier", "forecasting", "anomaly", "impact")},
                },
                "nodes": {"a": node},
                "jobs": {},
            },
        }  # fmt: skip

    def run(self, word: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "release.yaml").write_text(self.text)
        (self.folder / "cluster.json").write_text(json.dumps(self.cluster))
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, str(ROOT / "deploy" / "release.py"), word, str(self.folder / "release.yaml")],
            env={**os.environ, "PATH": path, "FAKE_KUBECTL": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    @property
    def told(self) -> str:
        return (self.folder / "told").read_text()


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_where_all_is_there_nothing_is_said(release: Release) -> None:
    done = release.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "apply" not in release.told


def test_all_that_is_missing_is_said_at_once(release: Release) -> None:
    release.cluster["version"] = {"major": "1", "minor": "30", "gitVersion": "v1.30.1"}
    release.cluster["kinds"] = [kind for kind in KINDS if kind != "PodMonitor"]
    del release.cluster["objects"]["secrets"]["impact-tls"]
    release.cluster["objects"]["secrets"]["adsml-database"] = {"data": {"password": ""}}
    release.cluster["objects"]["nodes"]["a"]["status"]["allocatable"]["cpu"] = "1930m"
    release.text = release.text.replace(f"adsml/anomaly@{DIGEST}", f"adsml/anomaly@sha256:{64 * '0'}")
    done = release.run("check")
    assert done.returncode == 1
    for word in (
        "the cluster is v1.30.1; it takes 1.33 or newer",
        "knows no PodMonitor: install the operator",
        "there is no secret impact-tls in namespace adsml",
        "secret adsml-database has no key url",
        "CronJob train-prophet fits on no node: too much cpu",
        "Deployment anomaly: no digest was set",
    ):
        assert word in done.stderr
    assert "adsml-s3" not in done.stderr  # pods start without


def test_a_release_that_forgets_its_name_is_told_so_before_anything_changes(release: Release) -> None:
    """The Job of the release before is there, and its image can't be changed: its services would start without."""
    (job,) = of_kind("overlays/production", "Job").values()
    release.cluster["objects"]["jobs"][job["metadata"]["name"]] = job
    done = release.run("apply")
    assert done.returncode == 1
    assert "name the release anew" in done.stderr
    assert not (release.folder / "applied").exists()


def test_it_waits_for_the_migration_and_then_for_the_services(release: Release) -> None:
    (name,) = of_kind("overlays/production", "Job")
    release.cluster["objects"]["jobs"][name] = [
        {"kind": "Job", "spec": {}, "status": {}}, {"status": {}}, {"status": {"conditions": [COMPLETE]}},
    ]  # fmt: skip
    done = release.run("apply")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load_all((release.folder / "applied").read_text())
    words = release.told.splitlines()
    assert "apply --server-side --field-manager=adsml-release -f -" in words
    assert len([one for one in words if one.startswith("rollout status")]) == 5
    assert max(i for i, one in enumerate(words) if one.startswith("get job")) < min(
        i for i, one in enumerate(words) if one.startswith("rollout")
    )


def test_a_migration_that_failed_ends_it_at_once_with_its_last_words(release: Release) -> None:
    (name,) = of_kind("overlays/production", "Job")
    failed = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
    release.cluster["objects"]["jobs"][name] = [
        {"kind": "Job", "spec": {}, "status": {}}, {"status": {"conditions": [failed]}},
    ]  # fmt: skip
    done = release.run("apply")
    assert done.returncode == 1
    assert "has failed: Job has reached the specified backoff limit" in done.stderr
    assert "the database does not answer" in done.stderr
    assert "rollout" not in release.told


def test_only_what_nothing_refers_to_is_pruned(release: Release) -> None:
    """A Job that runs makes its next pod of the settings it began with; a rollback takes those of before."""

    def pod(name: str) -> dict[str, Any]:
        return {"containers": [{"envFrom": [{"configMapRef": {"name": name}}]}]}

    def named(name: str) -> dict[str, Any]:
        return {"metadata": {"name": name}}

    current = {
        name
        for name, one in of_kind("overlays/production", "ConfigMap").items()
        if name.startswith("anomaly-")
    }
    maps = [*current, "jobs-aaaaaaaaaa", "anomaly-bbbbbbbbbb", "anomaly-cccccccccc", "adsml-dashboard"]
    release.cluster["objects"] |= {
        "configmaps": {name: named(name) for name in maps},
        "jobs": {"r": {"kind": "Job", "spec": {"template": {"spec": pod("jobs-aaaaaaaaaa")}}}},
        "replicasets": {
            "s": {"kind": "ReplicaSet", "spec": {"template": {"spec": pod("anomaly-bbbbbbbbbb")}}}
        },
    }
    done = release.run("prune")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["configmap", "anomaly-cccccccccc", "deleted"]
