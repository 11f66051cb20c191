"""Wires the anomaly service: settings, stores, models, servicers, server."""

import sys
from dataclasses import dataclass
from itertools import islice
from typing import Final

from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import registry_servicer
from adsml_common.serving.registry_servicer import ModelRegistryServicer
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.training_wiring import add_training
from adsml_common.settings import load_settings
from adsml_common.store.feedback import FeedbackStore

from adsml_anomaly import kernels
from adsml_anomaly.answering import Detector
from adsml_anomaly.artifacts import parse
from adsml_anomaly.model import SeriesModel
from adsml_anomaly.naming import FAMILY
from adsml_anomaly.servicer import AnomalyServicer
from adsml_anomaly.settings import AnomalySettings
from adsml_anomaly.training_items import JOB

SERVICE: Final = "adsml.anomaly.v1.AnomalyService"


@dataclass(frozen=True)
class Opened:
    """The servicer and what it stands on.

    Attributes
    ----------
    servicer
        Ready to answer.
    database, registry
        Open ones.
    models
        The loader; not polling yet.
    """

    servicer: AnomalyServicer
    database: Database
    registry: ModelRegistry
    models: ModelLoader[SeriesModel]

    def close(self) -> None:
        """Stop polling and close the connections."""
        self.models.close()
        self.database.close()

    def warm(self) -> None:
        """Compile, check the schema, load the active models and start to poll for new ones."""
        kernels.warm()
        self.database.require_schema()
        active = self.registry.iterate(status=ModelStatus.ACTIVE, name_prefix=f"{FAMILY}/")
        self.models.prefetch(islice((one.name for one in active), self.models.capacity))
        self.models.start()


def open_servicer(settings: AnomalySettings) -> Opened:
    """Open stores and registry and put the servicer on them.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    database = Database.open(settings.database_url, pool_size=settings.workers)
    registry = ModelRegistry(database, ArtifactStore(settings.artifact_url, cache_dir=settings.cache_dir))
    models = ModelLoader(
        registry, parse, poll_seconds=settings.poll_seconds, capacity=settings.models_in_memory
    )
    detector = Detector(database, models, history_days=settings.history_days)
    return Opened(AnomalyServicer(detector, FeedbackStore(database)), database, registry, models)


def build(settings: AnomalySettings) -> ServerBuilder:
    """The server, ready to run.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    opened = open_servicer(settings)
    builder = ServerBuilder(settings)
    builder.add(anomaly_grpc.add_AnomalyServiceServicer_to_server, opened.servicer, SERVICE)
    builder.add(
        registry_grpc.add_ModelRegistryServiceServicer_to_server,
        ModelRegistryServicer(opened.registry, families=(FAMILY,)),
        registry_servicer.SERVICE,
    )
    add_training(builder, opened.database, jobs=(JOB,))
    builder.on_ready(opened.warm).on_drain(opened.close).readiness("database", opened.database.ping)
    builder.models(lambda: [one.version for one in opened.models.in_memory()], opened.models.stats)
    return builder


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(AnomalySettings)).run()


if __name__ == "__main__":
    sys.exit(main())
