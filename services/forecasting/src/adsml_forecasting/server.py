"""Wires the forecasting process: settings, store, registry, peers, servicer, server."""

from collections.abc import Callable

from adsml.forecasting.v1 import forecasting_service_pb2_grpc as grpc_pb
from adsml_client import Connection, Tls, connect
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.family_server import Stores, add_family, add_models
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import registered
from adsml_forecasting.peers import Peers
from adsml_forecasting.resolver import Knowledge
from adsml_forecasting.servicer import ForecastingServicer
from adsml_forecasting.settings import ForecastingSettings
from adsml_forecasting.workers import Workers, warm

SERVICE = "adsml.forecasting.v1.ForecastingService"
JOBS = ("prophet", "ensemble-weights")


def build(settings: ForecastingSettings, *, warm_up: Callable[[], None] = warm) -> ServerBuilder:
    """The server, ready to run."""
    stores = Stores.open(settings)
    loader: ModelLoader[registered.Model] = ModelLoader(
        stores.registry,
        registered.parse,
        poll_seconds=settings.model_poll_seconds,
        capacity=settings.model_capacity,
    )
    workers = Workers(settings.batch_processes)

    files = (settings.peers_ca_file, settings.peers_cert_file, settings.peers_key_file)
    tls = Tls(*files) if any(files) else None

    def peer(target: str) -> Connection | None:
        return connect(target, tls=tls, insecure=settings.peers_insecure) if target else None

    peers = Peers(
        anomaly=peer(settings.anomaly_target),
        classifier=peer(settings.classifier_target),
        impact=peer(settings.impact_target),
        share=settings.peer_share,
        longest_seconds=settings.peer_seconds,
    )
    servicer = ForecastingServicer(
        metrics=MetricStore(stores.database),
        entities=EntityStore(stores.database),
        changes=ChangeStore(stores.database),
        knowledge=Knowledge(loader),
        peers=peers,
        workers=workers,
        drop_last_days=settings.drop_last_days,
        cached=settings.cached_forecasts,
    )
    builder = ServerBuilder(settings)
    builder.add(grpc_pb.add_ForecastingServiceServicer_to_server, servicer, SERVICE)
    add_family(builder, stores, families=registered.FAMILIES, jobs=JOBS)
    builder.on_ready(warm_up)
    if settings.batch_processes:
        builder.on_ready(workers.start)
    add_models(builder, stores, loader)
    return builder.on_drain(peers.close).on_drain(workers.close)


def serve() -> int:
    """Serve until told to stop; the process' exit status."""
    return build(load_settings(ForecastingSettings)).run()
