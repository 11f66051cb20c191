"""Wires the classifier service: settings, stores, models, servicers, server."""

import sys
from dataclasses import dataclass
from itertools import islice
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.models import ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import registry_servicer
from adsml_common.serving.registry_servicer import ModelRegistryServicer
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.training_wiring import add_training
from adsml_common.settings import load_settings
from adsml_common.store.feedback import FeedbackStore

from adsml_classifier.account_data import AccountData
from adsml_classifier.artifacts import parse
from adsml_classifier.model_files import StoredModel
from adsml_classifier.naming import FAMILY, JOB
from adsml_classifier.servicer import ClassifierServicer
from adsml_classifier.settings import ClassifierSettings

SERVICE: Final = "adsml.classifier.v1.ClassifierService"


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

    servicer: ClassifierServicer
    database: Database
    registry: ModelRegistry
    models: ModelLoader[StoredModel]

    def close(self) -> None:
        """Stop polling and close the connections."""
        self.models.close()
        self.database.close()

    def warm(self) -> None:
        """Check the schema, load the active models and start to poll for new ones."""
        self.database.require_schema()
        active = self.registry.iterate(status=ModelStatus.ACTIVE, name_prefix=f"{FAMILY}/")
        self.models.prefetch(islice((one.name for one in active), self.models.capacity))
        self.models.start()


def _warmed(version: ModelVersion, bundle: Bundle) -> StoredModel:
    """A model that has answered once, so that the first caller after a swap waits for nothing."""
    stored = parse(version, bundle)
    stored.model.warm()
    return stored


def open_servicer(settings: ClassifierSettings) -> Opened:
    """Open stores and registry and put the servicer on them.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    database = Database.open(settings.database_url, pool_size=settings.workers)
    registry = ModelRegistry(database, ArtifactStore(settings.artifact_url, cache_dir=settings.cache_dir))
    models = ModelLoader(
        registry, _warmed, poll_seconds=settings.poll_seconds, capacity=settings.models_in_memory
    )
    servicer = ClassifierServicer(
        AccountData(
            database, capacity=settings.accounts_in_memory, max_age_seconds=settings.data_max_age_seconds
        ),
        models,
        FeedbackStore(database),
        attribution_lag_days=settings.attribution_lag_days,
        confidence_factor=settings.transfer_confidence_factor,
    )
    return Opened(servicer, database, registry, models)


def build(settings: ClassifierSettings) -> ServerBuilder:
    """The server, ready to run.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    opened = open_servicer(settings)
    builder = ServerBuilder(settings)
    builder.add(classifier_grpc.add_ClassifierServiceServicer_to_server, opened.servicer, SERVICE)
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
    return build(load_settings(ClassifierSettings)).run()


if __name__ == "__main__":
    sys.exit(main())
