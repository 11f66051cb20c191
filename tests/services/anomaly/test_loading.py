"""Where a model comes from: memory, disk cache, registry, artifact store; and each fall, survived and said."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from adsml_anomaly.account import AccountReader
from adsml_anomaly.artifacts import entity_model, parse
from adsml_anomaly.assessor import Assessment, Assessor
from adsml_anomaly.decoding import Asked
from adsml_anomaly.histories import series
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.resolver import ScorerResolver
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.domain.degradation import DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import AdsmlError
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import Candidate, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_simulate import SimulatedAccount


class Shop:
    """Database, artifacts and, per machine, a disk cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(f"sqlite:///{folder / 'adsml.db'}")
        self.now = 0.0

    def registry(self, machine: str = "server") -> ModelRegistry:
        artifacts = ArtifactStore(str(self.folder / "artifacts"), cache_dir=self.folder / machine)
        return ModelRegistry(self.database, artifacts)

    def assessor(self, machine: str = "server") -> Assessor:
        """A process just started on that machine."""
        loader: ModelLoader[SeriesModel] = ModelLoader(
            self.registry(machine), parse, poll_seconds=30, capacity=100, clock=lambda: self.now
        )
        settings = AnomalySettings()
        resolver = ScorerResolver(self.database, loader, history_days=settings.history_days)
        return Assessor(AccountReader(self.database, settings), resolver, settings)

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def shop(trained_folder: Path, tmp_path: Path) -> Iterator[Shop]:
    """A copy of the trained account, to be damaged."""
    folder = tmp_path / "shop"
    shutil.copytree(trained_folder, folder)
    opened = Shop(folder)
    yield opened
    opened.close()


@pytest.fixture
def ref(account: SimulatedAccount) -> EntityRef:
    return next(one.ref for one in account.entities if one.ref.entity_type is EntityType.ADSET)


def ask(assessor: Assessor, ref: EntityRef) -> Assessment:
    answer = assessor.stored(1, [ref], Asked())[1][ref]
    assert not isinstance(answer, AdsmlError), answer
    return answer


def said(answer: Assessment) -> list[tuple[str, DegradationReason]]:
    return [(one.name, one.reason) for one in answer.provenance.degradations]


def artifact(shop: Shop, version: ModelVersion) -> Path:
    return shop.folder / "artifacts" / version.artifact_uri


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def test_from_the_artifact_store_then_from_the_disk_cache_then_from_memory(
    shop: Shop, ref: EntityRef
) -> None:
    first = ask(shop.assessor(), ref)
    assert first.provenance.version is not None
    assert (first.provenance.version.name, first.provenance.degradations) == (entity_model(ref), ())
    # The artifact store is gone; another process on the same machine still has its cache.
    (shop.folder / "artifacts").rename(shop.folder / "elsewhere")
    running = shop.assessor()
    assert ask(running, ref) == first
    # The cache is gone, too; the running process has the model in memory.
    shutil.rmtree(shop.folder / "server")
    assert ask(running, ref) == first


def test_nothing_reachable_is_said_and_the_account_s_rows_judge(shop: Shop, ref: EntityRef) -> None:
    (shop.folder / "artifacts").rename(shop.folder / "elsewhere")
    answer = ask(shop.assessor("new-machine"), ref)
    assert answer.provenance.version is None
    assert answer.provenance.pooled
    assert {reason for _, reason in said(answer)} == {DegradationReason.UNAVAILABLE}
    assert said(answer)[0][0] == entity_model(ref)
    assert answer.report.days[0].p_value is not None


def test_no_model_of_its_own_falls_to_the_level_s_profile(shop: Shop, ref: EntityRef) -> None:
    registry = shop.registry()
    with shop.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE ml_trained_models SET status = 'ARCHIVED' WHERE name = ?", (entity_model(ref),)
        )
    assert registry.active(entity_model(ref)) is None
    answer = ask(shop.assessor(), ref)
    assert answer.provenance.version is not None
    assert answer.provenance.version.name == "anomaly/1/adset"
    assert answer.provenance.pooled
    assert said(answer) == [(entity_model(ref), DegradationReason.NO_MODEL)]
    assert entity_model(ref) in answer.provenance.reason


def test_a_damaged_artifact_falls_to_the_version_before(shop: Shop, ref: EntityRef) -> None:
    registry = shop.registry("trainer")
    first = registry.get(entity_model(ref), 1)
    second = again(registry, first, lambda files: files | {"forest.bin": turned(files)})
    registry.activate(second.name, second.version, actor="test", reason="newer")
    spoil(artifact(shop, second))
    answer = ask(shop.assessor("new-machine"), ref)
    assert answer.provenance.version == registry.get(entity_model(ref), 1)
    assert said(answer) == [(f"{second.name} version 2", DegradationReason.CORRUPT)]
    assert f"{second.name} version 1 was used instead" in answer.provenance.degradations[0].detail


@pytest.mark.parametrize("damage", [spoil, Path.unlink], ids=["damaged", "missing"])
def test_without_a_version_before_it_falls_to_the_profile(
    shop: Shop, ref: EntityRef, damage: Callable[[Path], None]
) -> None:
    damage(artifact(shop, shop.registry().get(entity_model(ref), 1)))
    answer = ask(shop.assessor("new-machine"), ref)
    assert answer.provenance.version is not None
    assert answer.provenance.version.name == "anomaly/1/adset"
    assert said(answer) == [(entity_model(ref), DegradationReason.CORRUPT)]


def test_a_damaged_copy_in_the_disk_cache_is_fetched_anew(shop: Shop, ref: EntityRef) -> None:
    first = ask(shop.assessor(), ref)
    assert first.provenance.version is not None
    with closing(sqlite3.connect(shop.folder / "server" / "artifacts.db", isolation_level=None)) as cache:
        damage = "UPDATE cache SET value = ? WHERE key = ?"
        assert cache.execute(damage, (b"damaged", first.provenance.version.sha256)).rowcount == 1
    assert ask(shop.assessor(), ref) == first


def test_a_model_of_other_features_is_not_used(shop: Shop, ref: EntityRef) -> None:
    registry = shop.registry("trainer")

    def other(files: dict[str, bytes]) -> dict[str, bytes]:
        facts = json.loads(files["model.json"])
        facts["features"] = [*facts["features"][:-1], "reach"]
        return files | {"model.json": json.dumps(facts).encode()}

    second = again(registry, registry.get(entity_model(ref), 1), other)
    registry.activate(second.name, second.version, actor="test", reason="newer")
    answer = ask(shop.assessor("new-machine"), ref)
    assert answer.provenance.version == registry.get(entity_model(ref), 1)
    [told] = answer.provenance.degradations
    assert told.reason is DegradationReason.CORRUPT
    assert "features" in told.detail
    assert "retrain" in told.detail


def test_the_registry_gone_the_last_known_version_judges_rows_sent_and_says_so(
    shop: Shop, ref: EntityRef, account: SimulatedAccount
) -> None:
    days: Days = series(account.daily, 1)[ref]
    assessor = shop.assessor()
    assert not assessor.inline(ref, days, Asked(), what="series")[1].provenance.degradations
    shop.close()
    (shop.folder / "adsml.db").rename(shop.folder / "gone.db")
    (shop.folder / "adsml.db").mkdir()  # a database that can't be opened
    shop.now = 31.0
    in_memory = assessor.inline(ref, days, Asked(), what="series")[1]
    started_since = shop.assessor().inline(ref, days, Asked(), what="series")[1]
    for answer in (in_memory, started_since):
        assert answer.provenance.version is not None
        assert answer.provenance.version.name == entity_model(ref)
        # Judgements and changes could not be read either.
        assert [(one.dependency, one.reason) for one in answer.provenance.degradations] == [
            (Dependency.REGISTRY, DegradationReason.STALE),
            (Dependency.DATABASE, DegradationReason.UNAVAILABLE),
        ]


def again(
    registry: ModelRegistry, version: ModelVersion, change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> ModelVersion:
    """The next version of a model, with other files."""
    files = dict(registry.read(version).files)
    return registry.register(
        Candidate(
            name=version.name,
            model_type=version.model_type,
            config_id=version.config_id,
            entity_type=version.entity_type,
            entity_id=version.entity_id,
            files=change(files),
            parameters=version.parameters,
            feature_columns=version.feature_columns,
            training_metrics=version.training_metrics,
            samples_count=version.samples_count,
            window_start=version.window_start,
            window_end=version.window_end,
            run_id="second",
        )
    )


def turned(files: dict[str, bytes]) -> bytes:
    """The forest with another threshold in its first node: another artifact, as good."""
    facts = json.loads(files["model.json"])["forest"]
    data = bytearray(files["forest.bin"])
    at = 4 * facts["trees"] + facts["nodes"]
    data[at : at + 4] = np.float32(0.123).astype("<f4").tobytes()
    return bytes(data)
