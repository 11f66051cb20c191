"""A model that brings down what parses it brings down a child, is named and skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from adsml_common.domain.degradation import DegradationReason
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.registry import vetting
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.registry import ModelRegistry
from adsml_common.registry.vetting import ModelVetter
from support import parsers
from support.models import NAME, activated
from support.serving import eventually

TESTS = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _found_by_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    monkeypatch.setenv("ADSML_DATABASE_PASSWORD", "hunter2")


@pytest.fixture
def dialect() -> str:
    return "sqlite"


@pytest.fixture
def vetter(tmp_path: Path):
    one = ModelVetter(tmp_path / "vetted", seconds=5.0)
    yield one
    one.close()


def checked(vetter, registry, version, parse):
    artifacts = ArtifactStore(registry._artifacts.url, cache_dir=registry._artifacts.cache_dir)
    vetter.check(parse, version, artifacts.fetch(version.artifact_uri, sha256=version.sha256))


@pytest.mark.parametrize(
    ("parse", "told"),
    [
        (parsers.crash, r"ends the process that parses it \(SIGSEGV\)"),
        (parsers.allocate, "takes more memory to parse than a model may"),
        (parsers.hang, "takes longer than 5 s to parse"),
        (parsers.refuse, r"can't be parsed \(ValueError\)"),
    ],
)
def test_what_can_not_be_parsed_is_named(vetter, registry: ModelRegistry, parse, told: str) -> None:
    version = activated(registry, 7)
    with pytest.raises(ArtifactCorrupt, match=rf"{NAME} version 1 {told}"):
        checked(vetter, registry, version, parse)
    # The next one is vetted as if nothing had been.
    checked(vetter, registry, version, parsers.value)


def test_the_child_has_no_secrets_and_what_it_prints_is_no_answer(vetter, registry: ModelRegistry) -> None:
    version = activated(registry, 7)
    checked(vetter, registry, version, parsers.spy)
    checked(vetter, registry, version, parsers.chatter)
    checked(vetter, registry, version, parsers.value)


def test_what_passed_once_is_not_looked_at_again(
    tmp_path: Path, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = activated(registry, 7)
    first = ModelVetter(tmp_path / "vetted")
    checked(first, registry, version, parsers.value)
    first.close()
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a child was started"))
    checked(ModelVetter(tmp_path / "vetted"), registry, version, parsers.value)


def test_a_poisoned_version_is_skipped_and_the_previous_one_serves(registry: ModelRegistry) -> None:
    activated(registry, 6)
    activated(registry, 7)
    loader = ModelLoader(registry, parsers.crash_on_7, poll_seconds=60, capacity=3, vetted=True)
    loaded = loader.get(NAME)
    assert (loaded.model, loaded.version.version) == (6, 1)
    (told,) = loaded.degradations
    assert (told.reason, told.name) == (DegradationReason.CORRUPT, f"{NAME} version 2")
    assert "SIGSEGV" in told.detail
    registry.close()


def test_verify_really_loads(registry: ModelRegistry) -> None:
    good, bad = activated(registry, 6), activated(registry, 7)
    report = registry.verify(lambda version: parsers.crash_on_7)
    assert (report.checked, report.ok) == (2, False)
    assert [str(one) for one in report.corrupt] == [str(bad)]
    assert "SIGSEGV" in report.reasons[str(bad)]
    assert str(good) not in report.reasons
    registry.close()


def test_a_parser_says_how_much_its_models_may_unpack_to(registry: ModelRegistry) -> None:
    version = activated(registry, 7)
    with pytest.raises(ArtifactCorrupt, match="unpacks to more than 0 MiB"):
        registry.read(version, parse=parsers.sparing)
    assert registry.read(version, parse=parsers.value).files["value.json"] == b"7"
    registry.close()


def test_a_child_that_died_in_between_blames_nobody(vetter, registry: ModelRegistry) -> None:
    checked(vetter, registry, activated(registry, 6), parsers.value)
    vetter._child.kill()
    vetter._child.wait()
    checked(vetter, registry, activated(registry, 7), parsers.value)


def test_a_child_without_work_is_ended(
    vetter, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetting, "_IDLE_SECONDS", 0.1)
    checked(vetter, registry, activated(registry, 6), parsers.value)
    child = vetter._child
    eventually(lambda: child.poll() is not None)
    checked(vetter, registry, activated(registry, 7), parsers.value)


def test_many_are_vetted_on_the_way_and_a_poisoned_one_stops_no_other(registry: ModelRegistry) -> None:
    names = [f"classifier/{number}" for number in range(1, 101)]
    for number, name in enumerate(names, start=1):
        activated(registry, 7 if number == 70 else number + 100, name=name)
    loader = ModelLoader(registry, parsers.crash_on_7, poll_seconds=60, capacity=200, vetted=True)
    loader.prefetch(names)
    assert {one.model for one in loader.in_memory()} == {number + 100 for number in range(1, 101)} - {170}
    with pytest.raises(ArtifactCorrupt, match=r"classifier/70 version 1 ends the process .*SIGSEGV"):
        loader.get("classifier/70")
    registry.close()


def test_what_was_vetted_ahead_is_not_vetted_again(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"classifier/{number}" for number in range(1, 6)]
    for name in names:
        activated(registry, 1, name=name)
    loader = ModelLoader(registry, parsers.value, poll_seconds=60, capacity=200, vetted=True)
    asked = []
    ask = ModelVetter._ask
    monkeypatch.setattr(ModelVetter, "_ask", lambda *given: asked.append(given) or ask(*given))
    loader.prefetch(names)
    assert (len(loader.in_memory()), len(asked)) == (5, 1)
    registry.close()


def test_an_artifact_store_that_is_away_is_told_of_each_model(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    activated(registry, 1)

    def away(*_: object, **__: object) -> bytes:
        raise Unavailable("the artifact store is unavailable")

    monkeypatch.setattr(ArtifactStore, "fetch", away)
    loader = ModelLoader(registry, parsers.value, poll_seconds=60, capacity=3, vetted=True)
    loader.prefetch([NAME])
    with pytest.raises(Unavailable):
        loader.get(NAME)
    registry.close()


def test_the_parser_of_a_module_started_by_its_name_is_found(tmp_path: Path) -> None:
    # Started so, its functions belong to `__main__`, which in the child is the child itself: every model was refused
    # as one that ends the process that parses it, and a classifier answered by its rule.
    code = """
from adsml_common.registry import vetting

def parse(version, bundle): ...

if __name__ == "__main__":
    print(vetting._name_of(parse))
"""
    (tmp_path / "started.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "started"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "started:parse"


def test_a_file_of_the_folder_it_is_started_in_is_no_library_of_the_child(
    vetter, registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `python -m` looks in the current folder first: a stray numpy.py there refused every model.
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    checked(vetter, registry, activated(registry, 7), parsers.value)
