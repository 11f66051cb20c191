"""The images: one Dockerfile for each, and manifests that name those."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.manifests import ROOT, SERVICES, ours, overlays

DOCKERFILES = [*sorted(ROOT.glob("services/*/Dockerfile")), ROOT / "libs" / "common" / "Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_it_holds_what_it_needs_and_no_more(path: Path) -> None:
    text = path.read_text()
    name = "adsml-common" if path.parent.name == "common" else f"adsml-{path.parent.name}"
    assert f"--frozen --no-dev --no-editable --package {name} " in text
    assert re.search(r"^ARG PYTHON=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert text.count("FROM ${PYTHON}") == 2
    final = text.rpartition("FROM ${PYTHON}")[2]
    assert "USER 10001:10001" in final
    assert "apt-get" not in text
    assert 'ENTRYPOINT ["start"]' in final


def test_they_differ_in_nothing_but_their_names() -> None:
    """What is changed in one and forgotten in another shows here."""

    def common(path: Path) -> list[str]:
        text = path.read_text()
        # The kernels: not every service has some.
        text = re.sub(r"# The kernels compiled.*\nRUN .*\n", "", text)
        text = re.sub(r'python -c "import [^"]+"', "python -c IMPORTS", text)
        text = re.sub(r"^# (The|  docker build) .*$", "#", text, flags=re.MULTILINE)
        text = re.sub(r"--package \S+ --extra \S+", "--package PACKAGE", text)
        return re.sub(r"^CMD .*$", "CMD", text, flags=re.MULTILINE).splitlines()

    first, *others = DOCKERFILES
    for other in others:
        assert common(other) == common(first), other


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_kernels_are_compiled_where_there_are_some(path: Path) -> None:
    # What compiles is not what is compiled: `adsml_common.compiled` has no kernels of its own.
    sources = [one for one in path.parent.glob("src/**/*.py") if one.name != "compiled.py"]
    compiles = re.compile(r"^from adsml_(common|forecasting)\.compiled import", re.MULTILINE)
    kernels = any(compiles.search(one.read_text()) for one in sources)
    assert ("NUMBA_CACHE_DIR=/app/numba" in path.read_text()) is kernels


def test_there_is_one_for_every_service() -> None:
    assert {path.parent.name for path in DOCKERFILES} == {*SERVICES, "common"}


@overlays
def test_images_are_those_that_are_built(overlay: str) -> None:
    dockerfiles = {path.parent.name for path in ROOT.glob("services/*/Dockerfile")} | {"launcher"}
    images = {
        re.split("[@:]", container["image"])[0].rpartition("/")[2].removeprefix("adsml-")
        for name, _, pod in ours(overlay)
        for container in pod["containers"]
        if name != "StatefulSet/postgresql"
    }
    assert images == dockerfiles


def test_production_names_images_by_digest() -> None:
    for name, _, pod in ours("overlays/production"):
        for container in pod["containers"]:
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), name


class TestStart:
    """What an image runs first, on a copy of its script that looks for the kernels elsewhere."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Callable[..., str]:
        image = tmp_path / "app"
        (image / "bin").mkdir(parents=True)
        (image / "numba" / "module").mkdir(parents=True)
        (image / "numba" / "module" / "kernel.nbi").write_text("code")
        script = (ROOT / "libs" / "common" / "start.sh").read_text()
        assert script.count("/app/numba") == 2
        (image / "bin" / "start").write_text(script.replace("/app/numba", str(image / "numba")))
        (image / "bin" / "adsml").write_text('#!/bin/sh\necho "adsml $*"\n')
        for name in ("start", "adsml"):
            (image / "bin" / name).chmod(0o755)

        def run(*arguments: str, cache: Path) -> str:
            path = f"{image / 'bin'}:{os.environ['PATH']}"
            return subprocess.run(
                ["start", *arguments], env={"PATH": path, "NUMBA_CACHE_DIR": str(cache)},
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip

        return run

    def test_kernels_are_laid_where_they_can_be_written(
        self, start: Callable[..., str], tmp_path: Path
    ) -> None:
        assert start("serve", "anomaly", cache=tmp_path / "numba") == "adsml serve anomaly\n"
        assert (tmp_path / "numba" / "module" / "kernel.nbi").read_text() == "code"
        assert not list(tmp_path.glob("numba.*"))

    def test_what_is_there_is_left(self, start: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "numba").mkdir()
        start("--version", cache=tmp_path / "numba")
        assert not list((tmp_path / "numba").iterdir())

    def test_where_nothing_can_be_written_it_starts_without(
        self, start: Callable[..., str], tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        assert start("serve", "impact", cache=tmp_path / "file" / "numba") == "adsml serve impact\n"
