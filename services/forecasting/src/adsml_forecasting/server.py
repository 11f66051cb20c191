"""Wires the forecasting service: settings, store, registry, peers, service, server."""

from collections.abc import Callable
from dataclasses import dataclass

from adsml_client import Tls, connect
from adsml_common.domain.degradation import Dependency
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.family_server import Opened, Stores, add_family, add_models
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings

from adsml_forecasting import registered
from adsml_forecasting.peers import Peers
from adsml_forecasting.service import ForecastingService
from adsml_forecasting.settings import ForecastingSettings
from adsml_forecasting.workers import Workers, warm

SERVICE = "adsml.forecasting.v1.ForecastingService"
JOBS = ("prophet", "ensemble-weights")


@dataclass(frozen=True)
class OpenedForecasting(Opened[ForecastingService, registered.Model]):
    """The service and what it stands on; `close` it."""

    peers: Peers

    def close(self) -> None:
        """Close models, peers and connections."""
        self.peers.close()
        super().close()


def open_service(
    settings: ForecastingSettings, *, stores: Stores | None = None, workers: Workers | None = None
) -> OpenedForecasting:
    """The service with its stores (those of the settings unless given) and models, for this process."""
    stores = stores or Stores.open(settings)
    loader: ModelLoader[registered.Model] = ModelLoader(
        stores.registry,
        registered.parse,
        poll_seconds=settings.poll_seconds,
        capacity=settings.models_in_memory,
        vetted=True,
    )
    files = (settings.peers_ca_file, settings.peers_cert_file, settings.peers_key_file)
    tls = Tls(*files) if any(files) else None
    targets = {
        Dependency.ANOMALY_SERVICE: settings.anomaly_target,
        Dependency.CLASSIFIER_SERVICE: settings.classifier_target,
        Dependency.IMPACT_SERVICE: settings.impact_target,
    }
    connections = {
        dependency: connect(target, tls=tls, insecure=settings.peers_insecure)
        for dependency, target in targets.items()
        if target
    }
    peers = Peers(connections, share=settings.peer_share, longest_seconds=settings.peer_seconds)
    service = ForecastingService(settings, stores.database, registered.SeriesModels(loader), peers, workers)
    return OpenedForecasting(service, stores, loader, peers)


def build(settings: ForecastingSettings, *, warm_up: Callable[[], None] = warm) -> ServerBuilder:
    """The server, ready to run: models and processes are warm before it says SERVING."""
    workers = Workers(max(settings.batch_processes, 0)) if settings.batch_processes else None
    opened = open_service(settings, workers=workers)
    builder = ServerBuilder(settings)
    builder.add(opened.service, SERVICE)
    add_family(builder, opened.stores, families=registered.FAMILIES, jobs=JOBS)
    builder.on_ready(warm_up)
    builder.on_drain(opened.peers.close)
    if workers is not None:
        builder.on_ready(workers.start).on_drain(workers.close)
    return add_models(builder, opened.stores, opened.models)


def serve() -> int:
    """Serve until told to stop; the process' exit status."""
    return build(load_settings(ForecastingSettings)).run()
