"""Wires the impact service: settings, store, servicer, server."""

import sys
from collections.abc import Callable
from typing import Final

import numpy as np
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import registry_servicer, training_servicer
from adsml_common.serving.registry_servicer import ModelRegistryServicer
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.training_servicer import TrainingServicer
from adsml_common.settings import load_settings
from adsml_common.training.runs import TrainingRuns

from adsml_impact.account_data import StoredAccounts
from adsml_impact.comparison import Design, compare
from adsml_impact.own_past import compare_with_own_past
from adsml_impact.servicer import ImpactServicer
from adsml_impact.settings import ImpactSettings

FAMILY: Final = "impact"
SERVICE: Final = "adsml.impact.v1.ImpactService"


def warm() -> None:
    """Compile the loops, or load them compiled: the first caller need not wait for it."""
    Y = np.random.default_rng(0).poisson(50.0, (6, 70)).astype(np.float64)
    compare(Y, None, Design(change=63))
    compare(Y, Y + 1.0, Design(change=63))
    compare_with_own_past(Y[:2], None, Design(change=63))


def build(settings: ImpactSettings) -> ServerBuilder:
    """The server, ready to run.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    database = Database.open(settings.database_url, pool_size=settings.workers)
    servicer = ImpactServicer(StoredAccounts(database), attribution_lag_days=settings.attribution_lag_days)
    builder = ServerBuilder(settings)
    builder.add(impact_grpc.add_ImpactServiceServicer_to_server, servicer, SERVICE)
    # Nothing is trained here. Like every family this one says so when asked, instead of not knowing the question.
    registry = ModelRegistry(database, ArtifactStore(settings.artifact_url, cache_dir=settings.cache_dir))
    builder.add(
        registry_grpc.add_ModelRegistryServiceServicer_to_server,
        ModelRegistryServicer(registry, families=(FAMILY,)),
        registry_servicer.SERVICE,
    )
    builder.add(
        training_grpc.add_TrainingServiceServicer_to_server,
        TrainingServicer(TrainingRuns(database), jobs=(), launcher=None),
        training_servicer.SERVICE,
    )
    steps: tuple[Callable[[], None], ...] = (database.require_schema, warm)
    for step in steps:
        builder.on_ready(step)
    return builder.on_drain(database.close).readiness("database", database.ping)


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(ImpactSettings)).run()


if __name__ == "__main__":
    sys.exit(main())
