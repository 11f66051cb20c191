"""What is counted: rate, errors and duration of every method, queues, shedding, degradations, models.

Prometheus reads it over plain HTTP.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from adsml.common.v1 import answer_pb2
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.pool import WorkerPool

_LABELS: Final = ("service", "method")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_MAX_NAMED: Final = 1_000

STARTED: Final = Counter("adsml_rpc_started", "Calls that came in", _LABELS)
HANDLED: Final = Counter("adsml_rpc_handled", "Calls that ended, by status code", (*_LABELS, "code"))
SECONDS: Final = Histogram("adsml_rpc_seconds", "Seconds from arrival to answer", _LABELS, buckets=_BUCKETS)
IN_FLIGHT: Final = Gauge("adsml_rpc_in_flight", "Calls being answered", _LABELS)
SHED: Final = Counter("adsml_shed", "Calls refused to protect the server", (*_LABELS, "reason"))
DEGRADATIONS: Final = Counter(
    "adsml_degradations", "Dependencies an answer did without", (*_LABELS, "reason")
)
QUEUE_WAITING: Final = Gauge("adsml_queue_waiting", "Work waiting for a thread", ("pool",))
QUEUE_BUSY: Final = Gauge("adsml_queue_busy", "Work waiting or running", ("pool",))


class MethodMeter:
    """The counters of one method, looked up once."""

    __slots__ = ("_codes", "_in_flight", "_seconds", "_started", "method", "service")

    def __init__(self, service: str, method: str) -> None:
        self.service = service
        self.method = method
        self._started = STARTED.labels(service, method)
        self._in_flight = IN_FLIGHT.labels(service, method)
        self._seconds = SECONDS.labels(service, method)
        self._codes: dict[grpc.StatusCode, Counter] = {}

    def begin(self) -> None:
        self._started.inc()
        self._in_flight.inc()

    def end(self, code: grpc.StatusCode, seconds: float) -> None:
        self._in_flight.dec()
        self._seconds.observe(seconds)
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = HANDLED.labels(self.service, self.method, code.name)
        counter.inc()

    def shed(self, reason: str) -> None:
        SHED.labels(self.service, self.method, reason).inc()

    def degraded(self, degradations: Iterable[answer_pb2.Degradation]) -> None:
        for one in degradations:
            reason = answer_pb2.DegradationReason.Name(one.reason).removeprefix("DEGRADATION_REASON_")
            DEGRADATIONS.labels(self.service, self.method, reason).inc()


def watch_pool(name: str, pool: WorkerPool) -> None:
    QUEUE_WAITING.labels(name).set_function(lambda: pool.waiting)
    QUEUE_BUSY.labels(name).set_function(lambda: pool.busy)


class ModelCollector(Collector):
    """Version and age of the models that answer now, looked up when Prometheus asks.

    Of more than 1,000 the oldest are named; all are counted.
    """

    def __init__(self, models: "ModelLoader[Any]") -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        models = sorted((one.version for one in self._models.in_memory()), key=lambda one: one.created_at)
        count = GaugeMetricFamily("adsml_models_loaded", "Models in memory")
        count.add_metric((), len(models))
        version = GaugeMetricFamily("adsml_model_version", "Version that answers", labels=("name",))
        age = GaugeMetricFamily("adsml_model_age_seconds", "Seconds since it was trained", labels=("name",))
        now = datetime.now(UTC)
        for model in models[:_MAX_NAMED]:
            version.add_metric((model.name,), model.version)
            age.add_metric((model.name,), (now - model.created_at).total_seconds())
        events = CounterMetricFamily("adsml_model_cache", "What the cache of models did", labels=("event",))
        for event, number in self._models.stats().items():
            events.add_metric((event,), number)
        yield from (count, version, age, events)

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: asking for the models now would load them."""
        yield from ()


class Exposition:
    """Serves every metric of this process at ``http://host:port/metrics``."""

    def __init__(self, *, host: str, port: int) -> None:
        self._server, self._thread = start_http_server(port, addr=host, registry=REGISTRY)
        self.port = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
