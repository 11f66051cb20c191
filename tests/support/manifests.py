"""The manifests in deploy/k8s as a cluster gets them."""

import copy
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
