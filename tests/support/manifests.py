"""The manifests in deploy/k8s as a cluster gets them."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")


@functools.cache
def _built(folder: str) -> str:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(folder: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a folder below deploy/k8s."""
    return [one for one in yaml.safe_load_all(_built(folder)) if one]


def of_kind(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    """Objects of one kind by name."""
    return {one["metadata"]["name"]: one for one in built(folder) if one["kind"] == kind}
