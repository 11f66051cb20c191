"""What is counted: rate, errors and duration of every method, queues, shedding, degradations."""

from collections.abc import Iterable
from typing import Final

import grpc
from adsml.common.v1 import answer_pb2
from prometheus_client import Counter, Gauge, Histogram

from adsml_common.serving.pool import WorkerPool

_LABELS: Final = ("service", "method")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

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
