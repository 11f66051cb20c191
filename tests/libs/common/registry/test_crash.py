"""kill -9 at each point of a registration, and two processes at once: no reader ever sees a broken model."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from support import crashing, racing
from support.forked import finish, start
from support.models import NAME, activated, value_of

# Up to and including the commit of the activation, the version before serves.
POINTS = {
    "while the artifact is written": 1,
    "between artifact and row": 1,
    "before the row is committed": 1,
    "between row and activation": 1,
    "within the activation": 1,
    "before the activation is committed": 1,
    "after the activation": 2,
}


@pytest.fixture
def fresh_registry(database_url: str, tmp_path: Path) -> ModelRegistry:
    """As another process sees it: nothing cached."""
    artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "fresh-cache")
    return ModelRegistry(Database.open(database_url), artifacts)


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_each_point(
    point: str, registry: ModelRegistry, fresh_registry: ModelRegistry, database_url: str, tmp_path: Path
) -> None:
    activated(registry, 1)
    assert finish(start(crashing.register_and_die, database_url, str(tmp_path), point)) == -signal.SIGKILL

    # What readers see: the whole old one or the whole new one, and every row has its artifact.
    loader = ModelLoader(fresh_registry, value_of, poll_seconds=60, capacity=2)
    loaded = loader.get(NAME)
    assert loaded is not None
    assert (loaded.model, loaded.degradations) == (POINTS[point], ())
    report = fresh_registry.verify()
    assert report.ok
    assert sum(found.status is ModelStatus.ACTIVE for found in fresh_registry.list()) == 1

    # The rerun completes what was begun, without doing anything twice.
    assert finish(start(crashing.register_and_die, database_url, str(tmp_path), "nowhere")) == 0
    loader.refresh()
    loaded = loader.get(NAME)
    assert loaded is not None
    assert (loaded.model, loaded.version.version, loaded.degradations) == (2, 2, ())
    assert [found.run_id for found in fresh_registry.list(run_id="run-2")] == ["run-2"]
    assert [event.version for event in fresh_registry.events() if event.event == "ACTIVATED"] == [2, 1]

    # What the crash left is swept, but not before its time; what serves stays.
    assert fresh_registry.sweep_orphans() == []
    swept = fresh_registry.sweep_orphans(older_than=timedelta(0))
    assert bool(swept) == (point in list(POINTS)[:3])
    report = fresh_registry.verify()
    assert (report.ok, report.checked, report.orphaned) == (True, 2, ())


def test_the_points_are_those_of_the_program() -> None:
    assert tuple(POINTS) == crashing.POINTS


def test_two_processes_racing_for_a_name(
    fresh_registry: ModelRegistry, database_url: str, tmp_path: Path
) -> None:
    each = 15
    racers = [start(racing.race, database_url, str(tmp_path), str(i), each) for i in range(2)]
    while not all((tmp_path / f"ready-{i}").exists() for i in range(2)):
        assert all(racer.is_alive() for racer in racers)
    (tmp_path / "go").touch()
    assert [finish(racer) for racer in racers] == [0, 0]

    found = fresh_registry.list(limit=100)
    assert sorted(one.version for one in found) == list(range(1, 2 * each + 1))
    assert sum(one.status is ModelStatus.ACTIVE for one in found) == 1
    assert {one.status for one in found} == {ModelStatus.ACTIVE, ModelStatus.ARCHIVED}
    # Each activation is on record, and each knew which version it replaced.
    switches = [event for event in reversed(fresh_registry.events(limit=1000)) if event.event == "ACTIVATED"]
    assert len(switches) == 2 * each
    before = [None, *(event.version for event in switches[:-1])]
    assert [event.previous_version for event in switches] == before
    # Both took part while the other did.
    makers = [
        one.run_id.partition("/")[0] for one in sorted(found, key=lambda one: one.version) if one.run_id
    ]
    assert len({tuple(makers[:each]), tuple(makers[each:])}) == 2 or len(set(makers[:each])) == 2
    assert fresh_registry.verify().ok
