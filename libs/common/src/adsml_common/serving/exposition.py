"""The metrics, for Prometheus to read over plain HTTP."""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adsml_common.registry.loader import LoaderStats
from adsml_common.registry.models import ModelVersion

_MAX_NAMED = 1_000


_EVENTS: Final = ("hits", "loads", "swaps", "evictions", "failures", "fallbacks")


class ModelCollector(Collector):
    """Version and age of the models that answer now, looked up when Prometheus asks.

    Of more than 1,000 the oldest are named; all are counted.
    """

    def __init__(
        self,
        loaded: Callable[[], Iterable[ModelVersion]],
        stats: Callable[[], LoaderStats] | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._loaded = loaded
        self._stats = stats
        self._now = now

    def collect(self) -> Iterator[Metric]:
        models = sorted(self._loaded(), key=lambda model: model.created_at)
        count = GaugeMetricFamily("adsml_models_loaded", "Models in memory")
        count.add_metric((), len(models))
        version = GaugeMetricFamily("adsml_model_version", "Version that answers", labels=("name",))
        age = GaugeMetricFamily("adsml_model_age_seconds", "Seconds since it was trained", labels=("name",))
        now = self._now()
        for model in models[:_MAX_NAMED]:
            version.add_metric((model.name,), model.version)
            age.add_metric((model.name,), (now - model.created_at).total_seconds())
        yield from (count, version, age)
        if self._stats is not None:
            found = self._stats()
            events = CounterMetricFamily(
                "adsml_model_cache", "What the cache of models did", labels=("event",)
            )
            for event in _EVENTS:
                events.add_metric((event,), getattr(found, event))
            yield events

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: asking for the models now would load them."""
        yield from ()


class Exposition:
    """Serves every metric of this process at ``http://host:port/metrics``."""

    def __init__(self, *, host: str, port: int) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, addr=host, registry=REGISTRY)
        self.port = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
