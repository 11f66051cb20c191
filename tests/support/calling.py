"""What examples/calling is given before it runs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALLING = ROOT / "examples" / "calling"


def contracts(folder: Path) -> None:
    """contracts.binpb, as `make dist` hands it out."""
    bundle = [sys.executable, ROOT / "protos" / "bundle.py", folder]
    subprocess.run(bundle, check=True, capture_output=True)
    with zipfile.ZipFile(folder / "adsml-contracts.zip") as archive:
        archive.extract("contracts.binpb", folder)


def npm_install(folder: Path) -> str:
    """Install a folder's packages, or skip the test; the path of node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node or npm is not installed here")
    installed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"npm could not install the example's packages: {installed.stderr[-300:]}")
    return node
