"""The loader: from memory when it can, from further away when it must, and honest about it."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.domain.degradation import DegradationReason, Dependency
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.registry.models import ModelVersion
from adsml_common.registry.registry import ModelRegistry
from support.models import NAME, activated, candidate, value_of
from support.proxy import Cable

POLL = 30.0
WHO = {"actor": "ada", "reason": "because"}


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loader(registry: ModelRegistry, clock: Clock) -> ModelLoader[int]:
    return ModelLoader(registry, value_of, poll_seconds=POLL, capacity=3, clock=clock)


@pytest.fixture
def cable(database_url: str) -> Iterator[Cable]:
    with Cable(database_url) as laid:
        yield laid


def _given(loaded: Loaded[int] | None) -> tuple[int, int, list[DegradationReason]]:
    assert loaded is not None
    return loaded.model, loaded.version.version, [one.reason for one in loaded.degradations]


def _flip(tmp_path: Path, version: ModelVersion) -> None:
    path = tmp_path / "artifacts" / version.artifact_uri
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_the_active_version_is_given(registry: ModelRegistry, loader: ModelLoader[int]) -> None:
    activated(registry, 7)
    registry.register(candidate(8))
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_from_memory_without_a_look_at_any_store(
    registry: ModelRegistry, loader: ModelLoader[int], database: Database, tmp_path: Path
) -> None:
    import sqlalchemy as sa

    activated(registry, 7)
    loader.get(NAME)
    asked: list[object] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args))
    for _ in range(5):
        assert _given(loader.get(NAME)) == (7, 1, [])
    assert asked == []
    assert loader.stats()["hits"] == 5


def test_no_such_model_is_none_and_remembered_for_a_while(
    registry: ModelRegistry, loader: ModelLoader[int], clock: Clock
) -> None:
    assert loader.get(NAME) is None
    activated(registry, 7)
    assert loader.get(NAME) is None
    clock.now += POLL
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_refresh_finds_models_that_were_not_there(registry: ModelRegistry, loader: ModelLoader[int]) -> None:
    assert loader.get(NAME) is None
    activated(registry, 7)
    loader.refresh()
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_many_are_looked_up_at_once_and_again_when_it_is_time(
    registry: ModelRegistry, loader: ModelLoader[int], database: Database, clock: Clock
) -> None:
    import sqlalchemy as sa

    activated(registry, 7)
    asked: list[object] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    names = [NAME, *(f"anomaly/1/ad/{number}" for number in range(50))]
    loader.prefetch(names)
    loader.prefetch(names)
    assert sum("ml_trained_models" in str(one) for one in asked) == 1
    assert _given(loader.get(NAME)) == (7, 1, [])
    assert loader.get(names[1]) is None
    activated(registry, 8)
    clock.now += POLL
    asked.clear()
    loader.prefetch(names)
    assert _given(loader.get(NAME)) == (8, 2, [])
    assert loader.get(names[1]) is None
    assert sum("ml_trained_models" in str(one) for one in asked) == 1


def test_a_new_version_is_swapped_in_at_the_next_poll(
    registry: ModelRegistry, loader: ModelLoader[int], clock: Clock
) -> None:
    activated(registry, 7)
    loader.get(NAME)
    activated(registry, 8)
    assert _given(loader.get(NAME)) == (7, 1, [])
    clock.now += POLL
    assert _given(loader.get(NAME)) == (8, 2, [])
    assert loader.stats()["swaps"] == 1


def test_refresh_swaps_and_a_rollback_is_followed(registry: ModelRegistry, loader: ModelLoader[int]) -> None:
    activated(registry, 7)
    loader.get(NAME)
    activated(registry, 8)
    loader.refresh()
    assert _given(loader.get(NAME)) == (8, 2, [])
    registry.rollback(NAME, **WHO)
    loader.refresh()
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_the_old_version_serves_until_the_new_one_is_ready(registry: ModelRegistry) -> None:
    slow, go_on = threading.Event(), threading.Event()

    def parse(version: ModelVersion, bundle: Bundle) -> int:
        if version.version == 2:
            slow.set()
            assert go_on.wait(30)
        return value_of(version, bundle)

    loader = ModelLoader(registry, parse, poll_seconds=POLL, capacity=3)
    activated(registry, 7)
    loader.get(NAME)
    activated(registry, 8)
    refreshing = threading.Thread(target=loader.refresh)
    refreshing.start()
    assert slow.wait(30)
    assert _given(loader.get(NAME)) == (7, 1, [])
    go_on.set()
    refreshing.join()
    assert _given(loader.get(NAME)) == (8, 2, [])


def test_many_callers_load_once(registry: ModelRegistry) -> None:
    activated(registry, 7)
    together = threading.Barrier(8)
    parsed: list[int] = []

    def parse(version: ModelVersion, bundle: Bundle) -> int:
        parsed.append(1)
        return value_of(version, bundle)

    loader = ModelLoader(registry, parse, poll_seconds=POLL, capacity=3)
    given: list[tuple[int, int, list[DegradationReason]]] = []

    def ask() -> None:
        together.wait()
        given.append(_given(loader.get(NAME)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == [(7, 1, [])] * 8
    assert len(parsed) == 1


def test_the_one_unused_for_longest_makes_room(registry: ModelRegistry, loader: ModelLoader[int]) -> None:
    names = [f"anomaly/1/ad/{i}" for i in range(4)]
    for i, name in enumerate(names):
        activated(registry, i, name=name)
    for name in (*names[:3], names[0], names[3]):
        loader.get(name)
    assert [loaded.version.name for loaded in loader.in_memory()] == [names[2], names[0], names[3]]
    assert loader.stats()["evictions"] == 1
    assert _given(loader.get(names[1]))[0] == 1


def test_names_without_a_model_do_not_push_models_out(
    registry: ModelRegistry, loader: ModelLoader[int]
) -> None:
    activated(registry, 7)
    loader.get(NAME)
    for i in range(50):
        assert loader.get(f"anomaly/1/ad/{i}") is None
    assert [loaded.version.name for loaded in loader.in_memory()] == [NAME]


def test_a_flipped_byte_is_refused_and_the_previous_version_serves(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    activated(registry, 7)
    _flip(tmp_path, activated(registry, 8))
    loaded = loader.get(NAME)
    assert _given(loaded) == (7, 1, [DegradationReason.CORRUPT])
    assert loaded is not None
    told = loaded.degradations[0]
    assert (told.dependency, told.name) == (Dependency.MODEL, f"{NAME} version 2")
    assert "does not match its checksum" in told.detail
    assert f"{NAME} version 1 was used instead" in told.detail
    assert loader.stats()["fallbacks"] == 1


def test_a_damaged_model_keeps_no_service_from_starting(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    _flip(tmp_path, activated(registry, 7, name="anomaly/1"))
    activated(registry, 8)
    loader.prefetch(["anomaly/1", NAME])
    assert [one.version.name for one in loader.in_memory()] == [NAME]
    with pytest.raises(ArtifactCorrupt):
        loader.get("anomaly/1")


def test_a_new_version_that_is_damaged_leaves_the_old_one_in_memory(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path, clock: Clock
) -> None:
    activated(registry, 7)
    loader.get(NAME)
    broken = activated(registry, 8)
    path = tmp_path / "artifacts" / broken.artifact_uri
    whole = path.read_bytes()
    _flip(tmp_path, broken)
    for step in (loader.refresh, lambda: setattr(clock, "now", clock.now + POLL)):
        step()
        assert _given(loader.get(NAME)) == (7, 1, [DegradationReason.CORRUPT])
    # Restored from a backup, it is taken at the next poll.
    path.write_bytes(whole)
    loader.refresh()
    assert _given(loader.get(NAME)) == (8, 2, [])


def test_a_version_that_does_not_parse_is_as_a_damaged_one(
    registry: ModelRegistry, loader: ModelLoader[int]
) -> None:
    activated(registry, 7)
    activated(registry, -1)
    assert _given(loader.get(NAME)) == (7, 1, [DegradationReason.CORRUPT])


def test_whatever_a_parser_raises_is_as_damage(registry: ModelRegistry) -> None:
    def parse(version: ModelVersion, bundle: Bundle) -> int:
        raise ZeroDivisionError("not even a proper error")

    activated(registry, 7)
    loader = ModelLoader(registry, parse, poll_seconds=POLL, capacity=3)
    with pytest.raises(ArtifactCorrupt, match="ZeroDivisionError") as error:
        loader.get(NAME)
    assert "not even" not in error.value.message


def test_several_damaged_ones_in_a_row(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    activated(registry, 6)
    for value in (7, 8):
        _flip(tmp_path, activated(registry, value))
    assert _given(loader.get(NAME)) == (6, 1, [DegradationReason.CORRUPT])


def test_a_version_that_was_rolled_back_from_is_no_fallback(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    activated(registry, 6)
    bad = activated(registry, 7)
    registry.rollback(NAME, actor="ada", reason="it was bad")
    _flip(tmp_path, activated(registry, 8))
    loaded = loader.get(NAME)
    assert loaded is not None
    assert loaded.version.version == 1 != bad.version


def test_a_version_that_was_rolled_back_from_does_not_stay_because_the_other_is_damaged(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    activated(registry, 6)
    damaged = activated(registry, 7)
    activated(registry, 8)
    assert _given(loader.get(NAME)) == (8, 3, [])
    registry.rollback(NAME, actor="ada", reason="it was bad")
    _flip(tmp_path, damaged)
    loader.refresh()
    assert _given(loader.get(NAME)) == (6, 1, [DegradationReason.CORRUPT])


def test_nothing_good_is_corrupt_and_asked_again_at_the_next_poll_only(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path, clock: Clock
) -> None:
    only = activated(registry, 7)
    path = tmp_path / "artifacts" / only.artifact_uri
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(ArtifactCorrupt, match="is missing from the store"):
        loader.get(NAME)
    path.write_bytes(whole)
    with pytest.raises(ArtifactCorrupt):
        loader.get(NAME)
    clock.now += POLL
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_a_damaged_copy_in_the_disk_cache_heals(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    registry.read(activated(registry, 7))
    with closing(sqlite3.connect(tmp_path / "cache" / "artifacts.db", isolation_level=None)) as cache:
        assert cache.execute("UPDATE cache SET value = ?", (b"damaged",)).rowcount == 1
    assert _given(loader.get(NAME)) == (7, 1, [])


def test_artifacts_away_leave_the_old_version_serving(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path, clock: Clock
) -> None:
    activated(registry, 7)
    loader.get(NAME)
    activated(registry, 8)
    folder = tmp_path / "artifacts"
    folder.rename(tmp_path / "unmounted")
    clock.now += POLL
    assert _given(loader.get(NAME)) == (7, 1, [DegradationReason.UNAVAILABLE])
    (tmp_path / "unmounted").rename(folder)
    clock.now += POLL
    assert _given(loader.get(NAME)) == (8, 2, [])


def test_artifacts_away_and_nothing_in_memory_is_unavailable(
    registry: ModelRegistry, loader: ModelLoader[int], tmp_path: Path
) -> None:
    activated(registry, 7)
    (tmp_path / "artifacts").rename(tmp_path / "unmounted")
    with pytest.raises(Unavailable):
        loader.get(NAME)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
class TestDatabaseAway:
    """Over a cable that is cut: the server is there, we can't reach it."""

    @pytest.fixture
    def loader(self, cable: Cable, artifact_store: ArtifactStore, clock: Clock) -> Iterator[ModelLoader[int]]:
        database = Database.open(cable.url)
        registry = ModelRegistry(database, artifact_store)
        yield ModelLoader(registry, value_of, poll_seconds=POLL, capacity=3, clock=clock)
        database.close()

    def test_what_is_in_memory_serves_and_says_so(
        self, registry: ModelRegistry, loader: ModelLoader[int], cable: Cable, clock: Clock
    ) -> None:
        activated(registry, 7)
        loader.get(NAME)
        cable.cut()
        assert _given(loader.get(NAME)) == (7, 1, [])
        clock.now += POLL
        for _ in range(3):
            assert _given(loader.get(NAME)) == (7, 1, [DegradationReason.STALE])
            loader.refresh()
        activated(registry, 8)
        cable.mend()
        clock.now += POLL
        assert _given(loader.get(NAME)) == (8, 2, [])

    def test_refresh_marks_and_clears(
        self, registry: ModelRegistry, loader: ModelLoader[int], cable: Cable
    ) -> None:
        activated(registry, 7)
        loader.get(NAME)
        cable.cut()
        loader.refresh()
        assert _given(loader.get(NAME)) == (7, 1, [DegradationReason.STALE])
        cable.mend()
        loader.refresh()
        assert _given(loader.get(NAME)) == (7, 1, [])

    def test_nothing_known_is_unavailable_and_not_asked_for_at_once_again(
        self, registry: ModelRegistry, loader: ModelLoader[int], cable: Cable, clock: Clock
    ) -> None:
        activated(registry, 7)
        cable.cut()
        with pytest.raises(Unavailable):
            loader.get(NAME)
        cable.mend()
        with pytest.raises(Unavailable):
            loader.get(NAME)
        clock.now += 5
        assert _given(loader.get(NAME)) == (7, 1, [])

    def test_a_restart_meanwhile_serves_what_was_last_known(
        self,
        registry: ModelRegistry,
        loader: ModelLoader[int],
        cable: Cable,
        artifact_store: ArtifactStore,
        clock: Clock,
    ) -> None:
        activated(registry, 7)
        loader.get(NAME)
        cable.cut()
        restarted = ModelLoader(
            ModelRegistry(Database.open(cable.url), artifact_store),
            value_of,
            poll_seconds=POLL,
            capacity=3,
            clock=clock,
        )
        assert _given(restarted.get(NAME)) == (7, 1, [DegradationReason.STALE])
        with pytest.raises(Unavailable):
            restarted.get("classifier/2/adset")
        cable.mend()
        clock.now += POLL
        assert _given(restarted.get(NAME)) == (7, 1, [])

    def test_a_note_that_is_damaged_is_no_note(
        self, registry: ModelRegistry, loader: ModelLoader[int], cable: Cable, artifact_store: ArtifactStore
    ) -> None:
        activated(registry, 7)
        loader.get(NAME)
        with closing(sqlite3.connect(artifact_store.cache_dir / "active.db", isolation_level=None)) as notes:
            assert notes.execute("UPDATE cache SET value = ?", (b'{"name": ',)).rowcount == 1
        cable.cut()
        restarted = ModelLoader(
            ModelRegistry(Database.open(cable.url), artifact_store), value_of, poll_seconds=POLL, capacity=3
        )
        with pytest.raises(Unavailable):
            restarted.get(NAME)


def test_in_the_background(registry: ModelRegistry) -> None:
    seen = threading.Event()

    def parse(version: ModelVersion, bundle: Bundle) -> int:
        if version.version == 2:
            seen.set()
        return value_of(version, bundle)

    loader = ModelLoader(registry, parse, poll_seconds=0.01, capacity=3)
    activated(registry, 7)
    loader.get(NAME)
    loader.start()
    loader.start()
    activated(registry, 8)
    assert seen.wait(30)
    loader.close()
    loader.close()
    assert _given(loader.get(NAME)) == (8, 2, [])


def test_callers_do_not_wait_for_the_registry_while_the_background_asks_it(
    registry: ModelRegistry, clock: Clock
) -> None:
    loader = ModelLoader(registry, value_of, poll_seconds=3600, capacity=3, clock=clock)
    activated(registry, 7)
    loader.start()
    loader.get(NAME)
    activated(registry, 8)
    clock.now += 3600
    assert _given(loader.get(NAME)) == (7, 1, [])
    # But a background that has been stuck for three polls is not trusted any more.
    clock.now += 2 * 3600
    assert _given(loader.get(NAME)) == (8, 2, [])
    loader.close()


@pytest.mark.parametrize(("poll_seconds", "capacity"), [(0, 3), (1, 0)])
def test_impossible_settings_are_refused(registry: ModelRegistry, poll_seconds: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        ModelLoader(registry, value_of, poll_seconds=poll_seconds, capacity=capacity)
