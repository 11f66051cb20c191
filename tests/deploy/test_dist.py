"""What `make dist` builds, installed and used outside the repository."""

import hashlib
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".tools" / "bin" / "uv"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes once the environment is set up, which other tests use meanwhile."""
    folder = tmp_path_factory.mktemp("dist") / "dist"
    subprocess.run(["make", "-s", "dist-files", f"DIST={folder}"], cwd=ROOT, check=True, capture_output=True)
    return folder


def installed(dist: Path, folder: Path, requirement: str) -> Path:
    """The `bin` of a new environment that holds a distribution from the wheels."""
    subprocess.run([UV, "venv", "-q", "--python", "3.11", folder], check=True)
    command = [UV, "pip", "install", "-q", "--python", folder / "bin" / "python", "--find-links", dist]
    # uv remembers a wheel by name and version, and every build here has the same.
    fresh = [
        f"--refresh-package={wheel.name.partition('-')[0].replace('_', '-')}" for wheel in dist.glob("*.whl")
    ]
    # The third-party packages are those of the lock, as the README says.
    subprocess.run([*command, *fresh, "-c", dist / "requirements.txt", requirement], check=True, cwd=folder)
    return folder / "bin"


def run(command: list[object], cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ADSML_")}
    done = subprocess.run(
        [str(one) for one in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_distribution_has_the_one_version(dist: Path) -> None:
    version = (ROOT / "VERSION").read_text().strip()
    wheels = {wheel.name.split("-")[0]: wheel.name.split("-")[1] for wheel in dist.glob("*.whl")}
    assert (
        len(wheels) == len([*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]) + 1
    )
    assert set(wheels.values()) == {version}


def test_a_release_has_every_image_and_holds_its_tag_to_the_version() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())
    (built,) = re.findall(r"^IMAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert workflow["jobs"]["image"]["strategy"]["matrix"]["image"] == built.split()
    assert any("VERSION" in step.get("run", "") for step in workflow["jobs"]["dist"]["steps"])
    assert "dist" in workflow["jobs"]["image"]["needs"]


def test_hashes_sbom_and_contracts_for_other_languages(dist: Path) -> None:
    for line in (dist / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    components = {one["name"] for one in json.loads((dist / "adsml.cdx.json").read_text())["components"]}
    assert {"grpcio", "xgboost-cpu", "protobuf"} <= components
    with zipfile.ZipFile(dist / "adsml-contracts.zip") as archive:
        files = descriptor_pb2.FileDescriptorSet.FromString(archive.read("contracts.binpb"))
        assert "protos/adsml/impact/v1/impact_service.proto" in archive.namelist()
    names = [file.name for file in files.file]
    # Whatever a file imports stands before it, so that a generator needs nothing else.
    for file in files.file:
        assert all(names.index(one) < names.index(file.name) for one in file.dependency)


def test_one_name_brings_the_command_with_every_family(dist: Path, tmp_path: Path) -> None:
    bin_folder = installed(dist, tmp_path / "env", "adsml-cli")
    adsml = bin_folder / "adsml"
    database = {
        "ADSML_DATABASE_URL": f"sqlite:///{tmp_path / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(tmp_path / "models"),
    }
    listed = run([adsml, "--help"], tmp_path, **database)
    for command in ("import", "simulate", "report", "classify", "forecast", "anomalies", "impact"):
        assert f" {command} " in listed
    run([adsml, "simulate", "--format", "store", "--days", 60], tmp_path, **database)
    said = run(
        [adsml, "classify", "--config-id", 1, "--entity-type", "campaign", "--json"], tmp_path, **database
    )
    assert json.loads(said)


def test_the_client_alone_brings_neither_pandas_nor_a_model(dist: Path, tmp_path: Path) -> None:
    python = installed(dist, tmp_path / "env", "adsml-client") / "python"
    script = (
        "import adsml_client, importlib.metadata as m;"
        "print(sorted(one.metadata['Name'] for one in m.distributions()))"
    )
    names = run([python, "-c", script], tmp_path)
    assert "adsml-client" in names
    for heavy in ("pandas", "numpy", "xgboost-cpu", "sqlalchemy", "adsml-common"):
        assert f"'{heavy}'" not in names
