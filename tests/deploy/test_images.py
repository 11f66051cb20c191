"""The images, and the manifests that name them."""

import os
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from support.manifests import ROOT, SERVICES, containers, ours, overlays

IMAGE = ROOT / "deploy" / "image"


@overlays
def test_images_are_those_that_are_built(overlay: str) -> None:
    images = {
        re.split("[@:]", container["image"])[0].rpartition("/")[2].removeprefix("adsml-")
        for name, _, pod in ours(overlay)
        for container in containers(pod)
        if name != "StatefulSet/postgresql"
    }
    assert images == {*SERVICES, "launcher"}


def test_production_names_images_by_digest() -> None:
    for name, _, pod in ours("overlays/production"):
        for container in containers(pod):
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), name


def test_what_an_image_copies_is_let_through() -> None:
    """.dockerignore names what a build sees: nothing else can be copied."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    seen = {line.removeprefix("!").rstrip("/") for line in ignored if line.startswith("!")}
    copied = [
        source
        for words in re.findall(
            r"^COPY (?!--from)(.+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE
        )
        for source in words.split()[:-1]
    ]
    assert len(copied) > 5
    assert [source for source in copied if source not in seen] == []


def test_what_an_image_compiles_can_be_loaded() -> None:
    found = {entry.name: entry.load() for entry in entry_points(group="adsml.kernels")}
    assert {"forecasting", "anomaly", "impact"} <= set(found)
    assert all(callable(one) for one in found.values())


class TestStart:
    """What an image runs first, on a copy of its script that looks for the kernels elsewhere."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Callable[..., str]:
        image = tmp_path / "app"
        (image / "bin").mkdir(parents=True)
        (image / "numba" / "module").mkdir(parents=True)
        (image / "numba" / "module" / "kernel.nbi").write_text("code")
        script = (IMAGE / "start.sh").read_text()
        assert script.count("/app/numba") == 2
        (image / "bin" / "start").write_text(script.replace("/app/numba", str(image / "numba")))
        (image / "bin" / "adsml").write_text('#!/bin/sh\necho "adsml $*"\n')
        for name in ("start", "adsml"):
            (image / "bin" / name).chmod(0o755)

        def run(*arguments: str, cache: Path, image_name: str = "anomaly") -> str:
            path = f"{image / 'bin'}:{os.environ['PATH']}"
            environment = {"PATH": path, "NUMBA_CACHE_DIR": str(cache), "ADSML_IMAGE": image_name}
            return subprocess.run(
                ["start", *arguments], env=environment, capture_output=True, text=True, check=True
            ).stdout

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

    @pytest.mark.parametrize(
        ("image_name", "command"),
        [
            ("anomaly", "adsml serve anomaly\n"),
            ("launcher", "adsml launcher\n"),
            ("ingest", "adsml --help\n"),
        ],
    )
    def test_without_a_word_it_does_what_it_is_for(
        self, image_name: str, command: str, start: Callable[..., str], tmp_path: Path
    ) -> None:
        assert start(cache=tmp_path / "numba", image_name=image_name) == command
