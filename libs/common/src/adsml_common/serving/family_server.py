"""What the families' servers have in common: the stores they stand on, and what they serve beside their own."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Generic, TypeVar

from adsml_common.database import Database
from adsml_common.polled_gauges import PolledGauges
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import registry_service, training_service
from adsml_common.serving.paging import PageTokens
from adsml_common.serving.registry_service import ModelRegistryService
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.telemetry import ModelCollector
from adsml_common.serving.training_service import TrainingService
from adsml_common.training.launchers import ClusterLauncher, Launcher, LocalLauncher
from adsml_common.training.metrics import run_gauges
from adsml_common.training.runs import TrainingRuns

_RUNS_SECONDS = 30.0
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Stores:
    """Database and registry of a serving process; nothing is connected yet."""

    database: Database
    registry: ModelRegistry
    page_tokens: PageTokens = field(default_factory=PageTokens)

    @classmethod
    def open(cls, settings: ServingSettings) -> "Stores":
        """Those of the settings; raises `SettingsError` naming the setting that can't work."""
        database = Database.open(settings.database_url, pool_size=settings.workers)
        return cls(database, ModelRegistry.open(database, settings), PageTokens(settings.page_token_secret))


@dataclass(frozen=True)
class Opened(Generic[S, T]):
    """A service, ready to answer, and what it stands on; the loader is not polling yet."""

    service: S
    stores: Stores
    models: ModelLoader[T]

    @property
    def database(self) -> Database:
        return self.stores.database

    def close(self) -> None:
        self.models.close()
        self.database.close()


def add_family(
    builder: ServerBuilder, stores: Stores, *, families: Sequence[str], jobs: Sequence[str] = ()
) -> ServerBuilder:
    """Serve registry and runs of a family, check the schema before SERVING, close the database at the end.

    Only models whose names begin with one of `families` are listed and changed here. Without `jobs` the training
    service says so when asked.
    """
    builder.on_drain(stores.database.close).readiness("database", stores.database.ping)
    builder.on_ready(stores.database.require_schema)
    service = ModelRegistryService(
        stores.registry, family=builder.family, prefixes=families, page_tokens=stores.page_tokens
    )
    builder.add(service, registry_service.SERVICE)
    _add_training(builder, stores, jobs)
    return builder


def add_models(
    builder: ServerBuilder, stores: Stores, models: ModelLoader[T], *, preload: Sequence[str] = ()
) -> ServerBuilder:
    """Poll for new versions while serving, and tell Prometheus what is in memory.

    Active models of the `preload` families are loaded before SERVING, as many as the loader holds.
    """

    def load() -> None:
        active = (
            stores.registry.iterate(status=ModelStatus.ACTIVE, name_prefix=f"{one}/") for one in preload
        )
        models.prefetch(one.name for one in islice(chain.from_iterable(active), models.capacity))
        # All this stays: the collector need not look through it again and again while callers wait.
        gc.collect()
        gc.freeze()

    builder.metrics(ModelCollector(models))
    if preload:
        builder.on_ready(load)
    return builder.on_ready(models.start).on_drain(models.close)


def _add_training(builder: ServerBuilder, stores: Stores, jobs: Sequence[str]) -> None:
    runs = TrainingRuns(stores.database)
    service = TrainingService(
        runs,
        family=builder.family,
        jobs=jobs,
        launcher=_launcher(builder.settings, runs) if jobs else None,
        max_shards=builder.settings.launcher_max_shards,
        open_runs=builder.settings.launcher_open_runs,
        page_tokens=stores.page_tokens,
    )
    builder.add(service, training_service.SERVICE)
    if jobs:
        gauges = PolledGauges(lambda: run_gauges(runs, jobs), every_seconds=_RUNS_SECONDS)
        builder.on_ready(gauges.start).on_drain(gauges.close)


def _launcher(settings: ServingSettings, runs: TrainingRuns) -> Launcher | None:
    match settings.launcher:
        case "local":
            return LocalLauncher(runs, log_dir=settings.cache_dir / "training-logs")
        case "kubernetes":
            return ClusterLauncher(shards=settings.launcher_shards)
        case _:
            return None
