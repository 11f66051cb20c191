"""A candidate that loses stays READY with its reason, and the active version goes on serving; likewise one that is
the first of its name leaves the defaults serving."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from adsml_common.database import Database
from adsml_common.domain.degradation import DegradationReason
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import Candidate, ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item
from adsml_forecasting import registered as models
from adsml_forecasting.registered import ResolvedModels, SeriesModels
from adsml_forecasting.training import jobs as training
from support.forecasting import WEEK, account

DAYS = 90
AT = np.arange(DAYS)
ITEM = Item("1/campaign/7/leads", 1, EntityType.CAMPAIGN, "7", {"metric": "leads", "attribution_lag_days": 0})


@dataclass
class Shop:
    """A store with one campaign, and the registry beside it."""

    store: MetricStore
    registry: ModelRegistry

    def holds(self, leads: npt.NDArray[np.int64]) -> None:
        """The campaign's leads, instead of those before."""
        self.store.upsert_daily(1, account({"7": DAYS}).assign(leads=leads), source="test")

    def train(self, family: str) -> ModelVersion:
        """The version that training leaves."""
        train_one = training.train_prophet if family == models.PROPHET else training.train_ensemble
        made = train_one(ITEM, store=self.store, registry=self.registry, run_id=None).model
        assert made is not None
        return self.registry.get(made.name, made.version)

    def serving(self) -> ResolvedModels:
        """What a service that starts now would answer by."""
        loader: ModelLoader[Any] = ModelLoader(self.registry, models.parse, poll_seconds=3600, capacity=10)
        return SeriesModels(loader).resolve(1, EntityRef(1, EntityType.CAMPAIGN, "7"), "leads")


@pytest.fixture
def shop(sqlite_template: Path, tmp_path: Path) -> Iterator[Shop]:
    path = tmp_path / "adsml.db"
    shutil.copy(sqlite_template, path)
    database = Database.open(f"sqlite:///{path}")
    artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")
    yield Shop(MetricStore(database), ModelRegistry(database, artifacts))
    database.close()


def counts(*, growth: float = 0.0) -> npt.NDArray[np.int64]:
    return np.random.default_rng(1).poisson(20 * WEEK[AT % 7] * np.exp(growth * AT))


def test_tuned_parameters_that_do_not_beat_the_defaults_never_serve(shop: Shop) -> None:
    # A level and a week: the defaults have that, and nothing is left to tune.
    shop.holds(counts())
    made = shop.train(models.PROPHET)
    assert made.status is ModelStatus.READY
    assert "is not 10% below the defaults'" in made.training_metrics["gate"]["reason"]
    assert shop.registry.active(made.name) is None
    known = shop.serving()
    assert (known.prophet, known.learned.tuned) == (None, None)


def test_parameters_in_use_stay_where_new_ones_lose(shop: Shop) -> None:
    # A season that grows with the level, which the defaults' additive one does not.
    shop.holds(counts(growth=0.02))
    first = shop.train(models.PROPHET)
    assert first.status is ModelStatus.ACTIVE, first.training_metrics["gate"]["reason"]
    assert first.parameters["seasonality_mode"] == "multiplicative"
    shop.holds(counts())
    second = shop.train(models.PROPHET)
    assert (second.version, second.status) == (2, ModelStatus.READY)
    known = shop.serving()
    assert known.prophet is not None
    assert known.prophet.version == 1
    assert known.learned.tuned.seasonality_mode == "multiplicative"


def test_weights_in_use_stay_where_new_ones_lose(shop: Shop) -> None:
    shop.holds(counts())
    first = shop.train(models.ENSEMBLE)
    assert first.status is ModelStatus.ACTIVE, first.training_metrics["gate"]["reason"]
    # The same week again and again: repeating the last one has no error, and no ensemble is below that.
    shop.holds((20 * WEEK[AT % 7]).astype(np.int64))
    second = shop.train(models.ENSEMBLE)
    assert (second.version, second.status) == (2, ModelStatus.READY)
    assert "is not below seasonal naive's 0.0%" in second.training_metrics["gate"]["reason"]
    known = shop.serving()
    assert known.ensemble is not None
    assert known.ensemble.version == 1
    assert known.learned.calibration is not None


def test_weights_of_the_format_before_answer_nothing_and_are_replaced(shop: Shop) -> None:
    shop.holds(counts())
    before = shop.registry.register(
        Candidate(
            name="ensemble/1/campaign/7/leads",
            model_type=models.ENSEMBLE,
            config_id=1,
            entity_type=EntityType.CAMPAIGN,
            entity_id="7",
            files={"calibration.json": json.dumps({"format": 1}).encode()},
            parameters={},
            training_metrics={},
            samples_count=DAYS,
            window_start=date(2024, 1, 1),
            window_end=date(2024, 3, 30),
        )
    )
    shop.registry.activate(before.name, before.version, actor="test", reason="as an older release left it")
    known = shop.serving()
    assert known.learned.calibration is None
    (note,) = known.degradations
    assert note.reason is DegradationReason.CORRUPT
    assert "adsml train ensemble-weights" in note.detail
    # What nobody can read is no bar for the one that takes its place.
    again = shop.train(models.ENSEMBLE)
    assert again.status is ModelStatus.ACTIVE
    assert shop.serving().learned.calibration is not None
