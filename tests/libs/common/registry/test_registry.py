"""The registry: versions count up, one is active, every step is on record."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import (
    ArtifactCorrupt,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import Candidate, ModelEventType, ModelStatus
from adsml_common.registry.registry import ModelRegistry
from support.models import NAME, activated, candidate, value_of

WHO = {"actor": "ada", "reason": "because"}


def _flip(tmp_path: Path, key: str) -> None:
    path = tmp_path / "artifacts" / key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_what_is_registered_comes_back(registry: ModelRegistry) -> None:
    made = registry.register(
        Candidate(
            "prophet/1/campaign/7/cpl",
            "prophet_parameters",
            1,
            {"p.json": b"{}"},
            entity_type=EntityType.CAMPAIGN,
            entity_id="7",
            parameters={"changepoint_prior_scale": 0.05},
            feature_columns=("ds", "y"),
            training_metrics={"mape": 0.1, "coverage": float("nan")},
            samples_count=90,
            window_start=date(2024, 1, 1),
            window_end=date(2024, 3, 30),
            run_id="run-1",
        )
    )
    assert registry.get(made.name, 1) == made
    assert made.status is ModelStatus.READY
    assert made.entity_type is EntityType.CAMPAIGN
    assert made.training_metrics == {"mape": 0.1, "coverage": None}
    assert (made.window_start, made.window_end) == (date(2024, 1, 1), date(2024, 3, 30))
    assert made.feature_columns == ("ds", "y")
    assert {"numpy", "python"} <= made.library_versions.keys()
    bundle = registry.read(made)
    assert bundle.files == {"p.json": b"{}"}
    assert bundle.manifest.feature_columns == made.feature_columns
    assert bundle.manifest.library_versions == made.library_versions
    assert registry.active(made.name) is None


def test_versions_count_up_by_name(registry: ModelRegistry) -> None:
    assert [registry.register(candidate(i)).version for i in range(3)] == [1, 2, 3]
    assert registry.register(candidate(name="classifier/2/adset")).version == 1


def test_a_run_registers_a_name_once(registry: ModelRegistry, artifact_store: ArtifactStore) -> None:
    first = registry.register(candidate(1, run_id="run-1"))
    assert registry.register(candidate(2, run_id="run-1")) == first
    assert registry.register(candidate(3, run_id="run-2")).version == 2
    assert len(artifact_store.keys()) == 2


def test_a_bad_candidate_leaves_nothing(registry: ModelRegistry, artifact_store: ArtifactStore) -> None:
    with pytest.raises(InvalidInput):
        registry.register(candidate(name="Not A Name"))
    with pytest.raises(TypeError):
        registry.register(candidate(parameters={"a": object()}))
    with pytest.raises(ValueError, match="pickle"):
        registry.register(replace(candidate(), files={"m.pkl": b""}))
    assert artifact_store.entries() == []
    assert registry.list() == []


def test_one_is_active_and_the_one_before_is_archived(registry: ModelRegistry) -> None:
    activated(registry, 1)
    second = activated(registry, 2)
    assert registry.active(NAME) == second
    assert [(m.version, m.status) for m in registry.list(name=NAME)] == [
        (2, ModelStatus.ACTIVE),
        (1, ModelStatus.ARCHIVED),
    ]


def test_the_database_itself_refuses_a_second_active_one(registry: ModelRegistry, database: Database) -> None:
    activated(registry, 1)
    registry.register(candidate(2))
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.text("UPDATE ml_trained_models SET status = 'ACTIVE'"))


def test_activating_the_active_one_changes_nothing(registry: ModelRegistry) -> None:
    first = activated(registry, 1)
    events = registry.events(NAME)
    assert registry.activate(NAME, 1, **WHO) == first
    assert registry.events(NAME) == events


def test_active_of_many(registry: ModelRegistry) -> None:
    names = [f"anomaly/1/ad/{i}" for i in range(5)]
    for i, name in enumerate(names[:4]):
        activated(registry, i, name=name)
    registry.register(candidate(name=names[4]))
    found = registry.active_of([*names, "anomaly/1/ad/nobody"])
    assert sorted(found) == names[:4]
    assert registry.active_of([]) == {}


def test_every_step_is_on_record(registry: ModelRegistry) -> None:
    for value in (1, 2):
        registry.register(candidate(value, run_id=f"run-{value}"))
    registry.activate(NAME, 1, actor="ada", reason="first one")
    registry.activate(NAME, 2, actor="bob", reason="better")
    registry.rollback(NAME, actor="cy", reason="worse after all")
    registry.reject(NAME, 2, actor="gate", reason="F1 0.4 < 0.6")
    told = [(e.event, e.version, e.previous_version, e.actor, e.reason) for e in registry.events(NAME)]
    assert told == [
        (ModelEventType.REJECTED, 2, None, "gate", "F1 0.4 < 0.6"),
        (ModelEventType.ROLLED_BACK, 1, 2, "cy", "worse after all"),
        (ModelEventType.ACTIVATED, 2, 1, "bob", "better"),
        (ModelEventType.ACTIVATED, 1, None, "ada", "first one"),
        (ModelEventType.REGISTERED, 2, None, "training", "run run-2"),
        (ModelEventType.REGISTERED, 1, None, "training", "run run-1"),
    ]


def test_events_by_page_and_prefix(registry: ModelRegistry) -> None:
    activated(registry, 1)
    activated(registry, 1, name="anomaly/1/ad/1")
    every = registry.events()
    assert registry.events(limit=2) == every[:2]
    assert registry.events(limit=2, before=every[1].key) == every[2:]
    assert {event.name for event in registry.events(name_prefix="anomaly/")} == {"anomaly/1/ad/1"}


def test_rolling_back_twice_goes_back_two_versions(registry: ModelRegistry) -> None:
    for value in (1, 2, 3):
        activated(registry, value)
    assert registry.rollback(NAME, **WHO).version == 2
    assert registry.rollback(NAME, **WHO).version == 1
    with pytest.raises(FailedPrecondition, match="no earlier version"):
        registry.rollback(NAME, **WHO)
    assert registry.require_active(NAME).version == 1


def test_rollback_after_a_new_start_forgets_what_was_undone(registry: ModelRegistry) -> None:
    for value in (1, 2):
        activated(registry, value)
    registry.rollback(NAME, **WHO)
    activated(registry, 3)
    assert registry.rollback(NAME, **WHO).version == 1


def test_rollback_after_an_earlier_one_was_activated_by_hand(registry: ModelRegistry) -> None:
    for value in (1, 2, 3):
        activated(registry, value)
    registry.activate(NAME, 1, **WHO)
    assert registry.rollback(NAME, **WHO).version == 3
    assert registry.rollback(NAME, **WHO).version == 2


def test_rollback_to_a_version_by_number(registry: ModelRegistry) -> None:
    for value in (1, 2, 3):
        activated(registry, value)
    registry.register(candidate(4))
    with pytest.raises(FailedPrecondition, match="no version 4 that was active before"):
        registry.rollback(NAME, version=4, **WHO)
    assert registry.rollback(NAME, version=1, **WHO).version == 1


def test_rollback_passes_over_what_was_found_unusable(registry: ModelRegistry) -> None:
    for value in (1, 2, 3):
        activated(registry, value)
    registry.fail(NAME, 2, **WHO)
    assert registry.rollback(NAME, **WHO).version == 1


def test_rollback_of_nothing(registry: ModelRegistry) -> None:
    with pytest.raises(NotFound):
        registry.rollback(NAME, **WHO)


def test_a_rejected_one_stays_ready_with_the_reason(registry: ModelRegistry) -> None:
    registry.register(candidate(1, training_metrics={"f1": 0.4}))
    for _ in range(2):
        registry.reject(NAME, 1, actor="gate", reason="F1 0.4 < 0.6")
    found = registry.get(NAME, 1)
    assert found.status is ModelStatus.READY
    assert found.training_metrics == {
        "f1": 0.4,
        "gate": {"decision": "rejected", "reason": "F1 0.4 < 0.6"},
    }
    assert [event.event for event in registry.events(NAME)].count(ModelEventType.REJECTED) == 1


def test_a_retired_one_leaves_nobody_serving_until_one_is_activated_again(registry: ModelRegistry) -> None:
    activated(registry, 1)
    registry.register(candidate(2))
    for _ in range(2):
        registry.retire(NAME, 1, actor="gate", reason="no longer better")
    registry.retire(NAME, 2, actor="gate", reason="does not serve")
    assert registry.active(NAME) is None
    assert [registry.get(NAME, one).status for one in (1, 2)] == [ModelStatus.ARCHIVED, ModelStatus.READY]
    event = registry.events(NAME)[0]
    assert (event.event, event.version, event.previous_version) == (ModelEventType.RETIRED, 1, 1)
    assert registry.activate(NAME, 1, **WHO).status is ModelStatus.ACTIVE


def test_the_active_one_can_not_be_rejected_or_failed(registry: ModelRegistry) -> None:
    activated(registry, 1)
    with pytest.raises(FailedPrecondition, match="is active"):
        registry.reject(NAME, 1, **WHO)
    with pytest.raises(FailedPrecondition, match="is active"):
        registry.fail(NAME, 1, **WHO)


def test_an_unusable_one_is_never_activated(registry: ModelRegistry) -> None:
    registry.register(candidate(1))
    registry.fail(NAME, 1, **WHO)
    with pytest.raises(FailedPrecondition, match="unusable"):
        registry.activate(NAME, 1, **WHO)


def test_a_damaged_one_is_never_activated(registry: ModelRegistry, tmp_path: Path) -> None:
    first = activated(registry, 1)
    second = registry.register(candidate(2))
    registry.read(second)
    _flip(tmp_path, second.artifact_uri)
    # Though the disk cache of this process has a good copy.
    with pytest.raises(ArtifactCorrupt, match="version 2 can't be activated"):
        registry.activate(NAME, 2, **WHO)
    assert registry.active(NAME) == first


def test_unknown_versions(registry: ModelRegistry) -> None:
    for call in (
        lambda: registry.get(NAME, 1),
        lambda: registry.activate(NAME, 1, **WHO),
        lambda: registry.reject(NAME, 1, **WHO),
        lambda: registry.fail(NAME, 1, **WHO),
        lambda: registry.require_active(NAME),
    ):
        with pytest.raises(NotFound):
            call()


def test_nobody_acts_without_a_name_and_a_reason(registry: ModelRegistry) -> None:
    registry.register(candidate(1))
    with pytest.raises(InvalidInput) as error:
        registry.activate(NAME, 1, actor=" ", reason="")
    assert [violation.path for violation in error.value.violations] == ["actor", "reason"]


def test_list_filters(registry: ModelRegistry) -> None:
    registry.register(candidate(1, entity_type=EntityType.ADSET))
    registry.register(candidate(2, run_id="run-1"))
    activated(registry, 3, name="anomaly/1/ad/1")
    registry.register(
        Candidate("anomaly/2/ad/1", "forest", 2, {"a": b""}, entity_type=EntityType.AD, entity_id="1")
    )

    def names(**filters: object) -> list[str]:
        return [str(found) for found in registry.list(**filters)]  # type: ignore[arg-type]

    first, second, third, fourth = (
        f"{NAME} version 1",
        f"{NAME} version 2",
        "anomaly/1/ad/1 version 1",
        "anomaly/2/ad/1 version 1",
    )
    assert names() == [fourth, third, second, first]
    assert names(name=NAME) == [second, first]
    assert names(name_prefix="anomaly/") == [fourth, third]
    assert names(name_prefix="anomaly/1/") == [third]
    assert names(config_id=2) == [fourth]
    assert names(model_type="forest") == [fourth]
    assert names(entity_type=EntityType.AD) == [fourth]
    assert names(entity_type=EntityType.AD, entity_id="1") == [fourth]
    assert names(status=ModelStatus.ACTIVE) == [third]
    assert names(run_id="run-1") == [second]
    assert names(run_id="run-1", config_id=2) == []


def test_list_and_iterate_by_page(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsml_common.registry.queries.PAGE", 3)
    for i in range(4):
        registry.register(candidate(i))
        registry.register(candidate(i, name="anomaly/1/ad/1"))
    pages = [registry.list(limit=3)]
    while pages[-1]:
        pages.append(registry.list(limit=3, before=(pages[-1][-1].name, pages[-1][-1].version)))
    assert [len(page) for page in pages] == [3, 3, 2, 0]
    assert sum(pages, []) == registry.list()  # noqa: RUF017
    assert [str(found) for found in registry.iterate()] == [
        f"{name} version {version}" for name in ("anomaly/1/ad/1", NAME) for version in range(1, 5)
    ]
    assert len(list(registry.iterate(name_prefix="anomaly/"))) == 4
    assert list(registry.iterate(status=ModelStatus.ACTIVE)) == []


def test_verify_and_sweep(registry: ModelRegistry, artifact_store: ArtifactStore, tmp_path: Path) -> None:
    made = [registry.register(candidate(i)) for i in range(5)]
    assert registry.verify().ok
    artifact_store.delete(made[0].artifact_uri)
    _flip(tmp_path, made[1].artifact_uri)
    artifact_store.delete(made[2].artifact_uri)
    registry.fail(NAME, 3, **WHO)
    artifact_store.put("classifier/1/adset/lost.zip", b"left by a crash")
    (tmp_path / "artifacts" / ".tmp-half").write_bytes(b"left by a worse one")
    report = registry.verify()
    assert not report.ok
    assert report.checked == 4
    assert report.missing == (made[0],)
    assert report.corrupt == (made[1],)
    assert report.orphaned == ("classifier/1/adset/lost.zip",)
    assert registry.sweep_orphans() == []
    assert registry.sweep_orphans(older_than=timedelta(0)) == [".tmp-half", "classifier/1/adset/lost.zip"]
    assert registry.verify().orphaned == ()
    assert value_of(made[4], registry.read(made[4])) == 4
    with pytest.raises(ValueError, match="negative"):
        registry.sweep_orphans(older_than=timedelta(-1))


def test_a_store_that_is_away_leaves_no_row(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way of the folder")
    with pytest.raises(Unavailable):
        registry.register(candidate(1, run_id="run-1"))
    assert registry.list() == []
    (tmp_path / "artifacts").unlink()
    assert registry.register(candidate(1, run_id="run-1")).version == 1
