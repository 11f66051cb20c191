"""The examples of docs/calling.md, run as their readers would."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adsml_common.database import Database
from support.calling import CALLING, ROOT, contracts, npm_install
from support.families import build, settings_of


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
    for name in ("classify.mjs", "package.json"):
        shutil.copy(CALLING / name, tmp_path)
    node = npm_install(tmp_path)
    contracts(tmp_path)
    output = run(node, "classify.mjs", target, cwd=tmp_path)
    assert output == "mine: TIER_HIGH_PERFORMER, CPL 5.00\nanswered by last_week_tier\n"


def test_go(target: str, tmp_path: Path) -> None:
    """Against Debian's packages (golang-go, golang-google-grpc-dev, golang-github-golang-protobuf-1-5-dev,
    protoc-gen-go, protoc-gen-go-grpc), by the way of building that needs no download."""
    needed = ("go", "protoc-gen-go", "protoc-gen-go-grpc")
    packages = Path("/usr/share/gocode")
    if any(shutil.which(one) is None for one in needed) or not all(
        (packages / "src" / one).exists()
        for one in ("google.golang.org/grpc", "github.com/golang/protobuf/proto/wire.go")
    ):
        pytest.skip("Go and its gRPC packages are not installed here")
    module = tmp_path / "src" / "example.com" / "adsml"
    shutil.copytree(CALLING / "go", module)
    contracts(module)
    bin_folder = Path(sys.executable).parent
    run(
        str(bin_folder / "buf"), "generate", "contracts.binpb", "--path", "adsml", "--path", "buf", cwd=module
    )
    output = run("go", "run", ".", target, cwd=module, GO111MODULE="off", GOPATH=f"{tmp_path}:{packages}")
    assert output == "mine: TIER_HIGH_PERFORMER, CPL 5.00\nanswered by last_week_tier\n"


def test_shell(target: str) -> None:
    output = run("sh", str(CALLING / "classify.sh"), target, BUF=str(Path(sys.executable).parent / "buf"))
    assert '"tier": "TIER_' in output
    assert '"cpl": 5' in output
