"""The images: one Dockerfile for each, and manifests that name those."""

import re
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
    assert 'ENTRYPOINT ["adsml"]' in final


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
