"""Wires the anomaly service: settings, stores, models, servicers, server."""

import sys
from typing import Final, TypeAlias

from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving import family_server
from adsml_common.serving.family_server import Stores, add_family, add_models
from adsml_common.serving.server import ServerBuilder
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
Opened: TypeAlias = family_server.Opened[AnomalyServicer, SeriesModel]


def open_servicer(settings: AnomalySettings) -> Opened:
    """Open stores and registry and put the servicer on them.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    stores = Stores.open(settings)
    models = ModelLoader(
        stores.registry, parse, poll_seconds=settings.poll_seconds, capacity=settings.models_in_memory
    )
    detector = Detector(
        stores.database,
        models,
        history_days=settings.history_days,
        histories_in_memory=settings.histories_in_memory,
    )
    return Opened(AnomalyServicer(detector, FeedbackStore(stores.database)), stores, models)


def build(settings: AnomalySettings) -> ServerBuilder:
    """The server, ready to run.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    opened = open_servicer(settings)
    builder = ServerBuilder(settings)
    builder.add(anomaly_grpc.add_AnomalyServiceServicer_to_server, opened.service, SERVICE)
    add_family(builder, opened.stores, families=(FAMILY,), jobs=(JOB,))
    return add_models(builder.on_ready(kernels.warm), opened.stores, opened.models, preload=(FAMILY,))


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(AnomalySettings)).run()


if __name__ == "__main__":
    sys.exit(main())
