"""The examples of docs/calling.md, run as their readers would."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from adsml_common.database import Database
from support.families import build, settings_of

ROOT = Path(__file__).parents[2]
CALLING = ROOT / "examples" / "calling"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A classifier on an empty store: the examples send their days along."""
    folder = tmp_path_factory.mktemp("calling")
    url = f"sqlite:///{folder / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    database.close()
    with build("classifier", settings_of("classifier", database_url=url, folder=folder)).start() as server:
        yield server.target


def run(*command: str, cwd: Path = ROOT, **env: str) -> str:
    ran = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_python(target: str) -> None:
    output = run(sys.executable, str(CALLING / "classify.py"), target)
    assert output == "mine: high_performer, CPL 5.00\nanswered by last_week_tier\n"


def test_node(target: str, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node or npm is not installed here")
    for name in ("classify.mjs", "package.json"):
        shutil.copy(CALLING / name, tmp_path)
    installed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"npm could not install the example's packages: {installed.stderr[-300:]}")
    run(sys.executable, "bundle.py", str(tmp_path), cwd=ROOT / "protos")
    with zipfile.ZipFile(tmp_path / "adsml-contracts.zip") as archive:
        archive.extract("contracts.binpb", tmp_path)
    output = run(node, "classify.mjs", target, cwd=tmp_path)
    assert output == "mine: TIER_HIGH_PERFORMER, CPL 5.00\nanswered by last_week_tier\n"


def test_shell(target: str) -> None:
    output = run("sh", str(CALLING / "classify.sh"), target, BUF=str(Path(sys.executable).parent / "buf"))
    assert '"tier": "TIER_' in output
    assert '"cpl": 5' in output
