"""Wires the forecasting process: settings, store, registry, peers, servicer, server."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as grpc_pb
from adsml_client import Connection, Tls, connect
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.family_server import Stores, add_family, add_models
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import models
from adsml_forecasting.knowledge import Knowledge
from adsml_forecasting.member_forecasts import cores
from adsml_forecasting.peers import Peers
from adsml_forecasting.predicting import Wanted, predict
from adsml_forecasting.series import DailySeries
from adsml_forecasting.servicer import ForecastingServicer
from adsml_forecasting.settings import ForecastingSettings

SERVICE = "adsml.forecasting.v1.ForecastingService"
JOBS = ("prophet", "ensemble-weights")


class Workers:
    """Processes for batches, made when first needed and again when one of them died."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def get(self) -> ProcessPoolExecutor:
        """The pool."""
        with self._lock:
            # A pool whose process was killed takes no more work, and says so only by this private mark.
            if self._pool is not None and getattr(self._pool, "_broken", False):
                self._pool.shutdown(wait=False)
                self._pool = None
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._count or cores(), mp_context=multiprocessing.get_context("spawn")
                )
            return self._pool

    def close(self) -> None:
        """End them."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)


def warm() -> None:
    """Load and compile what the first forecast would wait for."""
    days = np.arange(60)
    values = 20.0 + 3.0 * np.sin(days * 2 * np.pi / 7) + 0.1 * days + np.random.default_rng(0).normal(size=60)
    predict(DailySeries(19_000, values, True, "warm-up"), Wanted(horizon=2))


def build(settings: ForecastingSettings, *, warm_up: Callable[[], None] = warm) -> ServerBuilder:
    """The server, ready to run."""
    stores = Stores.open(settings)
    loader: ModelLoader[models.Model] = ModelLoader(
        stores.registry,
        models.parse,
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
        pool=workers.get,
        drop_last_days=settings.drop_last_days,
        cached=settings.cached_forecasts,
    )
    builder = ServerBuilder(settings)
    builder.add(grpc_pb.add_ForecastingServiceServicer_to_server, servicer, SERVICE)
    add_family(builder, stores, families=models.FAMILIES, jobs=JOBS)
    add_models(builder.on_ready(warm_up), stores, loader)
    return builder.on_drain(peers.close).on_drain(workers.close)


def serve() -> int:
    """Serve until told to stop; the process' exit status."""
    return build(load_settings(ForecastingSettings)).run()
